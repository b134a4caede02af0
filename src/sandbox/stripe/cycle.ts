// The billing engine: what a subscription does as time passes. Each function is one deadline, run at its own instant.
import { nextBoundary } from './calendar.ts'
import { endSubscription } from './cancel.ts'
import { draftInvoice } from './invoice-draft.ts'
import { linesFor } from './invoice-line.ts'
import { attempt, finalize, subscriptionOf } from './invoicing.ts'
import { standStill, withhold } from './pause.ts'
import { pendingOf } from './proration.ts'
import { advance } from './schedule-run.ts'
import { isOver } from './subscription-state.ts'
import { discardUpdate } from './update-payment.ts'
import type { Invoice, Subscription } from './wire.ts'
import type { World } from './world.ts'

const DAY = 86_400
const HOUR = 3600

export interface Period {
  start: number
  end: number
}

/** The subscription's present period; all its items share one interval. */
export function periodOf(sub: Subscription): Period {
  const first = sub.items.data[0]
  return { start: first?.current_period_start ?? 0, end: first?.current_period_end ?? 0 }
}

/** The period that starts at `start`, from the anchor; it stops at `cancel_at`. */
export function periodFrom(sub: Subscription, start: number): Period & { full: number } {
  const recurring = sub.items.data[0]?.price.recurring
  const interval = recurring?.interval ?? 'month'
  const full = nextBoundary(sub.billing_cycle_anchor, interval, recurring?.interval_count ?? 1, start)
  const stop = sub.cancel_at !== null && sub.cancel_at > start ? sub.cancel_at : Infinity
  return { start, end: Math.min(full, stop), full }
}

export function withPeriod(sub: Subscription, { start, end }: Period): Subscription['items'] {
  const data = sub.items.data.map((item) => ({
    ...item,
    current_period_start: start,
    current_period_end: end,
  }))
  return { ...sub.items, data }
}

/** Plans what happens at the end of the present period, and before it. */
export function planNext(world: World, sub: Subscription): void {
  const { start, end } = periodOf(sub)
  world.deadlines.set('subscription.period', sub.id, end * 1000)
  const notice = end - 7 * DAY
  if (sub.status !== 'trialing' && notice > start)
    world.deadlines.set('subscription.upcoming', sub.id, notice * 1000)
  if (sub.status !== 'trialing' || sub.trial_end === null) return
  const warn = sub.trial_end - 3 * DAY
  world.deadlines.set('subscription.trial_will_end', sub.id, Math.max(warn, world.at) * 1000)
}

/** The end of a period or of a trial: the next one starts, and its invoice is drafted for an hour. */
export function turnPeriod(world: World, subId: string): void {
  discardUpdate(world, subId)
  const before = world.store.get('subscription', subId)
  if (!before || isOver(before) || before.status === 'incomplete' || before.status === 'paused') return
  const { start, end } = periodOf(before)
  // a phase that begins with the period shares its invoice
  advance(world, subId, end, true)
  const sub = world.need('subscription', subId)
  if (isOver(sub)) return
  if (sub.cancel_at !== null && sub.cancel_at <= end) {
    endAsPlanned(world, sub)
    return
  }
  const trialEnds = sub.status === 'trialing'
  if (trialEnds && !hasMethod(world, sub) && endWithoutMethod(world, sub)) return
  const period = periodFrom(sub, end)
  const anew = { ...sub, items: withPeriod(sub, period), status: trialEnds ? 'active' : sub.status }
  const kept = sub.status === 'unpaid' || sub.pause_collection?.behavior === 'keep_as_draft'
  const invoice = draftInvoice(world, anew, {
    reason: 'subscription_cycle',
    lines: linesFor(world, anew, period, false),
    finalizesIn: kept ? null : HOUR,
    periodStart: start,
  })
  const after = { ...anew, latest_invoice: invoice.id }
  world.store.put('subscription', subId, after)
  world.emit('invoice.created', invoice)
  world.emitChange('customer.subscription.updated', before, after)
  planNext(world, after)
}

export function hasMethod(world: World, sub: Subscription): boolean {
  const customer = world.store.get('customer', sub.customer)
  return Boolean(sub.default_payment_method ?? customer?.invoice_settings?.default_payment_method)
}

/** True when the trial's end behaviour stops the subscription. */
function endWithoutMethod(world: World, sub: Subscription): boolean {
  const behavior = sub.trial_settings?.end_behavior.missing_payment_method
  if (behavior === 'cancel') {
    endSubscription(world, sub.id, null)
    return true
  }
  if (behavior !== 'pause') return false
  standStill(world, sub, 'trial_end_without_payment_method')
  return true
}

export function cancelNow(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub && !isOver(sub) && sub.cancel_at !== null && sub.cancel_at <= world.at) endAsPlanned(world, sub)
}

/** Prorations that were still pending are collected at the end. docs.stripe.com/api/subscriptions/cancel */
export function endAsPlanned(world: World, sub: Subscription): void {
  const ended = endSubscription(world, sub.id, null)
  if (pendingOf(world, sub.id).length > 0) finalInvoice(world, ended, HOUR)
}

/** What is still pending of a subscription that ends. */
export function finalInvoice(world: World, sub: Subscription, finalizesIn: number): Invoice {
  const { start } = periodOf(sub)
  const reason = 'subscription_cycle'
  const invoice = draftInvoice(world, sub, { reason, lines: [], finalizesIn, periodStart: start })
  world.update('subscription', sub.id, { latest_invoice: invoice.id })
  world.emit('invoice.created', invoice)
  return invoice
}

export function warnTrial(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub?.status === 'trialing') world.emit('customer.subscription.trial_will_end', sub)
}

/** The draft's hour is over: finalise, and try the card at once. */
export function finalizeDue(world: World, invoiceId: string): void {
  if (world.store.get('invoice', invoiceId)?.status !== 'draft') return
  const draft = world.need('invoice', invoiceId)
  const sub = subscriptionOf(world, draft)
  if (sub?.pause_collection) {
    withhold(world, sub, draft)
    return
  }
  const invoice = finalize(world, invoiceId)
  if (invoice.status === 'open' && invoice.collection_method === 'charge_automatically')
    collectDue(world, invoiceId)
}

export function collectDue(world: World, invoiceId: string): void {
  const invoice = world.store.get('invoice', invoiceId)
  if (invoice?.status === 'open') attempt(world, invoiceId, { offSession: true, automatic: true })
}

/** `invoice.upcoming`: the invoice to come, without an id. */
export function announce(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (!sub || isOver(sub) || sub.cancel_at_period_end || sub.pause_collection) return
  const { start, end } = periodOf(sub)
  if (sub.cancel_at !== null && sub.cancel_at <= end) return
  const period = periodFrom(sub, end)
  const lines = linesFor(world, sub, period, false)
  const preview = world.imagine(() =>
    draftInvoice(world, sub, { reason: 'upcoming', lines, finalizesIn: null, periodStart: start }),
  )
  const { id: _id, ...rest } = { ...preview, period_end: end, next_payment_attempt: end + HOUR } as Invoice
  world.emit('invoice.upcoming', rest)
}
