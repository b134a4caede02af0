// Subscriptions: create, read, change, cancel, resume.
import { announce, cancelNow, turnPeriod, warnTrial } from '../cycle.ts'
import { invalid, missing } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import {
  any,
  bool,
  either,
  emptyable,
  feedback,
  hash,
  int,
  list,
  mergeMetadata,
  metadata,
  oneOf,
  required,
  str,
  unsupported,
} from '../param.ts'
import { listShape, pageShape, route, type Resource } from '../router.ts'
import { checkItems, subscribe, trialEnd, type NewItem } from '../subscribing.ts'
import { endDiscount, readTerms, termsShape } from '../terms.ts'
import { ratesNamed } from '../tax.ts'
import { sum } from '../reckon.ts'
import { expireIncomplete, isOver } from '../subscription-state.ts'
import type { World } from '../world.ts'
import { pinCurrency } from '../currency.ts'
import { liveCustomer } from '../customer.ts'
import { resolvePrice } from '../catalogue.ts'
import {
  anchorChange,
  billingMode,
  itemChange,
  priceData,
  prorationBehavior,
  trialSettings,
} from '../shape.ts'
import { discardUpdate } from '../update-payment.ts'
import { cancelAtOnce, changeSubscription, endPatch } from '../subscription-change.ts'
import { collectAgain, pauseOnRequest, resume } from '../pause.ts'

const cancellationDetails = hash({ comment: emptyable(str), feedback: emptyable(feedback) })
const paymentSettings = hash({
  save_default_payment_method: oneOf('off', 'on_subscription'),
  payment_method_types: any,
  payment_method_options: any,
})
const behavior = oneOf(
  'allow_incomplete',
  'default_incomplete',
  'error_if_incomplete',
  'pending_if_incomplete',
)
const cancelAt = emptyable(either(oneOf('min_period_end', 'max_period_end'), int))

const shape = {
  cancel_at: cancelAt,
  cancel_at_period_end: bool,
  default_payment_method: emptyable(str),
  description: emptyable(str),
  metadata,
  payment_behavior: behavior,
  payment_settings: paymentSettings,
  proration_behavior: prorationBehavior,
  trial_end: either(oneOf('now'), int),
  trial_settings: trialSettings,
  collection_method: oneOf('charge_automatically', 'send_invoice'),
  days_until_due: int,
  off_session: bool,
  ...termsShape,
}

