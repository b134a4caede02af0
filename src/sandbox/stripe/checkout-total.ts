// What a Checkout session costs: its lines, less its discount, plus tax.
import { Decimal } from 'decimal.js'
import { couponOf, newDiscount, offsOf, stillRedeemable, type Bill, type Redeemable } from './coupon.ts'
import { minimumOf, tooSmall } from './balance.ts'
import { invalid } from './error.ts'
import { minorUnits } from './money.ts'
import { reckon, type Reckoned } from './reckon.ts'
import { isLocated, taxOf, taxTotals } from './tax.ts'
import type { CheckoutSession, Customer, Discount, Price, SessionLine } from './wire.ts'
import type { World } from './world.ts'

export function lineOf(world: World, price: Price, quantity: number, rates: string[]): SessionLine {
  const total = minorUnits(new Decimal(price.unit_amount_decimal ?? 0).times(quantity))
  return {
    id: world.id('li'),
    object: 'item',
    adjustable_quantity: null,
    amount_discount: 0,
    amount_subtotal: total,
    amount_tax: 0,
    amount_total: total,
    currency: price.currency,
    description: world.store.get('product', price.product)?.name ?? null,
    discounts: [],
    metadata: {},
    price,
    quantity,
    taxes: [],
    _rates: rates,
  }
}

function customerOf(world: World, session: CheckoutSession): Customer | undefined {
  return session.customer === null ? undefined : world.store.get('customer', session.customer)
}

/** What a coupon or a code asks about. */
export function billOf(world: World, session: CheckoutSession): Bill {
  return {
    customer: customerOf(world, session),
    currency: session.currency ?? '',
    subtotal: session._lines.reduce((sum, line) => sum + line.amount_subtotal, 0),
  }
}

function reckonSession(world: World, session: CheckoutSession, taxed: boolean): Reckoned {
  const { discount, tax_rates: standard = [] } = session._data
  const { enabled } = session.automatic_tax
  const customer = customerOf(world, session)
  const lines = session._lines.map((line) => ({
    amount: line.amount_subtotal,
    product: line.price?.product ?? null,
    discountable: true,
    ...taxOf(
      world,
      line.price ?? undefined,
      line._rates?.length ? line._rates : standard,
      enabled && taxed,
      customer,
    ),
  }))
  return reckon(lines, offsOf(world, discount ? [discount] : []), session.currency ?? '')
}

/**
 * The session with its amounts reckoned anew. Automatic tax waits until it is known where the customer is: `located`
 * says that the page asked. docs.stripe.com/tax/checkout
 */
export function totalled(world: World, session: CheckoutSession, located = false): CheckoutSession {
  if (session.mode === 'setup') return session
  const { enabled } = session.automatic_tax
  const taxed = located || isLocated(customerOf(world, session))
  const bill = reckonSession(world, session, taxed)
  const free = session._data.trial_days !== null || session._data.trial_end !== null
  const total = free ? 0 : bill.total
  return {
    ...session,
    _lines: session._lines.map((line, i) => withShare(world, line, bill.lines[i])),
    amount_subtotal: free ? 0 : bill.subtotal,
    amount_total: total,
    automatic_tax: enabled
      ? {
          enabled,
          liability: { type: 'self' },
          provider: 'stripe',
          status: taxed ? 'complete' : 'requires_location_inputs',
        }
      : session.automatic_tax,
    total_details: {
      amount_discount: free ? 0 : bill.discount,
      amount_shipping: 0,
      amount_tax: free ? 0 : bill.exclusive + bill.inclusive,
    },
    payment_status: total === 0 ? 'no_payment_required' : 'unpaid',
  }
}

function withShare(
  world: World,
  line: SessionLine,
  share: Reckoned['lines'][number] | undefined,
): SessionLine {
  if (!share) return line
  return {
    ...line,
    amount_discount: share.discount,
    amount_tax: share.exclusive + share.inclusive,
    amount_total: share.total,
    discounts: share.discounts.map(({ discount, amount }) => ({
      amount,
      discount: world.need('discount', discount),
    })),
    taxes: share.taxes.map(({ rate, amount, taxable, reason }) => ({
      amount,
      rate,
      taxability_reason: reason,
      taxable_amount: taxable,
    })),
  }
}

/** docs.stripe.com/currencies#minimum-and-maximum-charge-amounts */
export function checkMinimum({ amount_total: total, currency }: CheckoutSession): void {
  if (tooSmall(total ?? 0, currency ?? ''))
    throw invalid(
      `The Checkout Session's total amount due must add up to at least ${minimumOf(currency ?? '')} of the smallest unit of ${currency ?? ''}.`,
      undefined,
      'amount_too_small',
    )
}

/** Gives the session its one discount, or takes it away, and reckons anew. */
export function discounted(
  world: World,
  session: CheckoutSession,
  found: Redeemable | undefined,
): CheckoutSession {
  const owner = {
    customer: session.customer,
    ...(session.mode === 'payment' ? { checkout_session: session.id } : {}),
  }
  const discount = found && newDiscount(world, found, owner)
  return totalled(world, {
    ...session,
    discounts: found
      ? [{ coupon: found.promotion ? null : found.coupon.id, promotion_code: found.promotion?.id ?? null }]
      : [],
    _data: { ...session._data, discount: discount?.id ?? null },
  })
}

/** The session's discount, checked once more: somebody else may have had the last redemption. */
export function discountOf(world: World, session: CheckoutSession): Discount | undefined {
  const { discount: id } = session._data
  const discount = id ? world.need('discount', id) : undefined
  if (discount) stillRedeemable(world, discount)
  return discount
}

/** The session's discount as something that its subscription redeems. */
export function redeemableOf(world: World, session: CheckoutSession): Redeemable[] {
  const discount = discountOf(world, session)
  if (!discount) return []
  const code = discount.promotion_code
  return [
    {
      coupon: couponOf(world, discount),
      promotion: code === null ? undefined : world.need('promotion_code', code),
    },
  ]
}

/** `total_details.breakdown`, when it is asked for. */
export function breakdownOf(session: CheckoutSession): unknown {
  const discounts = new Map<string, { amount: number; discount: unknown }>()
  for (const { amount, discount } of session._lines.flatMap((line) => line.discounts ?? []))
    discounts.set(discount.id, { amount: amount + (discounts.get(discount.id)?.amount ?? 0), discount })
  const taxes = session._lines
    .flatMap((line) => line.taxes ?? [])
    .map((tax) => ({ ...tax, taxable: tax.taxable_amount ?? 0 }))
  return {
    discounts: Array.from(discounts.values()),
    taxes: taxTotals(taxes).map(({ taxable, ...tax }) => ({ ...tax, taxable_amount: taxable })),
  }
}
