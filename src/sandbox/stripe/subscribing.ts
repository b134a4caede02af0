// How a subscription begins: its object, its first period or trial, its first invoice.
import { invalid, notSimulated, StripeFault } from './error.ts'
import { draftInvoice } from './invoice-draft.ts'
import { attempt, finalize, methodFor, paymentOf } from './invoicing.ts'
import { declineError } from './payment.ts'
import { nextBoundary } from './calendar.ts'
import { periodFrom, planNext } from './cycle.ts'
import { linesFor } from './invoice-line.ts'
import { scheduleEnd } from './cancel.ts'
import { withTerms, type Terms } from './terms.ts'
import type { Invoice, Price, Subscription, SubscriptionItem, TaxRate } from './wire.ts'
import type { World } from './world.ts'

export interface NewItem {
  price: Price
  quantity: number
  metadata: Record<string, string>
  taxRates?: TaxRate[] | undefined
}

export interface NewSubscription {
  customer: string
  items: NewItem[]
  status: string
  metadata: Record<string, string>
  default_payment_method: string | null
  trial_end: number | null
  missing_payment_method: string
  billing_mode: string
  description: string | null
  collection_method: string
  days_until_due: number | null
  save_default_payment_method: string
  terms?: Terms | undefined
}

export function checkItems(
  items: NewItem[],
  currency = items[0]?.price.currency,
): { currency: string; interval: string; count: number } {
  const first = items[0]?.price
  if (!first) throw invalid('Missing required param: items.', 'items', 'parameter_missing')
  for (const { price } of items) {
    if (!price.recurring)
      throw invalid(
        `The price specified is set to \`type=one_time\` but this field only accepts prices with \`type=recurring\`.`,
        'items[0][price]',
      )
    if (price.currency !== currency)
      throw invalid('All prices on a subscription must have the same currency.', 'items')
    const same =
      price.recurring.interval === first.recurring?.interval &&
      price.recurring.interval_count === first.recurring.interval_count
    if (!same) throw notSimulated('items of different intervals on one subscription', 'items')
  }
  return {
    currency: first.currency,
    interval: first.recurring?.interval ?? 'month',
    count: first.recurring?.interval_count ?? 1,
  }
}

/** Puts the subscription with its first period; says nothing yet. */
export function newSubscription(world: World, fields: NewSubscription): Subscription {
  const { currency, interval, count } = checkItems(fields.items)
  const id = world.id('sub')
  const trial = fields.trial_end !== null
  const anchor = fields.trial_end ?? world.at
  const end = fields.trial_end ?? nextBoundary(anchor, interval, count, world.at)
  const data = fields.items.map((item) => newItem(world, id, item, world.at, end))
  const sub = world.create('subscription', {
    id,
    object: 'subscription',
    application: null,
    application_fee_percent: null,
    automatic_tax: { disabled_reason: null, enabled: false, liability: null },
    billing_cycle_anchor: anchor,
    billing_cycle_anchor_config: null,
    billing_mode:
      fields.billing_mode === 'flexible'
        ? { flexible: { proration_discounts: 'included' }, type: 'flexible', updated_at: world.at }
        : { flexible: null, type: 'classic' },
    billing_schedules: [],
    billing_thresholds: null,
    cancel_at: null,
    cancel_at_period_end: false,
    canceled_at: null,
    cancellation_details: { comment: null, feedback: null, feedback_option: null, reason: null },
    collection_method: fields.collection_method,
    created: world.at,
    currency,
    customer: fields.customer,
    customer_account: null,
    days_until_due: fields.days_until_due,
    default_payment_method: fields.default_payment_method,
    default_source: null,
    default_tax_rates: [],
    description: fields.description,
    discounts: [],
    ended_at: null,
    invoice_settings: {
      account_tax_ids: null,
      custom_fields: null,
      description: null,
      footer: null,
      issuer: { type: 'self' },
    },
    items: {
      object: 'list',
      data,
      has_more: false,
      total_count: data.length,
      url: `/v1/subscription_items?subscription=${id}`,
    },
    latest_invoice: null,
    livemode: false,
    managed_payments: null,
    metadata: fields.metadata,
    next_pending_invoice_item_invoice: null,
    on_behalf_of: null,
    pause_collection: null,
    payment_settings: {
      payment_method_options: null,
      payment_method_types: null,
      save_default_payment_method: fields.save_default_payment_method,
    },
    pending_invoice_item_interval: null,
    pending_setup_intent: null,
    pending_update: null,
    schedule: null,
    start_date: world.at,
    status: trial ? 'trialing' : fields.status,
    test_clock: null,
    transfer_data: null,
    trial_end: fields.trial_end,
    trial_settings: {
      end_behavior: { billing_cycle_anchor: 'now', missing_payment_method: fields.missing_payment_method },
    },
    trial_start: trial ? world.at : null,
  } as unknown as Subscription)
  planNext(world, sub)
  return fields.terms ? withTerms(world, sub, fields.terms) : sub
}