export const subscription: Resource = {
  routes: [
    route(
      'POST',
      '/v1/subscriptions',
      {
        ...shape,
        customer: required(str),
        items: required(
          list(
            hash({
              price: str,
              price_data: hash({ ...priceData, product: required(str) }),
              quantity: int,
              tax_rates: list(str),
              discounts: unsupported('discounts of single items'),
              metadata,
            }),
          ),
        ),
        billing_mode: billingMode,
        trial_period_days: int,
        currency: str,
      },
      ({ world, params }) => {
        const customer = liveCustomer(world, params.customer, 'customer')
        const items = params.items.map((item, i): NewItem => {
          const price = resolvePrice(world, item.price, item.price_data, `items[${i}]`)
          const taxRates = ratesNamed(world, item.tax_rates ?? [], `items[${i}][tax_rates]`)
          return { price, quantity: item.quantity ?? 1, metadata: mergeMetadata({}, item.metadata), taxRates }
        })
        const { currency } = checkItems(items)
        pinCurrency(world, customer, currency)
        const subtotal = sum(items.map((item) => (item.price.unit_amount ?? 0) * item.quantity))
        if (params.default_payment_method) ownMethod(world, params.default_payment_method, params.customer)
        return subscribe(
          world,
          {
            customer: params.customer,
            items,
            status: 'incomplete',
            metadata: mergeMetadata({}, params.metadata),
            default_payment_method: params.default_payment_method ?? null,
            trial_end: trialEnd(world.at, params.trial_end, params.trial_period_days),
            missing_payment_method:
              params.trial_settings?.end_behavior.missing_payment_method ?? 'create_invoice',
            billing_mode: params.billing_mode?.type ?? 'flexible',
            description: params.description ?? null,
            collection_method: params.collection_method ?? 'charge_automatically',
            days_until_due: params.days_until_due ?? null,
            save_default_payment_method: params.payment_settings?.save_default_payment_method ?? 'off',
            terms: readTerms(world, params, { customer, currency, subtotal }),
          },
          {
            behavior: params.payment_behavior ?? 'allow_incomplete',
            offSession: params.off_session ?? false,
            cancelAt: (sub) => endPatch(world, sub, params),
          },
        )
      },
    ),
    route(
      'GET',
      '/v1/subscriptions',
      {
        ...listShape,
        customer: str,
        price: str,
        status: str,
        collection_method: str,
      },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('subscription')), params, path, 'subscription', (sub) => {
          const { status } = params
          if (params.customer !== undefined && sub.customer !== params.customer) return false
          if (params.price !== undefined && !sub.items.data.some((i) => i.price.id === params.price))
            return false
          if (status === 'all') return true
          if (status === 'ended') return isOver(sub)
          return status === undefined ? !isOver(sub) : sub.status === status
        }),
    ),
    route('GET', '/v1/subscriptions/:id', {}, ({ world, ids: [id = ''] }) => world.need('subscription', id)),
    route(
      'POST',
      '/v1/subscriptions/:id',
      {
        ...shape,
        items: list(itemChange),
        cancellation_details: cancellationDetails,
        pause_collection: emptyable(
          hash({ behavior: required(oneOf('keep_as_draft', 'mark_uncollectible', 'void')), resumes_at: int }),
        ),
        proration_date: int,
        billing_cycle_anchor: anchorChange,
      },
      ({ world, ids: [id = ''], params }) => {
        const sub = world.need('subscription', id)
        if (params.default_payment_method) ownMethod(world, params.default_payment_method, sub.customer)
        return changeSubscription(world, sub, params)
      },
    ),
    route(
      'DELETE',
      '/v1/subscriptions/:id',
      { cancellation_details: cancellationDetails, invoice_now: bool, prorate: bool },
      ({ world, ids: [id = ''], params }) => {
        const sub = world.need('subscription', id)
        if (isOver(sub)) throw missing('subscription', id)
        const said = params.cancellation_details
        if (said) {
          world.update('subscription', id, {
            cancellation_details: {
              comment: said.comment ?? null,
              feedback: said.feedback ?? null,
              feedback_option: null,
              reason: 'cancellation_requested',
            },
          })
        }
        return cancelAtOnce(world, id, params)
      },
    ),
    route(
      'POST',
      '/v1/subscriptions/:id/resume',
      {
        billing_cycle_anchor: anchorChange,
        proration_behavior: prorationBehavior,
        payment_behavior: oneOf('resume_on_payment_attempt', 'resume_on_payment_success'),
      },
      ({ world, ids: [id = ''], params }) =>
        resume(world, world.need('subscription', id), {
          anchor: params.billing_cycle_anchor?.type ?? 'now',
          behavior: params.proration_behavior ?? 'create_prorations',
          payment: params.payment_behavior ?? 'resume_on_payment_attempt',
        }),
    ),
    route(
      'POST',
      '/v1/subscriptions/:id/pause',
      {
        type: oneOf('subscription'),
        invoicing_behavior: oneOf('invoice', 'pending_invoice_item'),
        bill_for: hash({
          unused_time_from: hash({ type: required(oneOf('now', 'item_current_period_start', 'none')) }),
          outstanding_usage_through: any,
        }),
      },
      ({ world, ids: [id = ''], params }) =>
        pauseOnRequest(world, id, {
          unusedFrom: params.bill_for?.unused_time_from?.type ?? 'now',
          invoices: params.invoicing_behavior === 'invoice',
        }),
    ),
    route(
      'GET',
      '/v1/subscription_items',
      { ...pageShape, subscription: required(str) },
      ({ world, params, path }) => {
        const sub = world.need('subscription', params.subscription, 'subscription')
        return pageOf(sub.items.data, params, path, 'subscription item')
      },
    ),
  ],
  deadlines: {
    'subscription.period': turnPeriod,
    'subscription.cancel': cancelNow,
    'subscription.trial_will_end': warnTrial,
    'subscription.upcoming': announce,
    'subscription.expire': expireIncomplete,
    'discount.end': endDiscount,
    'subscription.update_expires': discardUpdate,
    'subscription.collect_again': collectAgain,
  },
}

function ownMethod(world: World, id: string, customer: string): void {
  const method = world.need('payment_method', id, 'default_payment_method')
  if (method.customer !== customer)
    throw invalid(
      `The customer does not have a payment method with the ID ${id}. The payment method must be attached to the customer.`,
      'default_payment_method',
      'resource_missing',
    )
}
