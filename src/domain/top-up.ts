/**
 * Automatic top-up: when credits run low a pack is bought with the card that was kept, one at a time, up to a sum a
 * month, and less and less often while it is declined. Pure; runs inside the workflow and under the lock of a claim.
 */
import { addMs, HOUR_MS, type Instant } from './calendar.ts'
import { Exact, formatCredits } from './credits.ts'
import type { PlannedCall } from './effect.ts'
import { creditsForLine } from './grant.ts'
import { postingKey } from './id.ts'
import type { PackTerms } from './plan.ts'
import { decideOrder, type OrderObservation } from './purchase-limit.ts'
import { KEY_LIVES_MS } from './stripe-call.ts'

export type TopUpStop = 'declines' | 'no_payment_method' | 'pack_not_on_sale'

export interface TopUpSettings {
  enabled: boolean
  pack: string
  /** credits: below this it buys */
  threshold: string
  /** most that it charges in a calendar month, in minor units */
  monthlyMaxMinor: string
  /** what it is charged in; null: nothing is for sale yet */
  currency: string | null
  /** how often a person has set it going */
  generation: number
  /** in a row, since then */
  declines: number
  /** not before */
  nextAttemptAt: Instant | null
}

/** One charge: written before Stripe is called, so that what became of it can be looked up. */
export interface TopUpAttempt {
  id: string
  generation: number
  state: 'charging' | 'processing' | 'succeeded' | 'declined' | 'failed'
  /** as the pack was sold when it was charged */
  terms: PackTerms
  startedAt: Instant
  /** Stripe refused it without making a payment: its code */
  refused: string | null
}

/** Stripe's payment intent of an attempt. Money in minor units. */
export interface ChargeFacts {
  id: string
  status: string
  received: string
  currency: string
  paidAt: Instant | null
  /** the last error's */
  code: string | null
}

/** Everything a run knows. `at` is business now, read with the rest. */
export interface TopUpObservation {
  at: Instant
  account: string
  settings: TopUpSettings
  available: string
  /** one that had ended and was paid all the same; or else the one in flight */
  attempt: TopUpAttempt | null
  /** null: Stripe knows of no payment of this attempt */
  charge: ChargeFacts | null
  /** what an order of the pack would be decided by */
  order: OrderObservation
  /** what attempts of this calendar month have charged or may still, in minor units */
  monthMinor: string
  monthEndsAt: Instant
  /** the card that was kept; null: there is none; undefined: not asked for, because nothing is to be charged */
  method?: string | null
}

export type TopUpPlan =
  /** nothing to do before the deadline; null: before somebody wakes it */
  | { step: 'rest'; deadline: Instant | null; processing: boolean }
  /** write an attempt, then ask Stripe */
  | { step: 'charge'; terms: PackTerms; amountMinor: string; method: string }
  /** an attempt whose outcome nobody knows: look it up, or ask again under its own key */
  | { step: 'look_up' }
  /** Stripe was never asked, or will not know any more: nothing was charged */
  | { step: 'give_up' }
  | {
      step: 'settle'
      payment: string
      amountMinor: string
      currency: string
      paidAt: Instant
      credits: string
      key: string
    }
  /** `declines` in a row so far, 0 when it is an earlier generation's and does not count */
  | {
      step: 'declined'
      payment: string | null
      code: string
      authentication: boolean
      counts: boolean
      declines: number
      nextAttemptAt: Instant | null
      stops: boolean
    }
  | { step: 'stop'; reason: TopUpStop }
  | { step: 'cap'; deadline: Instant }

/** How many declines in a row end it, until a person sets it going again. */
const DECLINES_MAX = 3
/** How long it waits after the first decline, and after the second. */
const WAIT_AFTER_DECLINE_MS = [HOUR_MS, 6 * HOUR_MS]
/** How long the customer may take to pay on the page that a payment which needs him leads to. */
export const TOP_UP_PAGE_OPEN_MS = 23 * HOUR_MS
/** Money that is on its way: Stripe tells when it arrives, and this is for when that is lost. */
const ON_ITS_WAY_MS = 6 * HOUR_MS

