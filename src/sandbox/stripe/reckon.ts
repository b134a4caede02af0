// What lines cost after discounts and tax: arithmetic only, the same for Checkout and for invoices.
import { Decimal } from 'decimal.js'
import { minorUnits } from './money.ts'
import type { Coupon, TaxRate } from './wire.ts'

export interface PricedLine {
  /** Minor units, before discounts and exclusive tax. */
  amount: number
  product: string | null
  discountable: boolean
  rates: TaxRate[]
  /** Says that no tax is due and why; the rates are then shown with nothing. */
  exempt?: 'customer_exempt' | 'reverse_charge' | undefined
}

/** One discount, by the id of its object. */
export interface Off {
  id: string
  coupon: Coupon
}

export interface LineTax {
  rate: TaxRate
  amount: number
  taxable: number
  reason: 'standard_rated' | 'zero_rated' | 'customer_exempt' | 'reverse_charge'
}

export interface ReckonedLine {
  discounts: { discount: string; amount: number }[]
  discount: number
  taxes: LineTax[]
  /** Tax on top of the amount, and tax within it. */
  exclusive: number
  inclusive: number
  /** What this line adds to the bill. */
  total: number
}

export interface Reckoned {
  lines: ReckonedLine[]
  subtotal: number
  discount: number
  exclusive: number
  inclusive: number
  total: number
}

/**
 * Discounts one after the other, each on what those before left, then tax on what remains.
 * docs.stripe.com/billing/subscriptions/coupons (stacking), docs.stripe.com/billing/taxes/tax-rates
 */
export function reckon(lines: PricedLine[], offs: Off[], currency: string): Reckoned {
  const given: ReckonedLine['discounts'][] = lines.map(() => [])
  const left = lines.map((line) => line.amount)
  for (const { id, coupon } of offs) {
    const shares = sharesOf(coupon, lines, left, currency)
    shares.forEach((amount, i) => {
      if (amount === 0) return
      given[i]?.push({ discount: id, amount })
      left[i] = (left[i] ?? 0) - amount
    })
  }
  const reckoned = lines.map((line, i) => taxed(line, given[i] ?? [], left[i] ?? 0))
  return {
    lines: reckoned,
    subtotal: sum(lines.map((line) => line.amount)),
    discount: sum(reckoned.map((line) => line.discount)),
    exclusive: sum(reckoned.map((line) => line.exclusive)),
    inclusive: sum(reckoned.map((line) => line.inclusive)),
    total: sum(reckoned.map((line) => line.total)),
  }
}

export function sum(amounts: number[]): number {
  return amounts.reduce((total, amount) => total + amount, 0)
}

/** What one coupon takes off each line, of what is `left` of it. */
function sharesOf(coupon: Coupon, lines: PricedLine[], left: number[], currency: string): number[] {
  const applies = lines.map(
    (line) => line.discountable && (coupon._products?.includes(line.product ?? '') ?? true),
  )
  const { percent_off: percent, amount_off: fixed } = coupon
  if (percent !== null)
    return left.map((amount, i) => (applies[i] ? minorUnits(new Decimal(amount).times(percent).div(100)) : 0))
  if (fixed === null || coupon.currency !== currency) return left.map(() => 0)
  return spread(
    fixed,
    left.map((amount, i) => (applies[i] ? Math.max(0, amount) : 0)),
  )
}

/** A fixed amount over lines in proportion to them; the last of them takes what rounding left. */
function spread(amount: number, over: number[]): number[] {
  const whole = sum(over)
  if (whole === 0) return over.map(() => 0)
  const off = Math.min(amount, whole)
  let before = 0
  let spent = 0
  return over.map((part) => {
    before += part
    const until = minorUnits(new Decimal(off).times(before).div(whole))
    const share = until - spent
    spent = until
    return share
  })
}

function taxed(line: PricedLine, discounts: ReckonedLine['discounts'], base: number): ReckonedLine {
  const percent = (rates: TaxRate[]): Decimal =>
    rates.reduce((total, rate) => total.plus(rate.percentage), new Decimal(0))
  const within = line.exempt ? [] : line.rates.filter((rate) => rate.inclusive)
  const net = new Decimal(base).div(percent(within).div(100).plus(1))
  const taxes = line.rates.map((rate): LineTax => {
    if (line.exempt) return { rate, amount: 0, taxable: 0, reason: line.exempt }
    const amount = minorUnits(net.times(rate.percentage).div(100))
    const reason = rate.percentage === 0 ? 'zero_rated' : 'standard_rated'
    return { rate, amount, taxable: minorUnits(net), reason }
  })
  const inclusive = sum(taxes.filter((tax) => tax.rate.inclusive).map((tax) => tax.amount))
  const exclusive = sum(taxes.filter((tax) => !tax.rate.inclusive).map((tax) => tax.amount))
  const discount = sum(discounts.map((entry) => entry.amount))
  return { discounts, discount, taxes, exclusive, inclusive, total: base + exclusive }
}
