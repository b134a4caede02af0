// Subscription schedules at work: phases begin, subscriptions change behind a schedule's back, schedules end.
// docs.stripe.com/billing/subscriptions/subscription-schedules
import { scheduleEnd } from './cancel.ts'
import { endAsPlanned, periodOf, turnPeriod } from './cycle.ts'
import { changedItems, type AskedItem } from './item-change.ts'
import { mergeMetadata } from './param.ts'
import { putTerms } from './phase-terms.ts'
import { phaseOf } from './schedule.ts'
import { isOver } from './subscription-state.ts'
import { planUpdate, type ProrationBehavior } from './subscription-update.ts'
import { carryOut, discardUpdate } from './update-payment.ts'
import type { CancelReason, SchedulePhase, Subscription, SubscriptionSchedule } from './wire.ts'
import type { World } from './world.ts'

const DAY = 86_400

/** The active schedule of a subscription. */
export function scheduleOf(world: World, sub: Subscription): SubscriptionSchedule | undefined {
  const found = sub.schedule === null ? undefined : world.store.get('subscription_schedule', sub.schedule)
  return found?.status === 'active' ? found : undefined
}

/** Plans the end of the present phase, and the notice a week before the schedule's own. */
export function planPhase(world: World, schedule: SubscriptionSchedule): void {
  const end = schedule.current_phase?.end_date
  if (end !== undefined) world.deadlines.set('schedule.phase', schedule.id, end * 1000)
  const notice = (schedule.phases.at(-1)?.end_date ?? 0) - 7 * DAY
  if (notice > world.at) world.deadlines.set('schedule.expiring', schedule.id, notice * 1000)
  else world.deadlines.clear('schedule.expiring', schedule.id)
}

/** A phase's end, by its deadline. At the end of a period both happen together, on one invoice. */
export function phaseDue(world: World, id: string): void {
  const schedule = world.store.get('subscription_schedule', id)
  const sub = schedule?.subscription ? world.store.get('subscription', schedule.subscription) : undefined
  if (!sub || isOver(sub)) return
  if (periodOf(sub).end <= world.at) turnPeriod(world, sub.id)
  advance(world, sub.id, world.at, false)
}

export function expiringDue(world: World, id: string): void {
  const schedule = world.store.get('subscription_schedule', id)
  if (schedule?.status === 'active') world.emit('subscription_schedule.expiring', schedule)
}

/** Enters what begins at or before `instant`. `turns`: the period ends there too, so nothing is prorated. */
export function advance(world: World, subId: string, instant: number, turns: boolean): void {
  for (;;) {
    const sub = world.store.get('subscription', subId)
    const schedule = sub && scheduleOf(world, sub)
    const end = schedule?.current_phase?.end_date
    if (!sub || !schedule || end === undefined || end > instant) return
    const next = schedule.phases.find((phase) => phase.start_date >= end)
    if (!next) {
      if (schedule.end_behavior === 'cancel') endAsPlanned(world, sub)
      else releaseSchedule(world, schedule, false)
      return
    }
    enter(world, sub, schedule, next, turns)
  }
}

function enter(
  world: World,
  sub: Subscription,
  schedule: SubscriptionSchedule,
  phase: SchedulePhase,
  turns: boolean,
): void {
  const current_phase = { end_date: phase.end_date, start_date: phase.start_date }
  const after = world.update(
    'subscription_schedule',
    schedule.id,
    { current_phase },
    'subscription_schedule.updated',
  )
  planPhase(world, after)
  const anew = phase.billing_cycle_anchor === 'phase_start'
  if (!turns) {
    putPhase(world, sub, phase, { behavior: phase.proration_behavior, resets: anew })
  } else {
    const items = changedItems(world, sub, itemsAsked(sub, phase))
    world.update('subscription', sub.id, {
      ...putTerms(world, sub, phase),
      items: { ...sub.items, data: items, total_count: items.length },
      metadata: mergeMetadata(sub.metadata, phase.metadata),
      ...(anew ? { billing_cycle_anchor: phase.start_date } : {}),
    })
  }
  planCancel(world, after)
}

/** Makes the subscription what the phase says. A change that waits for its payment is given up. */
export function putPhase(
  world: World,
  sub: Subscription,
  phase: SchedulePhase,
  how: { behavior: ProrationBehavior; resets: boolean },
): void {
  discardUpdate(world, sub.id)
  const before = world.need('subscription', sub.id)
  const patched = {
    ...before,
    ...putTerms(world, before, phase),
    metadata: mergeMetadata(before.metadata, phase.metadata),
  }
  if (!how.resets && samePhase(before, phase)) {
    world.store.put('subscription', sub.id, patched)
    world.emitChange('customer.subscription.updated', before, patched)
    return
  }
  const plan = planUpdate(world, patched, {
    items: itemsAsked(before, phase),
    billing_cycle_anchor: { type: how.resets ? 'now' : 'unchanged' },
    proration_behavior: how.behavior,
  })
  carryOut(world, before, plan, { behavior: 'allow_incomplete', offSession: true, alone: true }, {})
}

