/** What a checkout's workflow does to the world: open the page, look at it, note where the order stands. */
import { businessNow } from '../clock.ts'
import { addMs, type Instant } from '../domain/calendar.ts'
import {
  CHECKOUT_OPEN_MS,
  type CheckoutObservation,
  type CheckoutPlan,
  openableUntil,
} from '../domain/checkout.ts'
import { keepCheckout, keepSession, readOpening, readOrder } from '../store/checkout-state.ts'
import { resolveAlert } from '../store/alert.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { workflowId } from '../domain/id.ts'
import type { CheckoutFacts, Gateway } from '../stripe/gateway.ts'
import type { CommandAnswer } from '../workflows/message.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { withCustomer } from './customer.ts'
import { refusalOf, translated } from './translate.ts'

export interface CheckoutDeps {
  pool: Pool
  gateway: Gateway
  reach: Reach
}

export interface CheckoutSight {
  at: Instant
  /** null: there is no such order */
  observation: CheckoutObservation | null
  events: string[]
}

export type CheckoutActivities = ReturnType<typeof createCheckoutActivities>

export function createCheckoutActivities({ pool, gateway, reach }: CheckoutDeps) {
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
      if (row.session === null && (await businessNow(pool)) > openableUntil(row.createdAt)) {
        await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        const detail = 'no worker could open the page in time; make a new order'
        return await refuse(id, 409, { code: 'checkout_expired', detail })
      }
      const { priceId: price } = opening.terms
      let session: CheckoutFacts
      try {
        session = await withCustomer({ pool, gateway }, opening.account, opening, (customer) =>
          gateway.openCheckout({
            order,
            account: opening.account,
            customer,
            price,
            successUrl: opening.successUrl,
            cancelUrl: opening.cancelUrl,
            // from the order's own time, so that a retry under the same key says the same
            expiresAt: addMs(row.createdAt, CHECKOUT_OPEN_MS),
          }),
        )
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === undefined) throw error
        await keepCheckout(pool, order, { state: 'failed', subscription: null, deadline: null })
        return await refuse(id, 502, refusal)
      }
      await keepSession(pool, order, { ...session, price })
      const result = { checkout: { id: session.id, url: session.url, expires_at: session.expiresAt } }
      return await finishCommand(pool, id, { state: 'done', statusCode: 201, result })
    },

    async observeCheckout({ order: id }: { order: string }): Promise<CheckoutSight> {
      const events = (await unsettledFor(pool, workflowId.checkout(id))).map((event) => event.eventId)
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
