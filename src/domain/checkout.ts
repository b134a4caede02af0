/** What a hosted checkout's facts do: paid, abandoned, or wait until it expires. Pure; runs inside the workflow. */
import { addMs, HOUR_MS, type Instant, MINUTE_MS } from './calendar.ts'

/** How long a hosted page stays open. Stripe allows 30 minutes to 24 hours. */
export const CHECKOUT_OPEN_MS = HOUR_MS

/** Stripe opens no page that would be open for less than this. */
const CHECKOUT_LEAST_MS = HOUR_MS / 2

/** Until when an order's page can still be opened: its time runs from the order, so that a retry asks for the same. */
export function openableUntil(createdAt: Instant): Instant {
  return addMs(createdAt, CHECKOUT_OPEN_MS - CHECKOUT_LEAST_MS - MINUTE_MS)
}

export type CheckoutState = 'opening' | 'open' | 'paid' | 'abandoned' | 'failed'

/**
 * Where an order of any kind stands. Of packs only: `processing`, the customer is done and the money is on its way;
 * `late`, it had ended here and was paid all the same.
 */
export type OrderState = CheckoutState | 'processing' | 'late'

export interface CheckoutObservation {
  at: Instant
  order: { id: string; account: string; plan: string; state: CheckoutState; createdAt: Instant }
  /** null: not opened yet, or Stripe has forgotten it */
  session: { status: string; subscription: string | null; expiresAt: Instant } | null
}

export interface CheckoutPlan {
  state: CheckoutState
  subscription: string | null
  /** when to look again; null: nothing is left to do */
  deadline: Instant | null
}

/** Stripe expires a session a moment after its time. */
const AFTER_STRIPE_MS = MINUTE_MS

/** Decides where an order stands. An order that never opened is given up after an hour. */
export function decideCheckout({ at, order, session }: CheckoutObservation): CheckoutPlan {
  const ended = (state: CheckoutState, subscription: string | null = null) => ({
    state,
    subscription,
    deadline: null,
  })
  if (order.state === 'abandoned' || order.state === 'failed') return ended(order.state)
  if (session === null) {
    const giveUp = addMs(order.createdAt, HOUR_MS)
    if (at >= giveUp) return ended('failed')
    return { state: 'opening', subscription: null, deadline: giveUp }
  }
  if (session.status === 'complete') return ended('paid', session.subscription)
  if (session.status === 'expired') return ended('abandoned')
  const look = addMs(session.expiresAt, AFTER_STRIPE_MS)
  return { state: 'open', subscription: null, deadline: look > at ? look : addMs(at, AFTER_STRIPE_MS) }
}
