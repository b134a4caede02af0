// A subscription's terms beside its prices: its discounts and how it is taxed.
import { countRedemption, newDiscount, redeemable, type Bill, type Redeemable } from './coupon.ts'
import { invalid } from './error.ts'
import { bool, emptyable, hash, list, required, str, unsupported, type Read } from './param.ts'
import { isLocated, ratesNamed } from './tax.ts'
import type { Customer, Discount, Invoice, Subscription } from './wire.ts'
import type { World } from './world.ts'

/** The parameters, the same for making and for changing. */
export const termsShape = {
  discounts: emptyable(list(hash({ coupon: str, promotion_code: str, discount: str }))),
  automatic_tax: hash({
    enabled: required(bool),
    liability: unsupported('tax liability of other accounts'),
  }),
  default_tax_rates: emptyable(list(str)),
}

type Asked = Partial<Read<typeof termsShape>>

/** What a subscription begins with. */
export interface Terms {
  discounts: (Redeemable | Discount)[]
  automaticTax: boolean
  taxRates: string[]
}

export function readTerms(world: World, asked: Asked, bill: Bill): Terms {
  const { automatic_tax: tax, default_tax_rates: rates } = asked
  if (tax?.enabled && rates && rates.length > 0)
    throw invalid('You cannot use tax rates with automatic tax.', 'default_tax_rates')
  if (tax?.enabled) checkLocation(bill.customer)
  ratesNamed(world, rates ?? [], 'default_tax_rates')
  return {
    discounts: (asked.discounts ?? []).map(({ discount, ...named }, i) => {
      const param = `discounts[${i}]`
      if (discount !== undefined) return world.need('discount', discount, `${param}[discount]`)
      return redeemable(world, named, bill, param)
    }),
    automaticTax: tax?.enabled ?? false,
    taxRates: rates ?? [],
  }
}

/** docs.stripe.com/tax/customer-locations: without an address there is no rate. */
function checkLocation(customer: Customer | undefined): void {
  if (isLocated(customer)) return
  throw invalid(
    "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate tax.",
    'automatic_tax[enabled]',
    'customer_tax_location_invalid',
  )
}

/** Puts the terms on a subscription, redeeming what is new among its discounts; says nothing of the subscription. */
export function withTerms(world: World, sub: Subscription, terms: Terms): Subscription {
  return world.update('subscription', sub.id, {
    discounts: terms.discounts.map((entry) => ('coupon' in entry ? redeemFor(world, sub, entry) : entry.id)),
    automatic_tax: taxed(terms.automaticTax),
    default_tax_rates: ratesNamed(world, terms.taxRates, 'default_tax_rates'),
  })
}

function taxed(enabled: boolean): Subscription['automatic_tax'] {
  return { disabled_reason: null, enabled, liability: enabled ? { type: 'self' } : null }
}

/** What an update of these parameters changes; what it drops is deleted. docs.stripe.com/billing/subscriptions/coupons */
export function changedTerms(world: World, sub: Subscription, asked: Asked): Partial<Subscription> {
  const { discounts, automatic_tax: tax, default_tax_rates: rates } = asked
  if (discounts === undefined && tax === undefined && rates === undefined) return {}
  const customer = world.store.get('customer', sub.customer)
  const subtotal = sub.items.data.reduce(
    (sum, item) => sum + (item.price.unit_amount ?? 0) * (item.quantity ?? 1),
    0,
  )
  const terms = readTerms(world, asked, { customer, currency: sub.currency, subtotal })
  const patch: Partial<Subscription> = {
    ...(tax === undefined ? {} : { automatic_tax: taxed(terms.automaticTax) }),
    ...(rates === undefined
      ? {}
      : { default_tax_rates: ratesNamed(world, terms.taxRates, 'default_tax_rates') }),
  }
  if (discounts === undefined) return patch
  const kept = new Set(terms.discounts.flatMap((entry) => ('coupon' in entry ? [] : [entry.id])))
  for (const id of sub.discounts) if (!kept.has(id)) forget(world, id)
  return {
    ...patch,
    discounts: terms.discounts.map((entry) => ('coupon' in entry ? redeemFor(world, sub, entry) : entry.id)),
  }
}

function redeemFor(world: World, sub: Subscription, found: Redeemable): string {
  const discount = newDiscount(world, found, { customer: sub.customer, subscription: sub.id })
  countRedemption(world, discount)
  if (discount.end !== null) world.deadlines.set('discount.end', discount.id, discount.end * 1000)
  world.emit('customer.discount.created', discount)
  return discount.id
}

function forget(world: World, id: string): void {
  world.deadlines.clear('discount.end', id)
  const discount = world.store.get('discount', id)
  if (discount) world.emit('customer.discount.deleted', discount)
}

/** A discount's months are over, or its one invoice is there: the subscription has it no more. */
export function endDiscount(world: World, id: string): void {
  const sub = world.store.get('subscription', world.store.get('discount', id)?.subscription ?? '')
  if (!sub?.discounts.includes(id)) return
  forget(world, id)
  const discounts = sub.discounts.filter((other) => other !== id)
  world.update('subscription', sub.id, { discounts }, 'customer.subscription.updated')
}

/** `duration: once` ends with the first invoice that it took something off; a trial's invoice of nothing is none. */
export function spendDiscounts(world: World, invoice: Invoice): void {
  for (const { discount: id, amount } of invoice.total_discount_amounts ?? []) {
    const discount = world.store.get('discount', id)
    const coupon = discount && world.store.get('coupon', discount.source.coupon ?? '')
    if (coupon?.duration === 'once' && amount !== 0) endDiscount(world, id)
  }
}