export function newItem(
  world: World,
  subscription: string,
  item: NewItem,
  start: number,
  end: number,
): SubscriptionItem {
  return {
    id: world.id('si'),
    object: 'subscription_item',
    billing_thresholds: null,
    created: world.at,
    current_period_end: end,
    current_period_start: start,
    current_trial: null,
    discounts: [],
    metadata: item.metadata,
    plan: planOf(item.price),
    price: item.price,
    quantity: item.quantity,
    subscription,
    tax_rates: item.taxRates ?? [],
  }
}

/** The price in its older form, which items still carry. */
export function planOf(price: Price): SubscriptionItem['plan'] {
  return {
    id: price.id,
    object: 'plan',
    active: price.active,
    amount: price.unit_amount,
    amount_decimal: price.unit_amount_decimal,
    billing_scheme: 'per_unit',
    created: price.created,
    currency: price.currency,
    interval: price.recurring?.interval ?? 'month',
    interval_count: price.recurring?.interval_count ?? 1,
    livemode: false,
    metadata: price.metadata,
    meter: null,
    nickname: price.nickname,
    product: price.product,
    tiers_mode: null,
    transform_usage: null,
    trial_period_days: null,
    usage_type: 'licensed',
  }
}

/** The invoice of the first period (or of the trial: nothing to pay), as a draft; both are told in the right order. */
export function firstInvoice(world: World, subId: string, reason = 'subscription_create'): Invoice {
  const sub = world.need('subscription', subId)
  const start = sub.items.data[0]?.current_period_start ?? world.at
  const trial = sub.status === 'trialing'
  const period = trial ? { start, end: sub.trial_end ?? start } : periodFrom(sub, start)
  const lines = linesFor(world, sub, period, trial)
  const invoice = draftInvoice(world, sub, { reason, lines, finalizesIn: 0, periodStart: start })
  const after = world.update('subscription', subId, { latest_invoice: invoice.id })
  if (reason === 'subscription_create') world.emit('customer.subscription.created', after)
  else world.emitChange('customer.subscription.updated', sub, after)
  world.emit('invoice.created', invoice)
  return invoice
}

export type PaymentBehavior =
  | 'allow_incomplete'
  | 'default_incomplete'
  | 'error_if_incomplete'
  | 'pending_if_incomplete'

/** The whole beginning by API: subscription, invoice, and the attempt to pay it. */
export function subscribe(
  world: World,
  fields: NewSubscription,
  how: {
    behavior: PaymentBehavior
    offSession: boolean
    cancelAt: (sub: Subscription) => Partial<Subscription>
  },
): Subscription {
  const made = newSubscription(world, fields)
  const sub = world.update('subscription', made.id, how.cancelAt(made))
  scheduleEnd(world, sub)
  const draft = firstInvoice(world, sub.id)
  const open = finalize(world, draft.id)
  if (open.status === 'paid') return activate(world, sub.id)
  if (sub.collection_method === 'send_invoice') return activate(world, sub.id)
  world.deadlines.set('subscription.expire', sub.id, (world.at + 23 * 3600) * 1000)
  if (how.behavior === 'default_incomplete') return world.need('subscription', sub.id)
  const method = methodFor(world, open)
  if (!method) {
    const why =
      'This customer has no attached payment source or default payment method. Please consider adding a default payment method.'
    throw invalid(why, undefined, 'resource_missing')
  }
  const { outcome } = attempt(world, open.id, {
    offSession: how.offSession,
    automatic: false,
    challenge: true,
  })
  if (outcome !== 'succeeded' && how.behavior === 'error_if_incomplete') {
    const intentId = paymentOf(world, open.id)?.payment.payment_intent ?? ''
    const { status, body } = declineError(method, world.need('payment_intent', intentId))
    throw new StripeFault(status, body)
  }
  return world.need('subscription', sub.id)
}

function activate(world: World, subId: string): Subscription {
  const sub = world.need('subscription', subId)
  if (sub.status !== 'incomplete') return sub
  world.deadlines.clear('subscription.expire', subId)
  return world.update('subscription', subId, { status: 'active' }, 'customer.subscription.updated')
}

/** When a trial ends: as a date, after days, or by the price's own trial with `trial_from_plan`. */
export function trialEnd(
  at: number,
  end: 'now' | number | undefined,
  days: number | undefined,
): number | null {
  if (end !== undefined && days !== undefined)
    throw invalid('You may only specify one of these parameters: trial_end, trial_period_days.', 'trial_end')
  if (days !== undefined) {
    if (days < 1) throw invalid('Invalid trial_period_days: must be at least 1.', 'trial_period_days')
    if (days > 730)
      throw invalid('The maximum number of trial period days is 730 (2 years).', 'trial_period_days')
    return at + days * 86_400
  }
  if (end === undefined || end === 'now') return null
  if (end <= at)
    throw invalid('Invalid timestamp: must be an integer Unix timestamp in the future.', 'trial_end')
  return end
}
