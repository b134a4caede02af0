// Payment intents: made by invoices and Checkout, or by API; confirming one that belongs to an invoice pays it.
import { settleSession } from '../checkout.ts'
import { invalid, refused } from '../error.ts'
import { attempt, invoiceOfIntent } from '../invoicing.ts'
import { newestFirst, pageOf } from '../list.ts'
import { any, bool, hash, int, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { collect, declineError, newIntent } from '../payment.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { PaymentIntent } from '../wire.ts'
import type { World } from '../world.ts'
import { minimumOf, tooSmall } from '../balance.ts'
import { liveCustomer } from '../customer.ts'
import { attach, resolveMethod } from '../payment-method.ts'

const shape = {
  description: str,
  metadata,
  payment_method: str,
  receipt_email: str,
  setup_future_usage: oneOf('off_session', 'on_session'),
}
const confirmShape = {
  payment_method: str,
  off_session: bool,
  return_url: str,
  receipt_email: str,
  error_on_requires_action: bool,
}

export function confirmIntent(
  world: World,
  id: string,
  named: string | undefined,
  how: { off_session?: boolean | undefined; error_on_requires_action?: boolean | undefined },
): PaymentIntent {
  const offSession = how.off_session ?? false
  const intent = world.need('payment_intent', id)
  if (!['requires_payment_method', 'requires_confirmation', 'requires_action'].includes(intent.status))
    throw refused(
      `You cannot confirm this PaymentIntent because it has a status of ${intent.status}.`,
      'payment_intent_unexpected_state',
    )
  const wanted = named ?? intent.payment_method
  if (wanted === null)
    throw invalid(
      'You cannot confirm this PaymentIntent because it is missing a payment method.',
      undefined,
      'payment_intent_unexpected_state',
    )
  const method = resolveMethod(world, wanted, 'payment_method')
  if (method.customer !== null && method.customer !== intent.customer)
    throw invalid(
      'The provided PaymentMethod cannot be attached: it belongs to another customer.',
      'payment_method',
    )
  const invoice = invoiceOfIntent(world, id)
  const { outcome } = invoice
    ? attempt(world, invoice.id, { method, offSession, automatic: false })
    : collect(world, id, method, {
        offSession,
        authenticated: false,
        refuses: how.error_on_requires_action ?? false,
      })
  const after = world.need('payment_intent', id)
  if (outcome === 'declined') throw declineError(method, after)
  if (outcome === 'succeeded' && intent.customer !== null && intent.setup_future_usage !== null)
    attach(world, world.need('payment_method', method.id), intent.customer)
  return after
}

export const paymentIntent: Resource = {
  routes: [
    route(
      'POST',
      '/v1/payment_intents',
      {
        ...shape,
        amount: required(int),
        currency: required(str),
        customer: str,
        confirm: bool,
        off_session: bool,
        return_url: str,
        automatic_payment_methods: hash({ enabled: required(bool), allow_redirects: str }),
        allowed_payment_method_types: any,
        excluded_payment_method_types: any,
        error_on_requires_action: bool,
      },
      ({ world, params }) => {
        if (params.off_session !== undefined && params.confirm !== true)
          throw invalid('`off_session` can only be used with `confirm=true`.', 'off_session')
        if (tooSmall(params.amount, params.currency.toLowerCase()))
          throw invalid(
            `Amount must be at least ${minimumOf(params.currency.toLowerCase())} of the smallest unit of ${params.currency}.`,
            'amount',
            'amount_too_small',
          )
        if (params.amount < 1)
          throw invalid(
            'This value must be greater than or equal to 1.',
            'amount',
            'parameter_invalid_integer',
          )
        const currency = params.currency.toLowerCase()
        if (tooSmall(params.amount, currency))
          throw invalid(
            `Amount must be at least ${minimumOf(currency)} of the smallest unit of ${currency}.`,
            'amount',
            'amount_too_small',
          )
        if (params.off_session !== undefined && params.confirm !== true)
          throw invalid('`off_session` can only be used with `confirm=true`.', 'off_session')
        if (params.customer !== undefined) liveCustomer(world, params.customer, 'customer')
        const method =
          params.payment_method === undefined
            ? undefined
            : resolveMethod(world, params.payment_method, 'payment_method')
        const intent = newIntent(world, {
          amount: params.amount,
          currency,
          customer: params.customer ?? null,
          description: params.description ?? null,
          metadata: mergeMetadata({}, params.metadata),
          payment_method: method?.id ?? null,
          receipt_email: params.receipt_email ?? null,
          setup_future_usage: params.setup_future_usage ?? null,
        })
        return params.confirm ? confirmIntent(world, intent.id, undefined, params) : intent
      },
    ),
    route('GET', '/v1/payment_intents', { ...listShape, customer: str }, ({ world, params, path }) =>
      pageOf(
        newestFirst(world.store.all('payment_intent')),
        params,
        path,
        'payment_intent',
        (item) => params.customer === undefined || item.customer === params.customer,
      ),
    ),
    route('GET', '/v1/payment_intents/:id', { client_secret: str }, ({ world, ids: [id = ''] }) =>
      world.need('payment_intent', id),
    ),
    route(
      'POST',
      '/v1/payment_intents/:id',
      { ...shape, amount: int },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('payment_intent', id)
        const named = params.payment_method
        const method = named === undefined ? undefined : resolveMethod(world, named, 'payment_method')
        return world.update('payment_intent', id, {
          metadata: mergeMetadata(old.metadata, params.metadata),
          description: params.description ?? old.description,
          receipt_email: params.receipt_email ?? old.receipt_email,
          amount: params.amount ?? old.amount,
          ...(method ? { payment_method: method.id, status: 'requires_confirmation' } : {}),
        })
      },
    ),
    route('POST', '/v1/payment_intents/:id/confirm', confirmShape, ({ world, ids: [id = ''], params }) =>
      confirmIntent(world, id, params.payment_method, params),
    ),
    route(
      'POST',
      '/v1/payment_intents/:id/cancel',
      { cancellation_reason: oneOf('duplicate', 'fraudulent', 'requested_by_customer', 'abandoned') },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('payment_intent', id)
        // docs.stripe.com/api/payment_intents/cancel
        if (world.store.all('checkout.session').some((s) => s.status === 'open' && s.payment_intent === id))
          throw refused(
            'You cannot cancel the PaymentIntent for a Checkout Session. Expire the Checkout Session instead.',
            'payment_intent_unexpected_state',
          )
        if (['succeeded', 'canceled', 'processing'].includes(old.status))
          throw refused(
            `You cannot cancel this PaymentIntent because it has a status of ${old.status}.`,
            'payment_intent_unexpected_state',
          )
        const after = world.update('payment_intent', id, {
          status: 'canceled',
          canceled_at: world.at,
          cancellation_reason: params.cancellation_reason ?? null,
        })
        world.emit('payment_intent.canceled', after)
        return after
      },
    ),
  ],
  deadlines: { 'payment.settle': settleSession },
}
