/**
 * What becomes of an order of packs: a pure function from what Postgres and Stripe say of it to its state, the grant of
 * what was paid for it (law 7) and what is told. Runs inside the workflow.
 */
import { addMs, HOUR_MS, type Instant, MINUTE_MS } from './calendar.ts'
import type { OrderState } from './checkout.ts'
import { Exact, formatCredits } from './credits.ts'
import { creditsForLine } from './grant.ts'
import { postingKey } from './id.ts'
import type { PackTerms } from './plan.ts'

export interface PackOrder {
  id: string
  account: string
  state: OrderState
  quantity: number
  /** as the pack was sold when it was ordered */
  terms: PackTerms
  createdAt: Instant
}

/** The hosted page of an order, as far as it decides anything. Money in minor units. */
export interface PageFacts {
  id: string
  /** open, complete, expired */
  status: string
  /** paid, unpaid, no_payment_required */
  paymentStatus: string
  expiresAt: Instant
  currency: string
  /** what the customer pays in all, with tax */
  total: string
  lines: {
    /** Stripe's price */
    price: string
    /** after discounts, without tax that comes on top of the price */
    net: string
  }[]
}

/** The payment of an order. Null where there is none yet, and where nothing is due. */
export interface PackPaymentFacts {
  id: string
  /** Stripe's: `succeeded` is money; `processing` and `requires_action` may still become it */
  status: string
  /** in minor units, with tax */
  received: string
  currency: string
  paidAt: Instant | null
}

/** Everything a run knows of an order. `at` is business now, read with the rest. */
export interface PurchaseObservation {
  at: Instant
  order: PackOrder
  /** null: not opened yet, or Stripe has forgotten it */
  page: PageFacts | null
  payment: PackPaymentFacts | null
}

/** What was paid, and what it is worth. */
export interface Settlement {
  /** pi_…, or cs_… when nothing was due */
  payment: string
  amountMinor: string
  currency: string
  paidAt: Instant
  /** "0" when nothing was paid: then nothing is posted */
  credits: string
  /** of the posting */
  key: string
  reason: 'purchase' | 'late_purchase'
  source: Record<string, string>
}

export interface PurchasePlan {
  state: OrderState
  /** when to look again; null: nothing is left to do */
  deadline: Instant | null
  /** the page that is open beyond its time: close it and look again */
  close: string | null
  settlement: Settlement | null
  /** why a person must look at it */
  attention: 'currency_mismatch' | 'late_payment' | 'unknown_price' | null
}

/** Stripe expires a page a moment after its time. */
const AFTER_STRIPE_MS = MINUTE_MS
/** Money that is on its way takes days; Stripe tells when it arrives, and this is for when that is lost. */
const ON_ITS_WAY_MS = 6 * HOUR_MS

const ENDED: ReadonlySet<OrderState> = new Set(['abandoned', 'failed'])
const SETTLED: ReadonlySet<OrderState> = new Set(['paid', 'late'])
const ON_ITS_WAY = new Set(['processing', 'requires_action', 'requires_capture', 'requires_confirmation'])

/** Whether nothing is left to do for an order, unless money comes that nobody expects any more. */
export function isOver(state: OrderState): boolean {
  return ENDED.has(state) || SETTLED.has(state)
}

/** Decides where an order stands. */
export function followPurchase(seen: PurchaseObservation): PurchasePlan {
  const { at, order, page, payment } = seen
  const stays = { state: order.state, close: null, settlement: null, attention: null }
  const until = (state: OrderState, deadline: Instant): PurchasePlan => ({ ...stays, state, deadline })
  const ended = (state: OrderState): PurchasePlan => ({ ...stays, state, deadline: null })

  if (SETTLED.has(order.state)) return ended(order.state)
  if (payment?.status === 'succeeded' || page?.paymentStatus === 'paid') return settle(seen)
  if (ENDED.has(order.state)) return ended(order.state)
  if (page === null) {
    // an order that never opened is given up after an hour
    const giveUp = addMs(order.createdAt, HOUR_MS)
    return at >= giveUp ? ended('failed') : until('opening', giveUp)
  }
  if (page.status === 'expired') return ended('abandoned')
  if (page.status === 'complete') {
    if (page.paymentStatus === 'no_payment_required') return settle(seen)
    return payment === null || ON_ITS_WAY.has(payment.status)
      ? until('processing', addMs(at, ON_ITS_WAY_MS))
      : ended('failed')
  }
  const look = addMs(page.expiresAt, AFTER_STRIPE_MS)
  if (look > at) return until('open', look)
  return { ...until('open', addMs(at, AFTER_STRIPE_MS)), close: page.id }
}

/** The money is there: what it bought. An order that had ended here is for a person to look at, too. */
function settle({ at, order, page, payment }: PurchaseObservation): PurchasePlan {
  const { terms, quantity } = order
  const late = ENDED.has(order.state)
  const wrong = problemOf(terms, page, payment)
  if (wrong !== null) {
    const deadline = addMs(at, ON_ITS_WAY_MS)
    return { state: order.state, deadline, close: null, settlement: null, attention: wrong }
  }
  const received = payment?.received ?? page?.total ?? '0'
  const net = page === null ? received : page.lines.reduce((sum, line) => sum.plus(line.net), new Exact(0))
  const credits = creditsForLine({
    credits: terms.credits,
    quantity,
    unitAmount: terms.unitAmount,
    // never more than has come, whatever the page says
    amount: Exact.min(net, received).toFixed(),
    discount: '0',
    rule: 'proportional',
  })
  const paid = payment?.id ?? page?.id ?? order.id
  return {
    state: late ? 'late' : 'paid',
    deadline: null,
    close: null,
    attention: late ? 'late_payment' : null,
    settlement: {
      payment: paid,
      amountMinor: received,
      currency: terms.currency,
      paidAt: payment?.paidAt ?? at,
      credits: formatCredits(credits),
      key: postingKey.purchase(order.id),
      reason: late ? 'late_purchase' : 'purchase',
      source: {
        order: order.id,
        payment: paid,
        price: terms.lookupKey,
        ...(page === null ? {} : { session: page.id }),
      },
    },
  }
}

/** What must be so before money can be told in credits. */
function problemOf(terms: PackTerms, page: PageFacts | null, payment: PackPaymentFacts | null) {
  const currencies = [page?.currency, payment?.currency].filter((each) => each !== undefined)
  if (currencies.some((currency) => currency !== terms.currency)) return 'currency_mismatch'
  if (page?.lines.some((line) => line.price !== terms.priceId) === true) return 'unknown_price'
  return null
}
