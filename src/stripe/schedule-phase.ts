/**
 * Phases of a schedule, restated: whoever sets a schedule's phases replaces them whole, and what is left out goes. So all
 * that a phase says is said again, as a request says it. docs.stripe.com/api/subscription_schedules/update
 */
import type Stripe from 'stripe'
import { idOf } from './fact.ts'

type Kept = Stripe.SubscriptionSchedule.Phase
type Told = Stripe.SubscriptionScheduleUpdateParams.Phase
type Item = Told['items'][number]
type Party = Stripe.SubscriptionScheduleUpdateParams.Phase.AutomaticTax.Liability

/** Everything of a phase that does not begin with it, but for its dates and its items. */
export function restated(phase: Kept, discounts: Told['discounts']): Omit<Told, 'items'> {
  return {
    // without any, a phase inherits its customer's: as a subscription without any does
    ...some('discounts', discounts),
    ...given('automatic_tax', taxOf(phase.automatic_tax)),
    ...some(
      'default_tax_rates',
      phase.default_tax_rates?.map(({ id }) => id),
    ),
    ...given('collection_method', phase.collection_method),
    ...given('default_payment_method', idOf(phase.default_payment_method)),
    ...given('description', phase.description),
    ...given('invoice_settings', phase.invoice_settings && invoicedBy(phase.invoice_settings)),
    ...given('billing_thresholds', phase.billing_thresholds && without(phase.billing_thresholds)),
    ...given('application_fee_percent', phase.application_fee_percent),
    ...given('on_behalf_of', idOf(phase.on_behalf_of)),
    ...given('transfer_data', phase.transfer_data && transferred(phase.transfer_data)),
    ...given('metadata', phase.metadata),
  }
}

/** The items of a phase, as a request names them. */
export function itemsOf({ items }: Kept): Item[] {
  return items.map((item) => ({
    price: idOf(item.price) ?? '',
    ...given('quantity', item.quantity),
    ...some('discounts', item.discounts.map(named)),
    ...some(
      'tax_rates',
      item.tax_rates?.map(({ id }) => id),
    ),
    ...given('metadata', item.metadata),
    ...(item.billing_thresholds?.usage_gte == null
      ? {}
      : { billing_thresholds: { usage_gte: item.billing_thresholds.usage_gte } }),
  }))
}

/** Whether a phase bills what it was told to, by the terms that it was told. */
export function holds(kept: Kept | undefined, told: Told): boolean {
  return kept !== undefined && digest(kept, itemsOf(kept)) === digest(told, told.items)
}

/** What decides what is billed and how, as text. How Stripe names a discount again is left to it; how many is not. */
function digest(phase: Kept | Told, items: Item[]): string {
  const { automatic_tax: tax, default_tax_rates: rates, discounts } = phase
  return JSON.stringify([
    items
      .map((item) =>
        [item.price, item.quantity ?? 1, countOf(item.discounts), idsOf(item.tax_rates)].join(' '),
      )
      .toSorted(),
    countOf(discounts),
    tax?.enabled ?? false,
    idsOf(rates),
    phase.collection_method ?? null,
    idOf(phase.default_payment_method),
  ])
}

function countOf(list: readonly unknown[] | '' | null | undefined): number {
  return list == null || list === '' ? 0 : list.length
}

function idsOf(list: readonly (string | { id: string })[] | '' | null | undefined): string {
  return list == null || list === ''
    ? ''
    : list
        .map((each) => idOf(each) ?? '')
        .toSorted()
        .join()
}

/** A discount that is there already is used again: a coupon would begin another one. */
function named({
  discount,
  promotion_code: code,
  coupon,
}: Kept['discounts'][number]): Stripe.SubscriptionScheduleUpdateParams.Phase.Discount {
  if (discount !== null) return { discount: idOf(discount) ?? '' }
  return code === null ? { coupon: idOf(coupon) ?? '' } : { promotion_code: idOf(code) ?? '' }
}

function taxOf(tax: Kept['automatic_tax']): Told['automatic_tax'] | undefined {
  return tax && { enabled: tax.enabled, ...given('liability', tax.liability && partyOf(tax.liability)) }
}

function invoicedBy({
  account_tax_ids: ids,
  issuer,
  ...more
}: NonNullable<Kept['invoice_settings']>): Told['invoice_settings'] {
  return {
    ...without(more),
    ...some(
      'account_tax_ids',
      ids?.map((id) => idOf(id) ?? ''),
    ),
    ...given('issuer', issuer && partyOf(issuer)),
  }
}

function transferred({
  destination,
  amount_percent: part,
}: NonNullable<Kept['transfer_data']>): Told['transfer_data'] {
  return { destination: idOf(destination) ?? '', ...given('amount_percent', part) }
}

function partyOf({ type, account }: Stripe.SubscriptionSchedule.Phase.AutomaticTax.Liability): Party {
  return { type, ...given('account', idOf(account)) }
}

/** What there is; a request leaves out what is not. */
function given<Name extends string, T>(
  name: Name,
  value: T | null | undefined,
): { [Key in Name]?: NonNullable<T> } {
  return (value == null ? {} : { [name]: value }) as { [Key in Name]?: NonNullable<T> }
}

function some<Name extends string, T>(
  name: Name,
  list: T[] | '' | null | undefined,
): { [Key in Name]?: T[] } {
  return (list == null || list.length === 0 ? {} : { [name]: list }) as { [Key in Name]?: T[] }
}

type Without<T> = { [Key in keyof T]?: NonNullable<T[Key]> }

function without<T extends object>(fields: T): Without<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) as Without<T>
}
