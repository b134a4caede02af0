// Parameters that several resources share.
import { any, bool, decimal, hash, int, metadata, oneOf, required, str, unsupported } from './param.ts'

export const interval = oneOf('day', 'week', 'month', 'year')

/** What a price says, also where it is given in line (`price_data`). */
export const priceData = {
  currency: required(str),
  unit_amount: int,
  unit_amount_decimal: decimal,
  recurring: hash({
    interval: required(interval),
    interval_count: int,
    usage_type: oneOf('licensed', 'metered'),
    trial_period_days: int,
  }),
  currency_options: unsupported('prices in several currencies'),
  tax_behavior: oneOf('inclusive', 'exclusive', 'unspecified'),
  metadata,
}

export const productData = hash({
  name: required(str),
  description: str,
  metadata,
  images: any,
  tax_code: any,
  unit_label: str,
})

export const trialSettings = hash({
  end_behavior: required(
    hash({
      missing_payment_method: required(oneOf('cancel', 'create_invoice', 'pause')),
      billing_cycle_anchor: any,
    }),
  ),
})

export const billingMode = hash({ type: required(oneOf('classic', 'flexible')), flexible: any })

export const prorationBehavior = oneOf('always_invoice', 'create_prorations', 'none')

/** How the billing cycle changes. docs.stripe.com/changelog/endive/2026-09-30/polymorphic-billing-cycle-anchor */
export const anchorChange = hash({ type: required(oneOf('now', 'unchanged')) })

/** One item in an update of a subscription, or in its preview. */
export const itemChange = hash({ id: str, price: str, quantity: int, deleted: bool, metadata })
