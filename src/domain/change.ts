/**
 * What a command does to a subscription's plan, interval and seats: more at once, when it is paid; less at the end of
 * the period; or why not. Pure.
 */
import type { Instant } from './calendar.ts'
import { Exact } from './credits.ts'
import { type Decision, effectsOf, type Refused, refused } from './effect.ts'
import type { Interval, PriceTerms } from './plan.ts'
import { hasEnded } from './status.ts'
import type { SubscriptionFacts } from './subscription-facts.ts'
import { callsOf, isPending, type SubscriptionStep, withdrawals } from './subscription-step.ts'

/** What a plan change is decided from. */
export interface ChangeSight {
  subscription: SubscriptionFacts | undefined
  role: 'primary' | 'duplicate'
  /** terms of what it has; undefined: none of the catalogue's */
  current: PriceTerms | undefined
  /** terms of what is asked for: what it has, when only the seats change; undefined: not on sale */
  target: PriceTerms | undefined
  /** what there is instead of a price without commitment */
  instead: 'nothing' | 'commitment' | 'free'
  /** absent: as many as it has */
  quantity: number | undefined
}

/** `when`: how the change is made; `already`: it is so, or is to be so by itself. */
export type ChangeDecision = Decision<{
  steps: SubscriptionStep[]
  when: 'already' | 'now' | 'later'
  target: { priceId: string; quantity: number }
}>

/** Decides a change of plan. */
export function decideChange(sight: ChangeSight): ChangeDecision {
  const { subscription, current, target } = sight
  const not = refusedBy(sight)
  if (not !== undefined) return not
  if (
    subscription === undefined ||
    current === undefined ||
    target === undefined ||
    subscription.item == null
  ) {
    return refused(409, 'plan_not_found', 'what it bills is none of the catalogue’s plans')
  }
  const to = { priceId: target.priceId, quantity: sight.quantity ?? subscription.quantity }
  const { pending } = subscription
  const release = withdrawals(subscription).filter((step) => step.do === 'release')
  // a schedule beside a change that waits for its payment is left of whoever died between the two
  if (isPending(pending, to))
    return planned(subscription, pending?.state === 'awaiting_payment' ? release : [], 'already', to)
  const is = { priceId: subscription.priceId, quantity: subscription.quantity }
  // to stay what it is withdraws what was to change
  if (is.priceId === to.priceId && is.quantity === to.quantity)
    return planned(subscription, pending == null ? [] : withdrawals(subscription), 'already', to)
  const startsAnew = current.interval !== target.interval
  if (isMore(current, target, is.quantity, to.quantity)) {
    const change = { do: 'change' as const, item: subscription.item, startsAnew, ...to }
    // Stripe drops an earlier change that waits for its payment by itself. Refused, it leaves all as it was.
    // docs.stripe.com/billing/subscriptions/pending-updates-reference
    return planned(subscription, [change, ...release], 'now', to)
  }
  const { periodEnd } = subscription
  if (periodEnd === null) return refused(409, 'subscription_not_started', 'it has no period yet')
  return planned(
    subscription,
    [
      {
        do: 'schedule',
        schedule: subscription.schedule ?? null,
        at: periodEnd,
        now: { priceId: current.priceId, quantity: is.quantity },
        next: { ...to, interval: target.interval },
        startsAnew,
      },
      // what is given up comes last: before it, whatever is refused leaves it there
      ...withdrawals(subscription).filter((step) => step.do === 'void'),
    ],
    'later',
    to,
    periodEnd,
  )
}

/** Decides to withdraw what Stripe is to change by itself. */
export function decideWithdrawal(
  subscription: SubscriptionFacts | undefined,
): Decision<{ steps: SubscriptionStep[] }> {
  if (subscription === undefined) return NOT_FOUND
  if (subscription.pending == null) return refused(404, 'pending_change_not_found', 'nothing is to change')
  const steps = withdrawals(subscription)
  return { steps, effects: effectsOf({ stripe: steps.flatMap((step) => callsOf(subscription.id, step)) }) }
}

