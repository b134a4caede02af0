// Subscription schedules: made from a subscription, changed, released, cancelled.
import { invalid, notSimulated, refused } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import {
  bool,
  either,
  hash,
  int,
  list,
  mergeMetadata,
  metadata,
  oneOf,
  required,
  str,
  unsupported,
} from '../param.ts'
import { phaseTermsShape } from '../phase-terms.ts'
import { listShape, route, type Resource } from '../router.ts'
import { askedPhases, newSchedule } from '../schedule.ts'
import { expiringDue, phaseDue, planCancel, planPhase, putPhase, releaseSchedule } from '../schedule-run.ts'
import { interval, prorationBehavior } from '../shape.ts'
import { cancelAtOnce } from '../subscription-change.ts'
import type { SubscriptionSchedule } from '../wire.ts'
import type { World } from '../world.ts'

const date = either(oneOf('now'), int)

const phase = hash({
  start_date: date,
  end_date: date,
  duration: hash({ interval: required(interval), interval_count: int }),
  items: required(list(hash({ price: required(str), quantity: int, metadata }))),
  billing_cycle_anchor: oneOf('automatic', 'phase_start'),
  currency: str,
  metadata,
  proration_behavior: prorationBehavior,
  trial_end: int,
  trial: unsupported('trials that a schedule begins'),
  ...phaseTermsShape,
  add_invoice_items: unsupported('invoice items of a phase'),
})

function active(world: World, id: string, verb: string): SubscriptionSchedule {
  const schedule = world.need('subscription_schedule', id)
  if (schedule.status !== 'active')
    throw refused(
      `You cannot ${verb} a subscription schedule that is currently in the \`${schedule.status}\` status.`,
    )
  return schedule
}

export const subscriptionSchedule: Resource = {
  routes: [
    route(
      'POST',
      '/v1/subscription_schedules',
      {
        from_subscription: str,
        customer: unsupported('schedules that begin a subscription'),
        phases: unsupported('schedules that begin a subscription'),
        start_date: unsupported('schedules that begin a subscription'),
      },
      ({ world, params }) => {
        if (params.from_subscription === undefined)
          throw notSimulated('schedules that begin a subscription', 'from_subscription')
        const sub = world.need('subscription', params.from_subscription, 'from_subscription')
        const schedule = newSchedule(world, sub)
        const after = world.update('subscription', sub.id, {
          schedule: schedule.id,
          cancel_at_period_end: false,
        })
        world.emitChange('customer.subscription.updated', sub, after)
        planPhase(world, schedule)
        return schedule
      },
    ),
    route(
      'GET',
      '/v1/subscription_schedules',
      { ...listShape, customer: str, scheduled: bool },
      ({ world, params, path }) =>
        pageOf(
          newestFirst(world.store.all('subscription_schedule')),
          params,
          path,
          'subscription_schedule',
          (item) => {
            if (params.scheduled !== undefined && params.scheduled !== (item.status === 'not_started'))
              return false
            return params.customer === undefined || item.customer === params.customer
          },
        ),
    ),
    route('GET', '/v1/subscription_schedules/:id', {}, ({ world, ids: [id = ''] }) =>
      world.need('subscription_schedule', id),
    ),
    route(
      'POST',
      '/v1/subscription_schedules/:id',
      {
        phases: list(phase),
        end_behavior: oneOf('release', 'cancel'),
        metadata,
        proration_behavior: prorationBehavior,
        default_settings: unsupported('default settings of a schedule'),
        pause_schedules: unsupported('scheduled pauses'),
      },
      ({ world, ids: [id = ''], params }) => {
        const old = active(world, id, 'update')
        const sub = world.need('subscription', old.subscription ?? '')
        const phases = params.phases ? askedPhases(world, old, sub, params.phases) : old.phases
        const now = phases.find((entry) => entry.start_date <= world.at && world.at < entry.end_date)
        if (!now) throw invalid('One phase must be running now.', 'phases')
        const entered = now.start_date !== old.current_phase?.start_date
        const after = world.update('subscription_schedule', id, {
          phases,
          current_phase: { end_date: now.end_date, start_date: now.start_date },
          end_behavior: params.end_behavior ?? old.end_behavior,
          metadata: mergeMetadata(old.metadata, params.metadata),
        })
        world.emitChange('subscription_schedule.updated', old, after)
        const behavior = params.proration_behavior ?? 'create_prorations'
        const resets = entered && now.billing_cycle_anchor === 'phase_start'
        if (params.phases) putPhase(world, sub, now, { behavior, resets })
        planPhase(world, after)
        planCancel(world, after)
        return world.need('subscription_schedule', id)
      },
    ),
    route(
      'POST',
      '/v1/subscription_schedules/:id/release',
      { preserve_cancel_date: bool },
      ({ world, ids: [id = ''], params }) =>
        releaseSchedule(world, active(world, id, 'release'), params.preserve_cancel_date ?? false),
    ),
    route(
      'POST',
      '/v1/subscription_schedules/:id/cancel',
      { invoice_now: bool, prorate: bool },
      ({ world, ids: [id = ''], params }) => {
        const schedule = active(world, id, 'cancel')
        // docs.stripe.com/api/subscription_schedules/cancel: both are true unless said otherwise
        const how = { invoice_now: params.invoice_now ?? true, prorate: params.prorate ?? true }
        cancelAtOnce(world, schedule.subscription ?? '', how)
        return world.need('subscription_schedule', id)
      },
    ),
  ],
  deadlines: { 'schedule.phase': phaseDue, 'schedule.expiring': expiringDue },
}
