// Invoice items: prorations that wait for the subscription's next invoice, whichever that is.
import { Decimal } from 'decimal.js'
import { lineOfItem, type CreditedLines } from './invoice-line.ts'
import { pendingOf, type Credited, type Proration } from './proration.ts'
import type { InvoiceItem, InvoiceLine, Subscription } from './wire.ts'
import type { World } from './world.ts'

export function newInvoiceItem(world: World, sub: Subscription, proration: Proration): InvoiceItem {
  const { amount, description, period, price, product, quantity, subscriptionItem } = proration
  const item = world.create('invoiceitem', {
    id: world.id('ii'),
    object: 'invoiceitem',
    amount,
    currency: sub.currency,
    customer: sub.customer,
    customer_account: null,
    date: world.at,
    description,
    discountable: false,
    discounts: [],
    invoice: null,
    livemode: false,
    metadata: {},
    net_amount: amount,
    parent: {
      subscription_details: { subscription: sub.id, subscription_item: subscriptionItem },
      type: 'subscription_details',
    },
    period: { end: period.end, start: period.start },
    pricing: {
      price_details: { price, product },
      type: 'price_details',
      unit_amount_decimal: new Decimal(amount).div(quantity).toDecimalPlaces(12).toFixed(),
    },
    proration: true,
    proration_details: { credited_items: creditedBy(proration.credited), discount_amounts: [] },
    quantity,
    quantity_decimal: String(quantity),
    tax_rates: [],
    test_clock: null,
  })
  world.emit('invoiceitem.created', item)
  return item
}

type CreditedItems = NonNullable<InvoiceItem['proration_details']>['credited_items']

function creditedBy(credited: Credited | null): CreditedItems {
  if (credited === null) return null
  if ('item' in credited) return { invoice_item: credited.item, type: 'invoice_item' }
  const { invoice, line } = credited
  return {
    invoice_line_item_details: { invoice, invoice_line_items: [line] },
    type: 'invoice_line_items',
  }
}

/**
 * Pending invoice items ride on every invoice that the subscription generates: their lines on invoice `invoiceId`.
 * docs.stripe.com/billing/subscriptions/billing-mode/compare (consistently include pending invoice items)
 */
export function sweepPending(world: World, sub: Subscription, invoiceId: string): InvoiceLine[] {
  return pendingOf(world, sub.id).map((item) => {
    const credited = item.proration_details?.credited_items ?? null
    const line = lineOfItem(world, sub, item, linesCredited(world, credited))
    world.update('invoiceitem', item.id, { invoice: invoiceId, _line: line.id })
    return line
  })
}

/** An invoice line names lines only; what was still an item when it was credited has its line by now. */
function linesCredited(world: World, credited: CreditedItems): CreditedLines {
  if (credited === null) return null
  if (credited.invoice_line_item_details) return credited.invoice_line_item_details
  const item = world.need('invoiceitem', credited.invoice_item ?? '')
  return { invoice: item.invoice ?? '', invoice_line_items: [item._line ?? ''] }
}

/** Lets items of an invoice that never came into force wait again for the next one. */
export function returnItems(world: World, ids: string[]): void {
  for (const id of ids) {
    const { _line: _gone, ...item } = world.need('invoiceitem', id)
    world.store.put('invoiceitem', id, { ...item, invoice: null })
  }
}

/** Forgets a subscription's pending items, as an immediate end without proration does. */
export function dropPending(world: World, subId: string): void {
  for (const item of pendingOf(world, subId)) {
    world.store.delete('invoiceitem', item.id)
    world.emit('invoiceitem.deleted', item)
  }
}
