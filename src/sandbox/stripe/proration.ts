// Prorations: what a change in the middle of a period credits and debits, to the second. In flexible billing mode a
// credit gives back the unused part of what was really debited, one credit for each debit, and a debit charges the
// remaining time at the new price. docs.stripe.com/billing/subscriptions/prorations,
// docs.stripe.com/billing/subscriptions/billing-mode/compare (credit proration calculations)
import { Decimal } from 'decimal.js'
import { periodAround } from './calendar.ts'
import type { Period } from './cycle.ts'
import { costOf, productName, type CreditedLines } from './invoice-line.ts'
import { minorUnits } from './money.ts'
import type { InvoiceItem, InvoiceLine, Subscription, SubscriptionItem } from './wire.ts'
import type { World } from './world.ts'

/** What a credit gives back: lines of an invoice, or an invoice item that no invoice has billed yet. */
export type Credited = { line: string; invoice: string } | { item: string }

export interface Proration {
  subscriptionItem: string
  price: string
  product: string
  quantity: number
  /** Minor units; negative for a credit. */
  amount: number
  period: Period
  description: string
  /** Null for a debit. */
  credited: Credited | null
}

/** What was debited for a stretch of time of an item, and not given back since. */
interface Debit {
  of: Credited
  /** After discounts, without tax. */
  net: number
  price: string
  product: string
  quantity: number
  period: Period
}

/**
 * Gives back what was debited for an item from `at` on. What was debited for a period before the present one was left
 * by a new cycle without prorations: it is not given back later.
 */
export function creditsFor(world: World, sub: Subscription, item: SubscriptionItem, at: number): Proration[] {
  const since = item.current_period_start
  return debitsOf(world, sub.id, item.id)
    .filter(({ net, period }) => net > 0 && period.end > at && period.start >= since)
    .map(({ of, net, price, product, quantity, period }) => {
      const start = Math.max(at, period.start)
      const unused = new Decimal(net).times(period.end - start).div(period.end - period.start)
      return {
        subscriptionItem: item.id,
        price,
        product,
        quantity,
        amount: -minorUnits(unused) || 0,
        period: { start, end: period.end },
        description: `Unused time on ${quantity} × ${productName(world, { product })} after ${day(start)}`,
        credited: of,
      }
    })
}

/** Charges an item from `at` to the end of its period. `net` takes the discounts off a gross amount. */
export function debitFor(
  world: World,
  sub: Subscription,
  item: SubscriptionItem,
  at: number,
  net: (gross: Decimal, item: SubscriptionItem) => Decimal,
): Proration {
  const { price } = item
  const quantity = item.quantity ?? 1
  const whole = wholePeriod(sub, item, at)
  const end = item.current_period_end
  const cost = costOf(price, quantity)
    .times(end - at)
    .div(whole.end - whole.start)
  const free = sub.status === 'trialing'
  const name = productName(world, price)
  return {
    subscriptionItem: item.id,
    price: price.id,
    product: price.product,
    quantity,
    amount: free ? 0 : minorUnits(net(cost, item)),
    period: { start: at, end },
    description: free
      ? `Free trial for ${quantity} × ${name}`
      : `Remaining time on ${quantity} × ${name} after ${day(at)}`,
    credited: null,
  }
}

/** The whole period of an item's price around an instant, from the anchor. */
export function wholePeriod(sub: Subscription, item: SubscriptionItem, at: number): Period {
  const { interval = 'month', interval_count: count = 1 } = item.price.recurring ?? {}
  return periodAround(sub.billing_cycle_anchor, interval, count, at)
}

function debitsOf(world: World, subId: string, itemId: string): Debit[] {
  const lines = linesOf(world, subId)
  const pending = pendingOf(world, subId)
  const given = new Set<string>()
  for (const { credited_items: credited } of lines.map((line) => prorationOf(line)))
    for (const id of credited?.invoice_line_items ?? []) given.add(id)
  for (const item of pending) for (const id of creditedIds(item)) given.add(id)
  const billed = lines
    .filter((line) => detailsOf(line)?.subscription_item === itemId)
    .filter((line) => !given.has(line.id) && prorationOf(line).credited_items === null)
    .map((line): Debit => {
      const off = (line.discount_amounts ?? []).reduce((sum, { amount }) => sum + amount, 0)
      const { price = '', product = '' } = line.pricing?.price_details ?? {}
      return {
        of: { line: line.id, invoice: line.invoice ?? '' },
        net: line.amount - off,
        price,
        product,
        quantity: line.quantity ?? 1,
        period: line.period,
      }
    })
  const waiting = pending
    .filter((item) => item.parent?.subscription_details?.subscription_item === itemId)
    .filter((item) => !given.has(item.id) && item.proration_details?.credited_items === null)
    .map((item): Debit => {
      const { price = '', product = '' } = item.pricing?.price_details ?? {}
      const { quantity, period, amount } = item
      return { of: { item: item.id }, net: amount, price, product, quantity, period }
    })
  return [...billed, ...waiting]
}

/** An invoice that was voided never charged anything, an unpaid one will. prorations#prorations-and-unpaid-invoices */
function linesOf(world: World, subId: string): InvoiceLine[] {
  return world.store
    .all('invoice')
    .filter((i) => i.status !== 'void' && i.parent?.subscription_details?.subscription === subId)
    .flatMap((invoice) => invoice.lines.data)
}

/** The subscription's invoice items that no invoice has billed yet, oldest first. */
export function pendingOf(world: World, subId: string): InvoiceItem[] {
  return world.store
    .all('invoiceitem')
    .filter((item) => item.invoice === null && item.parent?.subscription_details?.subscription === subId)
}

function creditedIds(item: InvoiceItem): string[] {
  const { invoice_item: id, invoice_line_item_details: lines } = item.proration_details?.credited_items ?? {}
  return [...(id === undefined ? [] : [id]), ...(lines?.invoice_line_items ?? [])]
}

function detailsOf(line: InvoiceLine) {
  return line.parent?.subscription_item_details
}

function prorationOf(line: InvoiceLine): { credited_items: CreditedLines } {
  return detailsOf(line)?.proration_details ?? { credited_items: null }
}

function day(at: number): string {
  return new Date(at * 1000).toISOString().slice(0, 10)
}
