/**
 * A subscription as Stripe will hold it once the steps of a command are taken: what a preview goes on from, with the very
 * decision that the pass after the command makes. Pure.
 */
import type { Instant } from './calendar.ts'
import type { PendingFacts, SubscriptionFacts } from './subscription-facts.ts'
import type { SubscriptionStep } from './subscription-step.ts'

/** @param at when the steps are taken */
export function afterSteps(
  subscription: SubscriptionFacts,
  steps: SubscriptionStep[],
  at: Instant,
): SubscriptionFacts {
  return steps.reduce((before, step) => afterStep(before, step, at), subscription)
}

function afterStep(before: SubscriptionFacts, step: SubscriptionStep, at: Instant): SubscriptionFacts {
  switch (step.do) {
    case 'cancel':
      return { ...before, cancelAtPeriodEnd: true }
    case 'go_on':
      return { ...before, cancelAt: null, cancelAtPeriodEnd: false }
    case 'collect':
      return { ...before, paused: null }
    case 'resume':
      return { ...before, ...periodFrom(at), status: 'active', paused: null }
    case 'void':
      return { ...before, pending: ofState(before, 'scheduled') }
    case 'release':
      return { ...before, schedule: null, pending: ofState(before, 'awaiting_payment') }
    case 'change': {
      const { priceId, quantity, startsAnew } = step
      const anew = startsAnew ? periodFrom(at) : {}
      return { ...before, ...anew, priceId, quantity, pending: null }
    }
    default: {
      const { priceId, quantity } = step.next
      // one that is made has no id before
      const cause = step.schedule ?? '{schedule}'
      const pending: PendingFacts = {
        state: 'scheduled',
        priceId,
        quantity,
        effectiveAt: step.at,
        expiresAt: null,
        cause,
      }
      return { ...before, schedule: cause, pending }
    }
  }
}

/** What is pending, if it waits for that. */
function ofState({ pending }: SubscriptionFacts, state: PendingFacts['state']): PendingFacts | null {
  return pending?.state === state ? pending : null
}

/** A period that begins now, and those after it are counted from it. Stripe counts whole seconds. */
function periodFrom(at: Instant): Pick<SubscriptionFacts, 'anchor' | 'periodStart'> {
  const start = `${at.slice(0, 19)}.000Z`
  return { anchor: start, periodStart: start }
}
