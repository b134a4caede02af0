/** What a cancel command does: stop at the end of the paid period, or why not. Pure. */
import type { Instant } from './calendar.ts'
import { type Decision, effectsOf, refused } from './effect.ts'
import { type FreeFacts, monthAt } from './free.ts'
import { noticeKey } from './id.ts'
import type { PlannedNotice } from './notice.ts'
import { hasEnded } from './status.ts'
import type { SubscriptionFacts } from './subscription-facts.ts'
import { callsOf, type SubscriptionStep, withdrawals } from './subscription-step.ts'

interface Cancellable {
  status: string
  periodEnd: Instant | null
  cancelAt: Instant | null
  cancelAtPeriodEnd: boolean
}

export interface CancelAnswer {
  state: 'done'
  statusCode: number
  result: Record<string, unknown>
}

/** `already`: it is cancelling, and nothing is to be done. `cancelAt`: when it will end. */
export type CancelDecision = Decision<{ already: boolean; cancelAt: Instant | null }>

/**
 * Decides a cancellation.
 * @param subscription undefined: there is none
 */
export function decideCancel(subscription: Cancellable | undefined): CancelDecision {
  if (subscription === undefined)
    return refused(404, 'subscription_not_found', 'Stripe has no such subscription')
  if (hasEnded(subscription.status))
    return refused(409, 'subscription_ended', 'the subscription has ended already')
  const end = endOf(subscription)
  const already = end !== null
  const ends = end ?? subscription.periodEnd
  return {
    already,
    cancelAt: ends,
    effects: effectsOf({
      dates: ends === null ? [] : [{ what: 'subscription_ends', at: ends }],
    }),
  }
}

/** Decides the cancellation of a free plan: the month that runs is its last one. */
export function decideFreeCancel(subscription: FreeFacts | undefined, at: Instant): CancelDecision {
  if (subscription === undefined) return decideCancel(undefined)
  const { id, account, plan, status, anchor, cancelAt } = subscription
  const { end } = monthAt(anchor, at)
  const decision = decideCancel({ status, cancelAt, periodEnd: end, cancelAtPeriodEnd: false })
  if ('refused' in decision || decision.already) return decision
  const notice: PlannedNotice = {
    account,
    kind: 'subscription_cancelling',
    key: noticeKey.cancelling(id, end),
    cause: { subscription: id },
    data: { subscription: id, plan, endsAt: end },
  }
  return { ...decision, effects: { ...decision.effects, notices: [notice] } }
}

/** Decides a cancellation in Stripe: it withdraws whatever was to change. */
export function decideStripeCancel(
  subscription: SubscriptionFacts | undefined,
): Decision<{ steps: SubscriptionStep[] }> {
  const decision = decideCancel(subscription)
  if ('refused' in decision) return decision
  if (subscription === undefined || decision.already) return { steps: [], effects: decision.effects }
  const steps: SubscriptionStep[] = [...withdrawals(subscription), { do: 'cancel' }]
  const stripe = steps.flatMap((step) => callsOf(subscription.id, step))
  return { steps, effects: { ...decision.effects, stripe } }
}

/** When a subscription will end; null: it goes on. */
export function endOf({ cancelAt, cancelAtPeriodEnd, periodEnd }: Cancellable): Instant | null {
  return cancelAt ?? (cancelAtPeriodEnd ? periodEnd : null)
}

/** The answer of a command that was carried out: when the subscription will end. */
export function cancellationAnswer(cancelAt: Instant | null): CancelAnswer {
  return { state: 'done', statusCode: 200, result: { cancel_at: cancelAt } }
}
