// A change of what a subscription bills: prices, quantities, the billing cycle. First what it comes to (`planUpdate`),
// then doing it; a preview does the same and takes it back.
// docs.stripe.com/billing/subscriptions/prorations, …/change-price, …/billing-cycle
import { periodFrom, planNext } from './cycle.ts'
import { invalid, notSimulated } from './error.ts'
import { draftInvoice } from './invoice-draft.ts'
import { netOf } from './invoice-total.ts'
import { newInvoiceItem } from './invoice-item.ts'
import { linesFor } from './invoice-line.ts'
import { changedItems, type AskedItem } from './item-change.ts'
import { creditsFor, debitFor, wholePeriod, type Proration } from './proration.ts'
import type { Invoice, InvoiceLine, Subscription, SubscriptionItem } from './wire.ts'
import type { World } from './world.ts'

export type ProrationBehavior = 'always_invoice' | 'create_prorations' | 'none'

export interface BillingChange {
  items?: AskedItem[] | undefined
  billing_cycle_anchor?: { type: 'now' | 'unchanged' } | undefined
  proration_behavior?: ProrationBehavior | undefined
  proration_date?: number | undefined
  /** A paused subscription goes on: nothing is billed for its present period yet. */
  restarts?: boolean | undefined
}

export interface UpdatePlan {
  /** The subscription as it will be. */
  after: Subscription
  prorations: Proration[]
  /** Whole periods that are charged at once, because the cycle starts anew. */
  lines: InvoiceLine[]
  /** Whether the change makes an invoice now; otherwise prorations wait for the next one. */
  invoices: boolean
}

export function changesBilling(change: BillingChange): boolean {
  return change.items !== undefined || change.billing_cycle_anchor?.type === 'now'
}

/** `sub`: the subscription with everything else of the request in it already. */
export function planUpdate(world: World, sub: Subscription, change: BillingChange): UpdatePlan {
  const behavior = change.proration_behavior ?? 'create_prorations'
  const resets = change.billing_cycle_anchor?.type === 'now'
  if (sub.billing_mode.type !== 'flexible' && (behavior !== 'none' || resets))
    throw notSimulated('prorations in classic billing mode', 'proration_behavior')
  if (resets && sub.status === 'trialing')
    throw invalid('You cannot reset the billing cycle of a subscription in trial.', 'billing_cycle_anchor')
  const at = prorationDate(world, sub, change.proration_date)
  const before = sub.items.data
  const items = changedItems(world, sub, change.items ?? [])
  const after = withPeriods(world, { ...sub, items: { ...sub.items, data: items } }, before, resets)
  const data = after.items.data
  const same = (item: SubscriptionItem): boolean =>
    !resets &&
    !change.restarts &&
    [before, data].every((list) => list.some((other) => sameBilling(item, other)))
  const prorations =
    behavior === 'none'
      ? []
      : [
          ...before.filter((item) => !same(item)).flatMap((item) => creditsFor(world, sub, item, at)),
          ...data
            .filter((item) => !resets && !same(item))
            .map((item) => debitFor(world, after, item, at, netOf(world, after))),
        ]
  const lines = resets ? linesFor(world, after, periodFrom(after, world.at), false) : []
  const invoices = resets || (behavior === 'always_invoice' && prorations.length > 0)
  return { after, prorations, lines, invoices }
}

/** Two states of one item that cost the same in the same period. */
function sameBilling(one: SubscriptionItem, two: SubscriptionItem): boolean {
  return (
    one.id === two.id &&
    one.price.id === two.price.id &&
    one.quantity === two.quantity &&
    one.current_period_end === two.current_period_end
  )
}

/**
 * The anchor moves only when it is asked to; items whose interval changes take the period around this instant.
 * docs.stripe.com/billing/subscriptions/billing-mode/compare (reset the billing cycle anchor), …/mixed-interval
 */
function withPeriods(
  world: World,
  sub: Subscription,
  before: SubscriptionItem[],
  resets: boolean,
): Subscription {
  // cancel_at moves with the period's end only when that is what it means
  const moves = sub.cancel_at_period_end
  const anchored = {
    ...sub,
    ...(resets ? { billing_cycle_anchor: world.at } : {}),
    ...(moves ? { cancel_at: null } : {}),
  }
  const stop = anchored.cancel_at ?? Infinity
  const data = sub.items.data.map((item) => {
    const old = before.find(({ id }) => id === item.id) ?? before[0]
    if (!resets && sub.status === 'trialing') return item
    if (!resets && sameInterval(item, old))
      return { ...item, current_period_end: endOf(anchored, item, world.at) ?? item.current_period_end }
    const { start, end } = resets ? periodFrom(anchored, world.at) : wholePeriod(anchored, item, world.at)
    return { ...item, current_period_start: start, current_period_end: Math.min(end, stop) }
  })
  const end = moves ? Math.min(...data.map((item) => item.current_period_end)) : anchored.cancel_at
  return { ...anchored, cancel_at: end, items: { ...sub.items, data, total_count: data.length } }
}

/** Where the running period of an item ends: at its boundary, or before that at `cancel_at`. */
function endOf(sub: Subscription, item: SubscriptionItem, at: number): number | undefined {
  const running = item.current_period_start <= at && at < item.current_period_end
  return running ? Math.min(wholePeriod(sub, item, at).end, sub.cancel_at ?? Infinity) : undefined
}

/**
 * An end within the running period, or taken back, changes what that period costs.
 * docs.stripe.com/billing/subscriptions/prorations (what triggers prorations: setting cancel_at)
 */
export function movesEnd(world: World, sub: Subscription): boolean {
  if (!['active', 'past_due', 'unpaid'].includes(sub.status)) return false
  return sub.items.data.some((item) => {
    const end = endOf(sub, item, world.at)
    return end !== undefined && end !== item.current_period_end
  })
}

function sameInterval(item: SubscriptionItem, old: SubscriptionItem | undefined): boolean {
  const [is, was] = [item.price.recurring, old?.price.recurring]
  return is?.interval === was?.interval && is?.interval_count === was?.interval_count
}

function prorationDate(world: World, sub: Subscription, asked: number | undefined): number {
  if (asked === undefined) return world.at
  const starts = Math.min(...sub.items.data.map((item) => item.current_period_start))
  const ends = Math.max(...sub.items.data.map((item) => item.current_period_end))
  if (asked < starts || asked > ends)
    throw invalid(
      'Invalid `proration_date`: it must be within the current period of the subscription.',
      'proration_date',
    )
  return asked
}

/** The prorations as pending invoice items, and with them the change itself. */
export function applyUpdate(world: World, before: Subscription, plan: UpdatePlan): Subscription {
  for (const proration of plan.prorations) newInvoiceItem(world, plan.after, proration)
  world.store.put('subscription', before.id, plan.after)
  planNext(world, plan.after)
  return plan.after
}

/** The invoice that the change makes: its own prorations, whatever else was pending, and periods that start now. */
export function invoiceUpdate(world: World, plan: UpdatePlan): Invoice {
  return draftInvoice(world, plan.after, {
    reason: 'subscription_update',
    lines: plan.lines,
    finalizesIn: 0,
    periodStart: plan.after.items.data[0]?.current_period_start ?? world.at,
  })
}