export const NOT_FOUND = refused(404, 'subscription_not_found', 'Stripe has no such subscription')

/** Why a status does not let the plan change. */
const UNCHANGEABLE: Record<string, Refused> = {
  past_due: refused(409, 'payment_overdue', 'a payment is overdue: it is to be paid first'),
  unpaid: refused(409, 'payment_overdue', 'a payment is overdue: it is to be paid first'),
  incomplete: refused(409, 'payment_overdue', 'the first payment is not complete'),
  paused: refused(409, 'subscription_paused', 'it is paused: resume it first'),
  trialing: refused(409, 'subscription_trialing', 'a trial ends before its plan is changed'),
}

function refusedBy({
  subscription,
  role,
  current,
  target,
  instead,
  quantity,
}: ChangeSight): Refused | undefined {
  if (subscription === undefined) return NOT_FOUND
  const { status } = subscription
  if (hasEnded(status)) return refused(409, 'subscription_ended', 'the subscription has ended already')
  if (role === 'duplicate')
    return refused(409, 'subscription_duplicate', 'another subscription of this group is the account’s plan')
  if (UNCHANGEABLE[status] !== undefined) return UNCHANGEABLE[status]
  if (subscription.paused != null) return UNCHANGEABLE['paused']
  if (subscription.cancelAt !== null || subscription.cancelAtPeriodEnd)
    return refused(409, 'subscription_cancelling', 'it is to end: resume it first')
  if (target === undefined) {
    if (instead === 'free') return refused(409, 'plan_is_free', 'cancel it to fall back to a free plan')
    if (instead === 'commitment')
      return refused(409, 'commitment_not_sold', 'this plan is sold with a commitment only')
    return refused(404, 'plan_not_found', 'this plan is not on sale at this interval')
  }
  if (current?.commitmentMonths != null)
    return refused(409, 'commitment_not_sold', 'a plan that binds is not changed')
  if (current !== undefined && current.group !== target.group)
    return refused(409, 'plan_group_differs', 'this plan is of another group: begin a subscription of it')
  if (current !== undefined && current.currency !== target.currency)
    return refused(409, 'plan_group_differs', 'this plan is sold in another currency')
  if (quantity !== undefined && quantity < 1)
    return refused(409, 'plan_not_found', 'a subscription has at least one seat')
  return undefined
}

/** More in one way and less in none: a higher rank, more seats, a year for a month. */
function isMore(current: PriceTerms, target: PriceTerms, seats: number, wanted: number): boolean {
  const rank = rankOf(target, current)
  if (rank < 0 || wanted < seats) return false
  return current.interval === target.interval || target.interval === 'year'
}

/** Above zero: `one` is higher. Plans that were sold before there were ranks are told by their credits. */
function rankOf(one: PriceTerms, other: PriceTerms): number {
  if (one.tier !== null && other.tier !== null) return one.tier - other.tier
  return new Exact(one.credits).comparedTo(other.credits)
}

function planned(
  { id }: SubscriptionFacts,
  steps: SubscriptionStep[],
  when: 'already' | 'now' | 'later',
  target: { priceId: string; quantity: number },
  at?: Instant,
): ChangeDecision {
  return {
    steps,
    when,
    target,
    effects: effectsOf({
      stripe: steps.flatMap((step) => callsOf(id, step)),
      dates: at === undefined ? [] : [{ what: 'plan_changes', at }],
    }),
  }
}

/** What a change has come to, when Stripe is read again; undefined: neither made nor to be made. */
export function becameOf(
  subscription: SubscriptionFacts,
  target: { priceId: string; quantity: number },
): 'changed' | 'awaiting_payment' | 'scheduled' | undefined {
  if (isPending(subscription.pending, target)) return subscription.pending?.state
  return subscription.priceId === target.priceId && subscription.quantity === target.quantity
    ? 'changed'
    : undefined
}

/** An interval that was not asked for is the one that it has. */
export function intervalOf(asked: Interval | undefined, current: PriceTerms | undefined): Interval {
  return asked ?? current?.interval ?? 'month'
}
