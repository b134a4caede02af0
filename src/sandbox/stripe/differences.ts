// Where stripe-node 23.1.0's types (version 2026-10-28.endive) differ from the OpenAPI document of 2026-08-26 that the
// tests validate against. The types win: the simulator answers what they say; the validation test lets pass exactly
// what is listed here.

export interface Difference {
  /** The OpenAPI component. */
  schema: string
  field: string
  /** What the types say and the document does not, or the other way round. */
  why: string
  /** The validator's complaint that this excuses; none when the document tolerates it. */
  complaint?: RegExp
}

export const differences: Difference[] = [
  { schema: 'subscription', field: 'status_details', why: 'only in the types: why a subscription is paused' },
  {
    schema: 'subscription',
    field: 'pending_update.cancel_at_period_end',
    why: 'only in the types (since 2026-09-30), like the discounts there',
  },
  {
    schema: 'billing_portal.configuration',
    field: 'features.subscription_pause',
    why: 'required by the types, not in the document',
  },
  {
    schema: 'billing_portal.session',
    field: 'flow.subscription_pause',
    why: 'required by the types, not in the document',
  },
  {
    schema: 'subscription_schedule',
    field: 'pause_schedules',
    why: 'required by the types, not in the document',
  },
  {
    schema: 'subscription_schedule',
    field: 'phases.items.plan',
    why: 'required by the types, not in the document',
  },
  { schema: 'subscription_item', field: 'current_trial', why: 'only in the types: the running trial offer' },
  { schema: 'subscription_item', field: 'plan', why: 'required by the types, not in the document' },
  { schema: 'charge', field: 'source', why: 'required by the types (null), not in the document' },
  { schema: 'payment_intent', field: 'source', why: 'required by the types (null), not in the document' },
  {
    schema: 'payment_intent',
    field: 'payment_record',
    why: 'required by the types (null), not in the document',
  },
  { schema: 'product', field: 'type', why: 'required by the types, not in the document' },
  { schema: 'product', field: 'tax_details', why: 'required by the types (null), not in the document' },
  {
    schema: 'price',
    field: 'recurring.trial_period_days',
    why: 'required by the types (null), not in the document',
  },
  {
    schema: 'checkout.session',
    field: 'allowed_payment_method_types',
    why: 'required by the types (null), not in the document',
  },
  {
    schema: 'payment_method_details_card',
    field: 'electronic_commerce_indicator',
    why: 'required by the types (null), not in the document',
  },
]
