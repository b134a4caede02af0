/** Schedules that change a subscription at the end of its period: made once, set, read again, and let go of. */
import Stripe from 'stripe'
import { Refusal } from '../domain/error.ts'
import { stripeKey } from '../domain/id.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import type { Calls } from './call.ts'
import { idOf, instant, METADATA } from './fact.ts'
import { holds, itemsOf, restated } from './schedule-phase.ts'

type Step = Extract<SubscriptionStep, { do: 'schedule' }>
type Phase = Stripe.SubscriptionScheduleUpdateParams.Phase

/**
 * Has a subscription change by the schedule that it has, or by a new one. Nothing else of it changes.
 * @throws Refusal `change_overtaken` when somebody else set the schedule at the same moment
 */
export async function setSchedule(
  stripe: Stripe,
  calls: Calls,
  subscription: string,
  step: Step,
  command: string,
): Promise<void> {
  const id = step.schedule ?? (await make(stripe, calls, subscription, command)).id
  const found = await stripe.subscriptionSchedules.retrieve(id, { expand: ['subscription'] })
  // released since somebody looked: another look finds that there is none
  if (found.status !== 'active') throw new Error(`the schedule ${id} is ${found.status}`)
  const phases = phasesOf(found, step)
  await calls.set({
    key: stripeKey.step('phases', command),
    kind: 'phases',
    subject: subscription,
    send: (idempotencyKey) =>
      stripe.subscriptionSchedules.update(
        id,
        {
          end_behavior: 'release',
          proration_behavior: 'none',
          metadata: { [METADATA.command]: command },
          phases,
        },
        { idempotencyKey },
      ),
  })
  // set, read again, compare: a schedule that does not hold what it was told would bill the old price
  const kept = await stripe.subscriptionSchedules.retrieve(id)
  const next = kept.phases.at(-1)
  const now = kept.phases.find(({ end_date: end }) => end === next?.start_date)
  if (
    instant(next?.start_date) !== step.at ||
    ![now, next].every((phase, index) => holds(phase, phases[index] ?? { items: [] }))
  ) {
    // asked for once more under its key, Stripe would repeat its answer and change nothing
    throw new Refusal('change_overtaken', `the schedule ${id} does not hold the change that it was told`)
  }
}

/** Lets go of a subscription; it stays as it is. What is let go of already stays so. */
export async function releaseSchedule(
  stripe: Stripe,
  schedule: string,
  once: Stripe.RequestOptions,
): Promise<void> {
  try {
    await stripe.subscriptionSchedules.release(schedule, {}, once)
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) throw error
    const { status } = await stripe.subscriptionSchedules.retrieve(schedule)
    if (status === 'active' || status === 'not_started') throw error
  }
}

/** docs.stripe.com/api/subscription_schedules/create: a subscription has one at most, and names it. */
async function make(stripe: Stripe, calls: Calls, subscription: string, command: string) {
  return await calls.make({
    key: stripeKey.step('schedule', command),
    kind: 'schedule',
    subject: subscription,
    send: (idempotencyKey) =>
      stripe.subscriptionSchedules.create({ from_subscription: subscription }, { idempotencyKey }),
    read: (id) => stripe.subscriptionSchedules.retrieve(id),
    isOver: ({ status }) => status !== 'active',
    find: async () => {
      const { schedule } = await stripe.subscriptions.retrieve(subscription, { expand: ['schedule'] })
      // there was none when this was decided
      return schedule === null || typeof schedule === 'string' ? undefined : schedule
    },
  })
}

/** The phase that runs, as it is, and the one that follows: the same, but for the item that changes. */
function phasesOf(found: Stripe.SubscriptionSchedule, { now, next, at, startsAnew }: Step): [Phase, Phase] {
  const start = found.current_phase?.start_date
  const running = found.phases.find((phase) => phase.start_date === start) ?? found.phases[0]
  if (running === undefined) throw new Error(`the schedule ${found.id} has no phase that runs`)
  const { subscription } = found
  // by the discounts that it has: one that is used up would begin anew by its coupon
  const discounts =
    subscription === null || typeof subscription === 'string'
      ? []
      : subscription.discounts.map((each) => ({ discount: idOf(each) ?? '' }))
  const terms = restated(running, discounts)
  const items = itemsOf(running)
  const ours = Math.max(
    0,
    items.findIndex(({ price }) => price === now.priceId),
  )
  const billing = (price: string, quantity: number) =>
    items.map((item, index) => (index === ours ? { ...item, price, quantity } : item))
  return [
    {
      ...terms,
      items: billing(now.priceId, now.quantity),
      ...(start === undefined ? {} : { start_date: start }),
      end_date: Date.parse(at) / 1000,
      proration_behavior: 'none',
      ...(running.billing_cycle_anchor === null
        ? {}
        : { billing_cycle_anchor: running.billing_cycle_anchor }),
      ...(running.trial_end === null ? {} : { trial_end: running.trial_end }),
    },
    {
      ...terms,
      items: billing(next.priceId, next.quantity),
      duration: { interval: next.interval, interval_count: 1 },
      proration_behavior: 'none',
      ...(startsAnew ? { billing_cycle_anchor: 'phase_start' } : {}),
    },
  ]
}
