/** What a checkout's workflow does to the world: open the page, look at it, note where the order stands. */
import { businessNow } from '../clock.ts'
import { addMs, type Instant } from '../domain/calendar.ts'
import {
  CHECKOUT_OPEN_MS,
  type CheckoutObservation,
  type CheckoutPlan,
  openableUntil,
} from '../domain/checkout.ts'
import { readKept } from '../domain/plan.ts'
import { keepCheckout, keepSession, readOpening, readOrder, tieCustomer } from '../store/checkout-state.ts'
import { resolveAlert } from '../store/alert.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { workflowId } from '../domain/id.ts'
import type { PurchaseObservation } from '../domain/purchase.ts'
import type { CheckoutFacts, Gateway } from '../stripe/gateway.ts'
import type { PurchaseGateway } from '../stripe/purchase.ts'
import type { CommandAnswer } from '../workflows/message.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
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
  const refuse = (id: string, statusCode: number, result: Record<string, unknown>) =>
    finishCommand(pool, id, { state: 'refused', statusCode, result })

  return translated({
    /** Carries out an open command once: customer, page, row; each step finds what an earlier try has made. */
    async openCheckout({ order, command: id }: { order: string; command: string }): Promise<CommandAnswer> {
      const before = (await readCommand(pool, id))?.answer
      if (before !== undefined) return before
      const row = await readOrder(pool, order)
      const opening = await readOpening(pool, order)
      if (row === undefined || opening === undefined || opening.terms === null) {
        return await refuse(id, 404, { code: 'plan_not_found', detail: 'the plan is not on sale' })
      }
      const { kind, priceId } = readKept(opening.terms)
      if (row.session === null && (await businessNow(pool)) > openableUntil(row.createdAt)) {
        await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        const detail = 'no worker could open the page in time; make a new order'
        return await refuse(id, 409, { code: 'checkout_expired', detail })
      }
      let session: CheckoutFacts
      try {
        const customer =
          opening.customer ??
          (await tieCustomer(pool, opening.account, await gateway.createCustomer(opening.account, opening)))
        const { account, successUrl, cancelUrl, quantity, savesMethod } = opening
        // from the order's own time, so that a retry under the same key says the same
        const expiresAt = addMs(row.createdAt, CHECKOUT_OPEN_MS)
        const page = { order, account, customer, price: priceId, successUrl, cancelUrl, expiresAt }
        session =
          kind === 'pack'
            ? await purchases.openPage({ ...page, quantity, savesMethod })
            : await gateway.openCheckout(page)
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === undefined) throw error
        await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        return await refuse(id, 502, refusal)
      }
      await keepSession(pool, order, { ...session, price: priceId })
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
