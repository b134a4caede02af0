// The lines of a subscription's invoices: a whole period of an item, or a part of one (a proration).
import { Decimal } from 'decimal.js'
import { minorUnits } from './money.ts'
import type { Period } from './cycle.ts'
import type { InvoiceItem, InvoiceLine, Price, Subscription } from './wire.ts'
import type { World } from './world.ts'

type SubscriptionItemDetails = NonNullable<NonNullable<InvoiceLine['parent']>['subscription_item_details']>
export type CreditedLines = NonNullable<SubscriptionItemDetails['proration_details']>['credited_items']

/** What a price costs for a share of its period, in minor units, not rounded. */
export function costOf(price: Price, quantity: number): Decimal {
  return new Decimal(price.unit_amount_decimal ?? 0).times(quantity)
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
    const whole = costOf(item.price, quantity)
    const full = period.full ?? period.end
    const share =
      full === period.end ? whole : whole.times(period.end - period.start).div(full - period.start)
    const product = productName(world, item.price)
    const { unit_amount_decimal: unit, recurring } = item.price
    return newLine(world, sub, item.id, {
      amount: free ? 0 : minorUnits(share),
      description: free
        ? freeText(sub, quantity, product)
        : `${quantity} × ${product} (at ${money(unit ?? '0')} / ${recurring?.interval ?? ''})`,
      period: { start: period.start, end: period.end },
      price: item.price.id,
      product: item.price.product,
      unit: free ? '0' : (unit ?? '0'),
      quantity,
      invoiceItem: null,
      credited: null,
    })
  })
}

/** The line that bills a pending invoice item. */
export function lineOfItem(
  world: World,
  sub: Subscription,
  item: InvoiceItem,
  credited: CreditedLines,
): InvoiceLine {
  const { price_details: details, unit_amount_decimal: unit } = item.pricing ?? {}
  return newLine(world, sub, item.parent?.subscription_details?.subscription_item ?? '', {
    amount: item.amount,
    description: item.description ?? '',
    period: item.period,
    price: details?.price ?? '',
    product: details?.product ?? '',
    unit: unit ?? '0',
    quantity: item.quantity,
    invoiceItem: item.id,
    credited,
  })
}

interface LineFields {
  amount: number
  description: string
  period: Period
  price: string
  product: string
  unit: string
  quantity: number
  /** Set for prorations: they come of an invoice item, and discounts are within them already. */
  invoiceItem: string | null
  credited: CreditedLines
}

function newLine(world: World, sub: Subscription, item: string, fields: LineFields): InvoiceLine {
  const { amount, period, quantity, invoiceItem } = fields
  return {
    id: world.id('il'),
    object: 'line_item',
    amount,
    currency: sub.currency,
    description: fields.description,
    discount_amounts: [],
    discountable: invoiceItem === null,
    discounts: [],
    invoice: null,
    livemode: false,
    metadata: sub.metadata,
    parent: {
      invoice_item_details: null,
      subscription_item_details: {
        invoice_item: invoiceItem,
        proration: invoiceItem !== null,
        proration_details: { credited_items: fields.credited },
        subscription: sub.id,
        subscription_item: item,
      },
      type: 'subscription_item_details',
    },
    period: { end: period.end, start: period.start },
    pretax_credit_amounts: [],
    pricing: {
      price_details: { price: fields.price, product: fields.product },
      type: 'price_details',
      unit_amount_decimal: fields.unit,
    },
    quantity,
    quantity_decimal: String(quantity),
    subscription: sub.id,
    subtotal: amount,
    taxes: [],
  }
}

/** docs.stripe.com/billing/subscriptions/billing-mode/compare (trial period line item description) */
function freeText(sub: Subscription, quantity: number, product: string): string {
  return sub.billing_mode.type === 'flexible'
    ? `Free trial for ${quantity} × ${product}`
    : `Trial period for ${product}`
}

export function productName(world: World, price: { product: string }): string {
  return world.store.get('product', price.product)?.name ?? price.product
}

function money(cents: string): string {
  return `$${new Decimal(cents).div(100).toFixed(2)}`
}