/** A phase names prices, not items: an item of the same price stays, others go and come. */
function itemsAsked(sub: Subscription, phase: SchedulePhase): AskedItem[] {
  const gone = sub.items.data
    .filter((item) => !phase.items.some(({ price }) => price === item.price.id))
    .map(({ id }) => ({ id, deleted: true }))
  const asked = phase.items.map(({ price, quantity, metadata }): AskedItem => {
    const id = sub.items.data.find((item) => item.price.id === price)?.id
    return { ...(id === undefined ? { price } : { id }), quantity, metadata }
  })
  return [...asked, ...gone]
}

function samePhase(sub: Subscription, phase: SchedulePhase): boolean {
  const of = (items: { price: string; quantity?: number | undefined }[]): string =>
    items
      .map(({ price, quantity }) => `${price} ${quantity ?? 1}`)
      .sort()
      .join()
  const has = sub.items.data.map(({ price, quantity }) => ({ price: price.id, quantity }))
  return of(has) === of(phase.items)
}

/** The end is set on the subscription when its last phase begins. subscription-schedules#complete-a-schedule */
export function planCancel(world: World, schedule: SubscriptionSchedule): void {
  const sub = world.need('subscription', schedule.subscription ?? '')
  const last = schedule.phases.at(-1)
  const ends =
    schedule.end_behavior === 'cancel' && last?.start_date === schedule.current_phase?.start_date
      ? (last?.end_date ?? null)
      : null
  if (sub.cancel_at === ends) return
  const after = world.update('subscription', sub.id, {
    cancel_at: ends,
    cancel_at_period_end: false,
    canceled_at: ends === null ? null : world.at,
  })
  world.emitChange('customer.subscription.updated', sub, after)
  scheduleEnd(world, after)
}

/**
 * A change made directly splits the present phase; later phases stay as they are and will overwrite it.
 * subscription-schedules#subscription-updates-when-a-schedule-is-attached
 */
export function followChange(world: World, subId: string): void {
  const sub = world.need('subscription', subId)
  const schedule = scheduleOf(world, sub)
  const current = schedule?.phases.find((phase) => phase.start_date === schedule.current_phase?.start_date)
  if (!schedule || !current || samePhase(sub, current)) return
  const { proration_behavior, billing_cycle_anchor, metadata } = current
  const fresh = {
    ...phaseOf(sub, { start: world.at, end: current.end_date }),
    proration_behavior,
    billing_cycle_anchor,
    metadata,
  }
  const phases = schedule.phases.flatMap((phase) => {
    if (phase !== current) return [phase]
    return current.start_date === world.at ? [fresh] : [{ ...current, end_date: world.at }, fresh]
  })
  const current_phase = { end_date: fresh.end_date, start_date: fresh.start_date }
  world.update(
    'subscription_schedule',
    schedule.id,
    { phases, current_phase },
    'subscription_schedule.updated',
  )
}

/** The subscription goes on without it. */
export function releaseSchedule(
  world: World,
  schedule: SubscriptionSchedule,
  keepsEnd: boolean,
): SubscriptionSchedule {
  const subId = schedule.subscription ?? ''
  stop(world, schedule.id)
  const released = world.update('subscription_schedule', schedule.id, {
    current_phase: null,
    released_at: world.at,
    released_subscription: subId,
    status: 'released',
    subscription: null,
  })
  const sub = world.need('subscription', subId)
  const ends = sub.cancel_at !== null && schedule.end_behavior === 'cancel' && !keepsEnd
  const after = world.update('subscription', subId, {
    schedule: null,
    ...(ends ? { cancel_at: null, canceled_at: null } : {}),
  })
  world.emit('subscription_schedule.released', released)
  world.emitChange('customer.subscription.updated', sub, after)
  scheduleEnd(world, after)
  return released
}

/** Its subscription ended: as planned, by delinquency, or by somebody. docs.stripe.com/api/events/types */
export function scheduleAfterEnd(world: World, sub: Subscription, reason: CancelReason): void {
  const schedule = scheduleOf(world, sub)
  if (!schedule) return
  stop(world, schedule.id)
  const last = schedule.phases.at(-1)?.end_date ?? Infinity
  if (schedule.end_behavior === 'cancel' && last <= world.at) {
    const done = { status: 'completed', completed_at: world.at, current_phase: null } as const
    world.emit('subscription_schedule.completed', world.update('subscription_schedule', schedule.id, done))
    return
  }
  const over = { status: 'canceled', canceled_at: world.at, current_phase: null } as const
  const type = reason === 'payment_failed' ? 'aborted' : 'canceled'
  const after = world.update('subscription_schedule', schedule.id, over)
  world.emit(`subscription_schedule.${type}`, after)
}

function stop(world: World, id: string): void {
  world.deadlines.clear('schedule.phase', id)
  world.deadlines.clear('schedule.expiring', id)
}
