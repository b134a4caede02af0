// Which tax falls on a line: the rates named, or the sandbox's one rate when tax is automatic.
import { invalid } from './error.ts'
import type { PricedLine } from './reckon.ts'
import type { Customer, Price, TaxRate } from './wire.ts'
import type { World } from './world.ts'

export function newTaxRate(
  world: World,
  fields: Pick<TaxRate, 'display_name' | 'inclusive' | 'percentage'> & Partial<TaxRate>,
): TaxRate {
  if (!(fields.percentage >= 0 && fields.percentage <= 100))
    throw invalid('Invalid percentage: must be between 0 and 100.', 'percentage')
  const rate = world.create('tax_rate', {
    id: world.id('txr'),
    object: 'tax_rate',
    active: true,
    country: null,
    created: world.at,
    description: null,
    effective_percentage: fields.percentage,
    flat_amount: null,
    jurisdiction: null,
    jurisdiction_level: null,
    livemode: false,
    metadata: {},
    rate_type: 'percentage',
    state: null,
    tax_type: null,
    ...fields,
  })
  if (!rate._automatic) world.emit('tax_rate.created', rate)
  return rate
}

/** A simulation: every place has this one rate, until the control plane says another. */
export interface AutomaticTax {
  percentage: number
  /** Of prices that say nothing of it (`tax_behavior: unspecified`). */
  inclusive: boolean
}

export function automaticTax(world: World): AutomaticTax {
  const set = world.store.get('_setting', 'tax')
  return { percentage: Number(set?.['percentage'] ?? 10), inclusive: set?.['inclusive'] === true }
}

export function setAutomaticTax(world: World, body: Record<string, unknown>): AutomaticTax {
  const old = automaticTax(world)
  const { percentage = old.percentage, inclusive = old.inclusive } = body
  if (typeof percentage !== 'number' || !(percentage >= 0 && percentage <= 100))
    throw invalid('Invalid percentage: must be between 0 and 100.', 'percentage')
  if (typeof inclusive !== 'boolean') throw invalid('Invalid boolean', 'inclusive')
  world.store.put('_setting', 'tax', { percentage, inclusive })
  return automaticTax(world)
}

/** docs.stripe.com/tax/products-prices-tax-codes-tax-behavior: a price's own behaviour wins over the account's. */
function automaticRate(world: World, price: Price | undefined): TaxRate {
  const { percentage, inclusive: standard } = automaticTax(world)
  const behavior = price?.tax_behavior ?? 'unspecified'
  const inclusive = behavior === 'unspecified' ? standard : behavior === 'inclusive'
  const known = world.store
    .all('tax_rate')
    .find((rate) => rate._automatic && rate.percentage === percentage && rate.inclusive === inclusive)
  return (
    known ??
    newTaxRate(world, {
      display_name: 'Sandbox tax',
      percentage,
      inclusive,
      country: 'US',
      jurisdiction: 'Sandbox',
      tax_type: 'sales_tax',
      _automatic: true,
    })
  )
}

export function ratesNamed(world: World, ids: string[], param: string): TaxRate[] {
  return ids.map((id) => {
    const rate = world.need('tax_rate', id, param)
    if (!rate.active) throw invalid(`The tax rate \`${id}\` is archived and cannot be used.`, param)
    return rate
  })
}

/** How a line is taxed. docs.stripe.com/tax/zero-tax: an exempt customer is shown the rate and pays nothing. */
export function taxOf(
  world: World,
  price: Price | undefined,
  named: string[],
  automatic: boolean,
  customer: Customer | undefined,
): Pick<PricedLine, 'rates' | 'exempt'> {
  const rates = automatic
    ? [automaticRate(world, price)]
    : named.flatMap((id) => world.store.get('tax_rate', id) ?? [])
  const status = automatic ? customer?.tax_exempt : 'none'
  const exempt = status === 'exempt' ? 'customer_exempt' : status === 'reverse' ? 'reverse_charge' : undefined
  return { rates, exempt }
}

/** Whether automatic tax knows where the customer is. docs.stripe.com/tax/customer-locations */
export function isLocated(customer: Customer | undefined): boolean {
  return Boolean(customer?.address?.country)
}

/** One line's taxes, as invoices show them and as Checkout shows them. */
export function taxTotals<T extends { rate: TaxRate; amount: number; taxable: number }>(taxes: T[]): T[] {
  const byRate = new Map<string, T>()
  for (const tax of taxes) {
    const so = byRate.get(tax.rate.id)
    byRate.set(
      tax.rate.id,
      so ? { ...so, amount: so.amount + tax.amount, taxable: so.taxable + tax.taxable } : tax,
    )
  }
  return Array.from(byRate.values())
}