const ON_ITS_WAY = new Set(['processing', 'requires_action', 'requires_capture'])

/** Whether a card should be asked for: all else speaks for a charge. */
export function wantsCharge(seen: TopUpObservation): boolean {
  return decideTopUp({ ...seen, method: 'pm_any' }).step === 'charge'
}

/** The call that charges an attempt. */
export function chargeCall(attempt: {
  amountMinor: string
  currency: string
  customer: string
  method: string
}): PlannedCall {
  const { amountMinor: amount, currency, customer, method } = attempt
  return {
    method: 'POST',
    path: '/v1/payment_intents',
    params: { amount, currency, customer, payment_method: method, off_session: 'true', confirm: 'true' },
  }
}

/** Decides the next step. */
export function decideTopUp(seen: TopUpObservation): TopUpPlan {
  const { at, settings, available, attempt, order, monthMinor, monthEndsAt, method } = seen
  const rest = (deadline: Instant | null): TopUpPlan => ({ step: 'rest', deadline, processing: false })
  if (attempt !== null) {
    const plan = followCharge(seen, attempt)
    if (plan !== undefined) return plan
  }
  if (!settings.enabled || new Exact(available).gte(settings.threshold)) return rest(null)
  if (settings.nextAttemptAt !== null && settings.nextAttemptAt > at) return rest(settings.nextAttemptAt)
  const decision = decideOrder(order, { pack: settings.pack, quantity: 1 })
  if ('refused' in decision) {
    const { code } = decision.refused
    if (code === 'purchase_rate') return rest(addMs(at, order.hour.oneLessIn * 1000))
    if (code === 'purchase_day_limit') return rest(addMs(at, HOUR_MS))
    return { step: 'stop', reason: 'pack_not_on_sale' }
  }
  const { terms, amountMinor } = decision.order
  if (new Exact(monthMinor).plus(amountMinor).gt(settings.monthlyMaxMinor)) {
    return { step: 'cap', deadline: monthEndsAt }
  }
  if (method === null || method === undefined) return { step: 'stop', reason: 'no_payment_method' }
  return { step: 'charge', terms, amountMinor, method }
}

/** What an attempt has come to; undefined when it is over and changes nothing. */
function followCharge(
  { at, settings, charge }: TopUpObservation,
  attempt: TopUpAttempt,
): TopUpPlan | undefined {
  const { terms, state } = attempt
  if (state === 'succeeded') return undefined
  if (charge?.status === 'succeeded') {
    const credits = creditsForLine({
      credits: terms.credits,
      quantity: 1,
      unitAmount: terms.unitAmount,
      amount: charge.received,
      discount: '0',
      rule: 'proportional',
    })
    return {
      step: 'settle',
      payment: charge.id,
      amountMinor: charge.received,
      currency: charge.currency,
      paidAt: charge.paidAt ?? at,
      credits: formatCredits(credits),
      key: postingKey.topUp(charge.id),
    }
  }
  if (state === 'declined' || state === 'failed') return undefined
  if (charge !== null && ON_ITS_WAY.has(charge.status)) {
    return { step: 'rest', deadline: addMs(at, ON_ITS_WAY_MS), processing: true }
  }
  if (charge === null && attempt.refused === null) {
    return { step: at < addMs(attempt.startedAt, KEY_LIVES_MS) ? 'look_up' : 'give_up' }
  }
  const code = charge?.code ?? attempt.refused ?? charge?.status ?? 'declined'
  const counts = attempt.generation === settings.generation
  const declines = settings.declines + (counts ? 1 : 0)
  const authentication = code === 'authentication_required'
  const stops = counts && declines >= DECLINES_MAX
  const wait = authentication ? TOP_UP_PAGE_OPEN_MS : (WAIT_AFTER_DECLINE_MS[declines - 1] ?? HOUR_MS)
  return {
    step: 'declined',
    payment: charge?.id ?? null,
    code,
    authentication,
    counts,
    declines,
    nextAttemptAt: stops || !counts ? null : addMs(at, wait),
    stops,
  }
}
