// What follows a payment that failed: when it is tried again, what becomes of the subscription after the last try, and
// how it recovers. docs.stripe.com/billing/revenue-recovery/smart-retries (a fixed schedule stands for the learned one),
// docs.stripe.com/billing/subscriptions/overview#subscription-statuses
import { endSubscription } from './cancel.ts'
import { invalid } from './error.ts'
import { isOver, setStatus } from './subscription-state.ts'
import { subscriptionOf } from './invoicing.ts'
import type { Invoice, Subscription } from './wire.ts'
import type { World } from './world.ts'

const DAY = 86_400
const ENDS = ['cancel', 'unpaid', 'past_due'] as const
/** Stripe retries up to eight times within at most two months. */
const RETRIES_MAX = 8
const GAP_MAX = 60

export interface Dunning {
  /** Days from each failed automatic attempt to the next. */
  retries: number[]
  /** What the subscription becomes when the last one failed. */
  after: (typeof ENDS)[number]
}

export function dunningOf(world: World): Dunning {
  const set = world.store.get('_setting', 'dunning') as Partial<Dunning> | undefined
  return { retries: [3, 5, 7], after: world.options.afterRetries, ...set }
}

/** The account's settings for failed payments, as the Dashboard has them. */
export function setDunning(world: World, asked: Record<string, unknown>): Dunning {
  const { retries, after, ...rest } = asked
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined) throw invalid(`Unknown dunning setting: ${unknown}`, unknown)
  const gap = (days: unknown): boolean => typeof days === 'number' && days > 0 && days <= GAP_MAX
  const listed = retries === undefined || (Array.isArray(retries) && retries.every(gap))
  if (!listed || (Array.isArray(retries) && retries.length > RETRIES_MAX))
    throw invalid(`retries: at most ${RETRIES_MAX} gaps of up to ${GAP_MAX} days`, 'retries')
  if (after !== undefined && !ENDS.some((end) => end === after))
    throw invalid(`after: one of ${ENDS.join(', ')}`, 'after')
  const next: Dunning = { ...dunningOf(world), ...asked }
  world.store.put('_setting', 'dunning', { ...next })
  return next
}

/** When an invoice is tried again after its `count`th failed attempt; null when that was the last. */
export function nextAttempt(world: World, invoice: Invoice, count: number): number | null {
  // a first payment is the customer's to make, within 23 hours
  if (invoice.billing_reason === 'subscription_create') return null
  const days = dunningOf(world).retries[count - 1]
  return days === undefined ? null : world.at + Math.round(days * DAY)
}

/** `last`: no further retry is planned. */
export function afterFailure(world: World, invoice: Invoice, last: boolean): void {
  const sub = subscriptionOf(world, invoice)
  if (!sub || isOver(sub) || sub.status === 'incomplete' || sub.status === 'paused') return
  // a change that waits to be paid leaves the subscription as it was
  if (sub._update?.invoice === invoice.id) return
  const customer = world.store.get('customer', sub.customer)
  if (customer && customer.delinquent !== true)
    world.update('customer', customer.id, { delinquent: true }, 'customer.updated')
  if (!last) {
    if (sub.status === 'active' || sub.status === 'trialing') setStatus(world, sub, 'past_due')
    return
  }
  const { after } = dunningOf(world)
  if (after === 'cancel') endSubscription(world, sub.id, 'payment_failed')
  else if (sub.status !== after) setStatus(world, sub, after)
}

/**
 * A subscription that owes is active again once its latest finalised invoice (when unpaid: its latest one) is paid or
 * given up as uncollectible; voided invoices do not count. subscriptions/overview#handle-unpaid-subscriptions
 */
export function recover(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub?.status !== 'past_due' && sub?.status !== 'unpaid') return
  const latest = invoicesOf(world, sub)
    .filter((invoice) => invoice.status !== 'void' && invoice.id !== sub._update?.invoice)
    .findLast((invoice) => sub.status === 'unpaid' || invoice.status !== 'draft')
  if (latest && latest.status !== 'paid' && latest.status !== 'uncollectible') return
  setStatus(world, sub, 'active')
}

export function invoicesOf(world: World, sub: Subscription): Invoice[] {
  return world.store
    .all('invoice')
    .filter((invoice) => invoice.parent?.subscription_details?.subscription === sub.id)
}
