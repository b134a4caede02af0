// What an invoice's lines come to: discounts, then tax, line by line and in sum.
import { Decimal } from 'decimal.js'
import { offsOf } from './coupon.ts'
import { costOf } from './invoice-line.ts'
import { minorUnits } from './money.ts'
import { reckon, sum, type ReckonedLine } from './reckon.ts'
import { taxOf, taxTotals } from './tax.ts'
import type { Invoice, InvoiceLine, Subscription, SubscriptionItem } from './wire.ts'
import type { World } from './world.ts'

type Tax = NonNullable<InvoiceLine['taxes']>[number]

/** The amounts of an invoice with these lines on the subscription's terms; the lines come back with their shares. */
export function amountsOf(
  world: World,
  sub: Subscription,
  lines: InvoiceLine[],
): Partial<Invoice> & { lineData: InvoiceLine[]; total: number } {
  const customer = world.store.get('customer', sub.customer)
  const offs = offsOf(world, sub.discounts)
  const automatic = sub.automatic_tax.enabled
  const priced = lines.map((line) => {
    const price = world.store.get('price', line.pricing?.price_details?.price ?? '')
    return {
      amount: line.amount,
      product: line.pricing?.price_details?.product ?? null,
      discountable: line.discountable,
      ...taxOf(world, price, ratesOf(sub, line), automatic, customer),
    }
  })
  const bill = reckon(priced, offs, sub.currency)
  const lineData = lines.map((line, i) => {
    const share = bill.lines[i]
    if (!share) return line
    const pretax_credit_amounts = share.discounts.map(pretax)
    return {
      ...line,
      discount_amounts: share.discounts,
      pretax_credit_amounts,
      taxes: share.taxes.map(taxLine),
    }
  })
  const totals = offs.map(({ id }) => {
    const shares = bill.lines.flatMap((line) => line.discounts).filter((share) => share.discount === id)
    return { discount: id, amount: sum(shares.map((share) => share.amount)) }
  })
  return {
    lineData,
    automatic_tax: {
      disabled_reason: null,
      enabled: automatic,
      liability: automatic ? { type: 'self' } : null,
      provider: automatic ? 'stripe' : null,
      status: automatic ? 'complete' : null,
    },
    default_tax_rates: sub.default_tax_rates ?? [],
    discounts: offs.map(({ id }) => id),
    subtotal: bill.subtotal,
    subtotal_excluding_tax: bill.subtotal - reckon(priced, [], sub.currency).inclusive,
    total: bill.total,
    total_discount_amounts: totals,
    total_pretax_credit_amounts: totals.map(pretax),
    total_excluding_tax: bill.total - bill.exclusive - bill.inclusive,
    total_taxes: taxTotals(bill.lines.flatMap((line) => line.taxes)).map(taxLine),
  }
}

/**
 * What the subscription's discounts leave of an item's gross amount: the share that they leave of its whole period. A
 * discount of one invoice is none of a proration's.
 * docs.stripe.com/billing/subscriptions/billing-mode/compare (proportional discounts)
 */
export function netOf(world: World, sub: Subscription): (gross: Decimal, item: SubscriptionItem) => Decimal {
  const items = sub.items.data
  const whole = items.map(({ price, quantity }) => costOf(price, quantity ?? 1))
  const lines = items.map((item, i) => ({
    amount: minorUnits(whole[i] ?? new Decimal(0)),
    product: item.price.product,
    discountable: true,
    rates: [],
  }))
  const lasting = offsOf(world, sub.discounts).filter(({ coupon }) => coupon.duration !== 'once')
  const bill = reckon(lines, lasting, sub.currency)
  const left = new Map(
    items.map(({ id }, i) => {
      const [amount, off] = [lines[i]?.amount ?? 0, bill.lines[i]?.discount ?? 0]
      return [id, amount === 0 ? new Decimal(1) : new Decimal(amount - off).div(amount)]
    }),
  )
  return (gross, item) => gross.times(left.get(item.id) ?? 1)
}

/** A discount as one of the credits that lower an amount before tax. */
function pretax(share: { discount: string; amount: number }): {
  amount: number
  discount: string
  type: 'discount'
} {
  return { ...share, type: 'discount' }
}

/** An item's own rates, else the subscription's. docs.stripe.com/billing/taxes/tax-rates */
function ratesOf(sub: Subscription, line: InvoiceLine): string[] {
  const id = line.parent?.subscription_item_details?.subscription_item
  const own = sub.items.data.find((item) => item.id === id)?.tax_rates ?? []
  return (own.length > 0 ? own : (sub.default_tax_rates ?? [])).map((rate) => rate.id)
}

function taxLine({ rate, amount, taxable, reason }: ReckonedLine['taxes'][number]): Tax {
  return {
    amount,
    tax_behavior: rate.inclusive ? 'inclusive' : 'exclusive',
    tax_rate_details: { tax_rate: rate.id },
    taxability_reason: reason,
    taxable_amount: taxable,
    type: 'tax_rate_details',
  }
}
