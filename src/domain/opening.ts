/** What opening the hosted page of an order does: customer, page, and until when; or why not. Pure. */
import { addMs, type Instant } from './calendar.ts'
import { CHECKOUT_OPEN_MS, openableUntil } from './checkout.ts'
import { type Decision, effectsOf, type PlannedCall, refused } from './effect.ts'
import type { Terms } from './plan.ts'

/** What an order's page sells. */
export interface Sold {
  kind: 'plan' | 'pack'
  /** Stripe's price */
  price: string
  quantity: number
  /** whether the card is kept for payments without the customer; of packs */
  savesMethod: boolean
  /** whether Stripe reckons tax on it */
  automaticTax: boolean
}

export interface OpeningFacts {
  at: Instant
  /** when the order was made: its time runs from then, so that a retry asks for the same */
  createdAt: Instant
  /** whether its page was opened before */
  opened: boolean
  /** the account's customer in Stripe; null: it has none yet */
  customer: string | null
  /** null: it is not on sale */
  sold: Sold | null
}

export type OpeningDecision = Decision<Sold & { expiresAt: Instant }>

/** What an order of these terms sells; of a plan, one seat. */
export function soldBy(
  terms: Terms | null,
  asked: { quantity: number; savesMethod: boolean; automaticTax: boolean },
): Sold | null {
  if (terms === null) return null
  const { kind, priceId: price } = terms
  return kind === 'pack'
    ? { kind, price, ...asked }
    : { kind: 'plan', price, ...asked, quantity: 1, savesMethod: false }
}

export function decideOpening({ at, createdAt, opened, customer, sold }: OpeningFacts): OpeningDecision {
  if (sold === null) return refused(404, 'plan_not_found', 'the plan is not on sale')
  if (!opened && at > openableUntil(createdAt)) {
    return refused(409, 'checkout_expired', 'no worker could open the page in time; make a new order')
  }
  const expiresAt = addMs(createdAt, CHECKOUT_OPEN_MS)
  const page: PlannedCall = {
    method: 'POST',
    path: '/v1/checkout/sessions',
    params: {
      mode: sold.kind === 'pack' ? 'payment' : 'subscription',
      customer,
      'line_items[0][price]': sold.price,
      'line_items[0][quantity]': `${sold.quantity}`,
      ...(sold.automaticTax ? { 'automatic_tax[enabled]': 'true' } : {}),
      ...(sold.savesMethod ? { 'payment_intent_data[setup_future_usage]': 'off_session' } : {}),
    },
  }
  // an account has a customer in Stripe from the first time that one is needed
  const making: PlannedCall[] =
    customer === null ? [{ method: 'POST', path: '/v1/customers', params: {} }] : []
  return {
    ...sold,
    expiresAt,
    effects: effectsOf({
      stripe: [...making, page],
      dates: [{ what: 'checkout_expires', at: expiresAt }],
    }),
  }
}
