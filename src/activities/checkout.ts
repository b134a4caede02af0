/** What a checkout's workflow does to the world: open the page, look at it, note where the order stands. */
import { businessNow } from '../clock.ts'
import type { Instant } from '../domain/calendar.ts'
import type { CheckoutObservation, CheckoutPlan } from '../domain/checkout.ts'
import { type Foresight, foresightOf, refusalOutcome } from '../domain/effect.ts'
import { decideOpening, soldBy } from '../domain/opening.ts'
import { readAccount } from '../store/account.ts'
import { readKept } from '../domain/plan.ts'
import { keepCheckout, keepSession, readOpening, readOrder } from '../store/checkout-state.ts'
import { resolveAlert } from '../store/alert.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { catalogInForce, packOnSale, priceOnSale } from '../store/price-list.ts'
import { workflowId } from '../domain/id.ts'
import type { PurchaseObservation } from '../domain/purchase.ts'
import type { CheckoutFacts, Gateway } from '../stripe/gateway.ts'
import type { PurchaseGateway } from '../stripe/purchase.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { withCustomer } from './customer.ts'
import { observePurchase } from './purchase.ts'
import { refusalOf, translated } from './translate.ts'

export interface CheckoutDeps {
  pool: Pool
  gateway: Gateway
  purchases: PurchaseGateway
  reach: Reach
}

export interface CheckoutSight {
  at: Instant
  /** null: there is no such order, or it is one of packs */
  observation: CheckoutObservation | null
  /** of an order of packs; absent in histories that were recorded before there were any */
  purchase?: PurchaseObservation
  events: string[]
}

export type CheckoutActivities = ReturnType<typeof createCheckoutActivities>

export function createCheckoutActivities({ pool, gateway, purchases, reach }: CheckoutDeps) {
  return translated({
    /** Carries out an open command once: customer, page, row; each step finds what an earlier try has made. */
    async openCheckout({ order, command: id }: { order: string; command: string }): Promise<CommandAnswer> {
      const before = (await readCommand(pool, id))?.answer
      if (before !== undefined) return before
      const row = await readOrder(pool, order)
      const opening = await readOpening(pool, order)
      if (row === undefined || opening === undefined) throw new Error(`there is no order ${order}`)
      const { account, successUrl, cancelUrl, terms } = opening
      const decision = decideOpening({
        at: await businessNow(pool),
        createdAt: row.createdAt,
        opened: row.session !== null,
        customer: opening.customer,
        sold: soldBy(terms && readKept(terms), {
          quantity: opening.quantity,
          savesMethod: opening.savesMethod,
          automaticTax: await reckonsTax(pool),
        }),
      })
      if ('refused' in decision) {
        if (decision.refused.code === 'checkout_expired') {
          await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        }
        return await finishCommand(pool, id, refusalOutcome(decision))
      }
      let session: CheckoutFacts
      try {
        const { price, quantity, savesMethod, automaticTax, expiresAt } = decision
        session = await withCustomer({ pool, gateway }, account, opening, (customer) => {
          const page = { order, account, customer, price, automaticTax, successUrl, cancelUrl, expiresAt }
          return decision.kind === 'pack'
            ? purchases.openPage({ ...page, quantity, savesMethod })
            : gateway.openCheckout(page)
        })
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === undefined) throw error
        await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        return await finishCommand(pool, id, { state: 'refused', statusCode: 502, result: refusal })
      }
      await keepSession(pool, order, { ...session, price: decision.price })
      const result = { checkout: { id: session.id, url: session.url, expires_at: session.expiresAt } }
      return await finishCommand(pool, id, { state: 'done', statusCode: 201, result })
    },

    async observeCheckout({ order: id }: { order: string }): Promise<CheckoutSight> {
      const unsettled = await unsettledFor(pool, workflowId.checkout(id))
      const events = unsettled.map((event) => event.eventId)
      const payments = unsettled.flatMap(({ type, objectId }) =>
        type.startsWith('payment_intent.') && objectId !== null ? objectId : [],
      )
      const purchase = await observePurchase({ pool, purchases }, id, payments)
      if (purchase !== undefined) return { at: purchase.at, observation: null, purchase, events }
      const at = await businessNow(pool)
      const order = await readOrder(pool, id)
      if (order === undefined) return { at, observation: null, events }
      const session = order.session === null ? undefined : await gateway.checkout(order.session)
      const { id: orderId, account, plan, state, createdAt } = order
      return {
        at,
        events,
        observation: {
          at,
          order: { id: orderId, account, plan, state, createdAt },
          session: session ?? null,
        },
      }
    },

    async applyCheckout(input: { order: string; plan: CheckoutPlan; events: string[] }): Promise<void> {
      const { order, plan, events } = input
      await transaction(pool, async (client) => {
        await keepCheckout(client, order, plan)
        await settle(client, events)
        await resolveAlert(client, 'needs_attention', workflowId.checkout(order))
      })
      // Only a hint, and after the commit: the subscription's own events and the adoption duty find it, too.
      if (plan.subscription !== null) await wakeOwner(reach, plan.subscription, { reason: 'checkout' })
    },
  })
}

/** What opening a page would do, of an order that is not written. */
export async function foreseeCheckout(
  { pool, gateway }: Pick<CheckoutDeps, 'pool' | 'gateway'>,
  { input }: PreviewInput,
): Promise<Foresight> {
  const { account = '', plan = '', pack, interval, quantity, currency, saves_method: saves } = input
  const at = await businessNow(pool)
  const terms =
    pack === undefined
      ? await priceOnSale(pool, plan, interval === 'year' ? 'year' : 'month', currency)
      : await packOnSale(pool, pack, currency)
  const tied = (await readAccount(pool, account))?.stripeCustomerId ?? null
  const decision = decideOpening({
    at,
    createdAt: at,
    opened: false,
    // acting finds one that was deleted by asking for the page in vain
    customer: tied !== null && (await gateway.hasCustomer(tied)) ? tied : null,
    sold: soldBy(terms ?? null, {
      quantity: Number(quantity),
      savesMethod: saves === 'true',
      automaticTax: await reckonsTax(pool),
    }),
  })
  return foresightOf(at, decision)
}

export async function reckonsTax(pool: Pool): Promise<boolean> {
  return (await catalogInForce(pool))?.automaticTax ?? false
}
