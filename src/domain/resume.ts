/** What a resume command does: withdraw a cancellation while the period runs, end a pause, or why not. Pure. */
import { NOT_FOUND } from './change.ts'
import { type Decision, effectsOf, refused } from './effect.ts'
import type { Role } from './role.ts'
import { hasEnded } from './status.ts'
import type { SubscriptionFacts } from './subscription-facts.ts'
import { callsOf, type SubscriptionStep } from './subscription-step.ts'

/**
 * Decides to go on. One that goes on already is left as it is.
 * @param role undefined: nobody has looked at it yet
 */
export function decideResume(
  subscription: SubscriptionFacts | undefined,
  role: Role | undefined,
): Decision<{ steps: SubscriptionStep[] }> {
  if (subscription === undefined) return NOT_FOUND
  if (hasEnded(subscription.status))
    return refused(409, 'subscription_ended', 'it has ended already: begin another one')
  // it would be paid for beside the account's plan
  if (role === 'duplicate')
    return refused(409, 'subscription_duplicate', 'another subscription of this group is the account’s plan')
  const { id, status, cancelAt, cancelAtPeriodEnd, paused } = subscription
  const steps: SubscriptionStep[] = []
  if (cancelAtPeriodEnd) steps.push({ do: 'go_on', by: 'cancel_at_period_end' })
  else if (cancelAt !== null) steps.push({ do: 'go_on', by: 'cancel_at' })
  if (status === 'paused') steps.push({ do: 'resume' })
  else if (paused != null) steps.push({ do: 'collect' })
  return { steps, effects: effectsOf({ stripe: steps.flatMap((step) => callsOf(id, step)) }) }
}
