// The billing engine: what a subscription does as time passes. Each function is one deadline, run at its own instant.
import { Decimal } from 'decimal.js'
import { nextBoundary } from './calendar.ts'
import { endSubscription } from './cancel.ts'
import { draftInvoice } from './invoice-draft.ts'
import { attempt, finalize } from './invoicing.ts'
import { minorUnits } from './money.ts'
import { isOver, setStatus } from './subscription-state.ts'
import type { Invoice, InvoiceLine, Subscription, SubscriptionItem } from './wire.ts'
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

/** The lines that charge one period of every item; a period cut short by `cancel_at` is charged in proportion. */
export function linesFor(
  world: World,
  sub: Subscription,
  period: Period & { full?: number },
  free: boolean,
): InvoiceLine[] {
  return sub.items.data.map((item) => {
    const quantity = item.quantity ?? 1
    const whole = new Decimal(item.price.unit_amount_decimal ?? 0).times(quantity)
    const full = period.full ?? period.end
    const share =
      full === period.end ? whole : whole.times(period.end - period.start).div(full - period.start)
    const amount = free ? 0 : minorUnits(share)
    return lineFor(world, sub, item, period, amount, free)
  })
}

function lineFor(
  world: World,
  sub: Subscription,
  item: SubscriptionItem,
  { start, end }: Period,
  amount: number,
  free: boolean,
): InvoiceLine {
  const quantity = item.quantity ?? 1
  const product = world.store.get('product', item.price.product)?.name ?? item.price.product
  const price = `${money(item.price.unit_amount_decimal ?? '0')} / ${item.price.recurring?.interval ?? ''}`
  return {
    id: world.id('il'),
    object: 'line_item',
    amount,
    currency: sub.currency,
    description: free ? `Trial period for ${product}` : `${quantity} × ${product} (at ${price})`,
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: null,
    livemode: false,
    metadata: sub.metadata,
    parent: {
      invoice_item_details: null,
      subscription_item_details: {
        invoice_item: null,
        proration: false,
        proration_details: { credited_items: null },
        subscription: sub.id,
        subscription_item: item.id,
      },
      type: 'subscription_item_details',
    },
    period: { end, start },
    pretax_credit_amounts: [],
    pricing: {
      price_details: { price: item.price.id, product: item.price.product },
      type: 'price_details',
      unit_amount_decimal: free ? '0' : (item.price.unit_amount_decimal ?? '0'),
    },
    quantity,
    quantity_decimal: String(quantity),
    subscription: sub.id,
    subtotal: amount,
    taxes: [],
  }
}

function money(cents: string): string {
  return `$${new Decimal(cents).div(100).toFixed(2)}`
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
  const sub = world.store.get('subscription', subId)
  if (!sub || isOver(sub) || sub.status === 'incomplete') return
  const { start, end } = periodOf(sub)
  if (sub.cancel_at !== null && sub.cancel_at <= end) {
    endSubscription(world, subId, null)
    return
  }
  const trialEnds = sub.status === 'trialing'
  if (trialEnds && !hasMethod(world, sub) && endWithoutMethod(world, sub)) return
  const period = periodFrom(sub, end)
  const anew = { ...sub, items: withPeriod(sub, period), status: trialEnds ? 'active' : sub.status }
  const unpaid = sub.status === 'unpaid'
  const invoice = draftInvoice(world, anew, {
    reason: 'subscription_cycle',
    lines: linesFor(world, anew, period, false),
    finalizesIn: unpaid ? null : HOUR,
    periodStart: start,
  })
  const after = { ...anew, latest_invoice: invoice.id }
  world.store.put('subscription', subId, after)
  world.emit('invoice.created', invoice)
  world.emitChange('customer.subscription.updated', sub, after)
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
  const paused = { type: 'subscription', subscription: { type: 'trial_end_without_payment_method' } }
  const after = setStatus(world, sub, 'paused', {
    status_details: { paused } as unknown as NonNullable<Subscription['status_details']>,
  })
  world.emit('customer.subscription.paused', after)
  return true
}

export function cancelNow(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub && !isOver(sub) && sub.cancel_at !== null && sub.cancel_at <= world.at)
    endSubscription(world, subId, null)
}

export function warnTrial(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub?.status === 'trialing') world.emit('customer.subscription.trial_will_end', sub)
}

/** The draft's hour is over: finalise, and try the card at once. */
export function finalizeDue(world: World, invoiceId: string): void {
  if (world.store.get('invoice', invoiceId)?.status !== 'draft') return
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
  if (!sub || isOver(sub) || sub.cancel_at_period_end) return
  const { start, end } = periodOf(sub)
  if (sub.cancel_at !== null && sub.cancel_at <= end) return
  const period = periodFrom(sub, end)
  const lines = linesFor(world, sub, period, false)
  const preview = draftInvoice(world, sub, {
    reason: 'upcoming',
    lines,
    finalizesIn: null,
    periodStart: start,
  })
  world.store.delete('invoice', preview.id)
  const { id: _id, ...rest } = { ...preview, period_end: end, next_payment_attempt: end + HOUR } as Invoice
  world.emit('invoice.upcoming', rest)
}
