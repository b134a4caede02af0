// What a schedule's phase says beside its prices: discounts, taxes, how it is collected. A request replaces a phase whole,
// so discounts and taxes that it leaves out go.
// docs.stripe.com/api/subscription_schedules/update, docs.stripe.com/api/subscription_schedules/object
import { offsOf, redeemable } from './coupon.ts'
import { invalid } from './error.ts'
import { emptyable, hash, int, oneOf, str, unsupported, type Read } from './param.ts'
import { ratesNamed } from './tax.ts'
import { changedTerms, termsShape } from './terms.ts'
import type { SchedulePhase, Subscription, SubscriptionSchedule } from './wire.ts'
import type { World } from './world.ts'

/** The parameters of a phase. */
export const phaseTermsShape = {
  ...termsShape,
  collection_method: oneOf('charge_automatically', 'send_invoice'),
  default_payment_method: str,
  description: emptyable(str),
  invoice_settings: hash({ days_until_due: int, issuer: unsupported('other issuers of invoices') }),
}

export type AskedTerms = Partial<Read<typeof phaseTermsShape>>

export type PhaseTerms = Pick<
  SchedulePhase,
  | 'automatic_tax'
  | 'collection_method'
  | 'default_payment_method'
  | 'default_tax_rates'
  | 'description'
  | 'discounts'
  | 'invoice_settings'
>

/** The terms of a subscription as it is, as a phase says them. */
export function termsOf(sub: Subscription): PhaseTerms {
  return {
    automatic_tax: sub.automatic_tax,
    // how it is collected is in the schedule's default settings
    collection_method: null,
    default_payment_method: null,
    default_tax_rates: sub.default_tax_rates ?? [],
    description: null,
    discounts: sub.discounts.map((discount) => ({ coupon: null, discount, promotion_code: null })),
    invoice_settings: null,
  }
}

/** The same, as a request says them. */
export function sameTerms(sub: Subscription): AskedTerms {
  return {
    automatic_tax: { enabled: sub.automatic_tax.enabled, liability: undefined },
    default_tax_rates: sub.default_tax_rates?.map(({ id }) => id) ?? [],
    discounts: sub.discounts.map((discount) => ({ coupon: undefined, discount, promotion_code: undefined })),
  }
}

/** What a request says of a phase. Discounts that it does not name are the customer's, who has none here. */
export function askedTerms(
  world: World,
  schedule: SubscriptionSchedule,
  sub: Subscription,
  asked: AskedTerms,
  param: string,
): PhaseTerms {
  const { default_settings: standard } = schedule
  const { automatic_tax: tax, discounts } = asked
  const bill = {
    customer: world.store.get('customer', sub.customer),
    currency: sub.currency,
    subtotal: sub.items.data.reduce(
      (sum, { price, quantity }) => sum + (price.unit_amount ?? 0) * (quantity ?? 1),
      0,
    ),
  }
  return {
    ...(tax === undefined
      ? standard.automatic_tax === undefined
        ? {}
        : { automatic_tax: standard.automatic_tax }
      : {
          automatic_tax: {
            disabled_reason: null,
            enabled: tax.enabled,
            liability: tax.enabled ? { type: 'self' } : null,
          },
        }),
    collection_method: asked.collection_method ?? null,
    default_payment_method: asked.default_payment_method ?? null,
    default_tax_rates: ratesNamed(world, asked.default_tax_rates ?? [], `${param}[default_tax_rates]`),
    description: asked.description ?? null,
    discounts: (discounts ?? []).map(({ discount, ...named }, index) => {
      const at = `${param}[discounts][${index}]`
      if (discount === undefined) {
        redeemable(world, named, bill, at)
        return { coupon: named.coupon ?? null, discount: null, promotion_code: named.promotion_code ?? null }
      }
      if (!sub.discounts.includes(discount))
        throw invalid(`No such discount: '${discount}'`, `${at}[discount]`, 'resource_missing')
      return { coupon: null, discount, promotion_code: null }
    }),
    invoice_settings: dueIn(asked.invoice_settings?.days_until_due ?? null),
  }
}

/** What a phase makes of its subscription when it begins, or is changed while it runs. */
export function putTerms(world: World, sub: Subscription, phase: SchedulePhase): Partial<Subscription> {
  const discounts = phase.discounts.filter(
    // one that is used up meanwhile is no reason to keep a phase from beginning
    ({ discount }) => discount === null || (sub.discounts.includes(discount) && offsOf(world, [discount])[0]),
  )
  return {
    ...changedTerms(world, sub, {
      discounts: discounts.map(({ coupon, discount, promotion_code: code }) => ({
        coupon: coupon ?? undefined,
        discount: discount ?? undefined,
        promotion_code: code ?? undefined,
      })),
      automatic_tax: { enabled: phase.automatic_tax?.enabled ?? false, liability: undefined },
      default_tax_rates: (phase.default_tax_rates ?? []).map(({ id }) => id),
    }),
    ...said('collection_method', phase.collection_method),
    ...said('default_payment_method', phase.default_payment_method),
    ...said('description', phase.description),
    ...said('days_until_due', phase.invoice_settings?.days_until_due),
  }
}

function dueIn(days: number | null): SchedulePhase['invoice_settings'] {
  if (days === null) return null
  const none = { account_tax_ids: null, custom_fields: null, description: null, footer: null, issuer: null }
  return { ...none, days_until_due: days }
}

/** What a phase says nothing of stays as it is. */
function said<Name extends keyof Subscription>(
  name: Name,
  value: Subscription[Name] | null | undefined,
): Partial<Subscription> {
  return value == null ? {} : { [name]: value }
}
