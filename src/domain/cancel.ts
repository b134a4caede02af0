/** What a cancel command does: stop at the end of the paid period, or why not. Pure. */
import type { Instant } from './calendar.ts'
import { hasEnded } from './subscription.ts'

interface Cancellable {
  status: string
  periodEnd: Instant | null
  cancelAt: Instant | null
  cancelAtPeriodEnd: boolean
}

export interface CancelAnswer {
  state: 'done' | 'refused'
  statusCode: number
  result: Record<string, unknown>
}

/** `cancel`: ask Stripe. Otherwise the answer as it is: already cancelling, ended, or unknown to Stripe. */
export function decideCancel(subscription: Cancellable | undefined): 'cancel' | CancelAnswer {
  if (subscription === undefined)
    return refused(404, 'subscription_not_found', 'Stripe has no such subscription')
  if (hasEnded(subscription.status))
    return refused(409, 'subscription_ended', 'the subscription has ended already')
  if (subscription.cancelAt !== null || subscription.cancelAtPeriodEnd)
    return cancellationAnswer(subscription)
  return 'cancel'
}

/** The answer of a command that was carried out: when the subscription will end. */
export function cancellationAnswer(subscription: Cancellable): CancelAnswer {
  const cancelAt = subscription.cancelAt ?? (subscription.cancelAtPeriodEnd ? subscription.periodEnd : null)
  return { state: 'done', statusCode: 200, result: { cancel_at: cancelAt } }
}

function refused(statusCode: number, code: string, detail: string): CancelAnswer {
  return { state: 'refused', statusCode, result: { code, detail } }
}
