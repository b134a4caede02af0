// The end of a subscription, now or later.
import { isOver } from './subscription-state.ts'
import { scheduleAfterEnd } from './schedule-run.ts'
import { discardUpdate } from './update-payment.ts'
import type { CancelReason, Subscription } from './wire.ts'
import type { World } from './world.ts'

/** Ends it at this instant. Its invoices that are still unpaid are no longer collected by themselves. */
export function endSubscription(world: World, subId: string, reason: CancelReason): Subscription {
  const sub = world.need('subscription', subId)
  if (isOver(sub)) return sub
  discardUpdate(world, subId)
  for (const purpose of ['period', 'cancel', 'trial_will_end', 'expire', 'upcoming'])
    world.deadlines.clear(`subscription.${purpose}`, subId)
  for (const invoice of world.store.all('invoice')) {
    const own = invoice.parent?.subscription_details?.subscription === subId
    if (!own || (invoice.status !== 'draft' && invoice.status !== 'open')) continue
    world.deadlines.clear('invoice.attempt', invoice.id)
    world.deadlines.clear('invoice.finalize', invoice.id)
    const stopped = { auto_advance: false, next_payment_attempt: null, automatically_finalizes_at: null }
    world.update('invoice', invoice.id, stopped, 'invoice.updated')
  }
  const details = sub.cancellation_details
  const ended = world.update('subscription', subId, {
    status: 'canceled',
    canceled_at: sub.canceled_at ?? world.at,
    ended_at: world.at,
    cancellation_details: {
      comment: details?.comment ?? null,
      feedback: details?.feedback ?? null,
      feedback_option: null,
      reason: reason ?? details?.reason ?? 'cancellation_requested',
    },
  })
  world.emit('customer.subscription.deleted', ended)
  scheduleAfterEnd(world, ended, reason)
  return ended
}

/** The end date that a `cancel_at` value names. */
export function cancelDate(sub: Subscription, value: number | 'min_period_end' | 'max_period_end'): number {
  const ends = sub.items.data.map((item) => item.current_period_end)
  if (value === 'min_period_end') return Math.min(...ends)
  if (value === 'max_period_end') return Math.max(...ends)
  return value
}

export function scheduleEnd(world: World, sub: Subscription): void {
  if (sub.cancel_at === null) world.deadlines.clear('subscription.cancel', sub.id)
  else world.deadlines.set('subscription.cancel', sub.id, sub.cancel_at * 1000)
}
