// Hosted Checkout sessions: made, read, expired. What the customer does on the page is in `checkout.ts`.
import { Decimal } from 'decimal.js'
import { details, expireSession } from '../checkout.ts'
import { invalid, notSimulated, refused } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { minorUnits } from '../money.ts'
import { hash, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { listShape, pageShape, route, type Resource } from '../router.ts'
import { checkItems, trialEnd } from '../subscribing.ts'
import type { CheckoutSession, Price } from '../wire.ts'
import type { World } from '../world.ts'
import { liveCustomer } from '../customer.ts'
import { resolvePrice } from '../catalogue.ts'
import { sessionShape } from '../checkout-shape.ts'

const DAY = 86_400

function lineOf(world: World, price: Price, quantity: number): CheckoutSession['_lines'][number] {
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
  }
}

export const checkoutSession: Resource = {
  routes: [
    route('POST', '/v1/checkout/sessions', sessionShape, ({ world, params, origin }) => {
      const { mode } = params
      const data = params.subscription_data
      if ((params.ui_mode ?? 'hosted_page') !== 'hosted_page')
        throw invalid(
          'The Stripe sandbox only simulates ui_mode=hosted_page.',
          'ui_mode',
          'sandbox_not_simulated',
        )
      if (params.success_url === undefined)
        throw invalid('Missing required param: success_url.', 'success_url', 'parameter_missing')
      if (params.customer !== undefined && params.customer_email !== undefined)
        throw invalid('You may only specify one of these parameters: customer, customer_email.', 'customer')
      if (data && mode !== 'subscription')
        throw invalid(
          'You can not pass `subscription_data` in `payment` or `setup` mode.',
          'subscription_data',
        )
      if (params.payment_intent_data && mode !== 'payment')
        throw invalid(
          'You can not pass `payment_intent_data` in `subscription` or `setup` mode.',
          'payment_intent_data',
        )
      const owner =
        params.customer === undefined ? undefined : liveCustomer(world, params.customer, 'customer')
      const asked = params.line_items ?? []
      if (mode !== 'setup' && asked.length === 0)
        throw invalid('Missing required param: line_items.', 'line_items', 'parameter_missing')
      const lines = asked.map((line, i) => {
        if (line.quantity === undefined)
          throw invalid(
            'Quantity is required. Add `quantity` to `line_items[0]`',
            `line_items[${i}][quantity]`,
          )
        return lineOf(
          world,
          resolvePrice(world, line.price, line.price_data, `line_items[${i}]`),
          line.quantity,
        )
      })
      const recurring = lines.filter((line) => line.price?.recurring)
      if (mode === 'payment' && recurring.length > 0)
        throw invalid(
          'You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.',
          'mode',
        )
      if (mode === 'subscription') {
        if (recurring.length === 0)
          throw invalid('You must provide at least one recurring price in `subscription` mode.', 'line_items')
        if (recurring.length < lines.length)
          throw notSimulated('one-time lines in subscription mode', 'line_items')
        checkItems(
          lines.map((line) => ({ price: line.price as Price, quantity: line.quantity ?? 1, metadata: {} })),
        )
      }
      const expires = params.expires_at ?? world.at + DAY
      if (expires < world.at + 30 * 60 || expires > world.at + DAY)
        throw invalid(
          'The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.',
          'expires_at',
        )
      const trial = trialEnd(world.at, data?.trial_end, data?.trial_period_days)
      if (trial !== null && trial < world.at + 2 * DAY && data?.trial_end !== undefined)
        throw invalid(
          'The `trial_end` date has to be at least 2 days in the future.',
          'subscription_data[trial_end]',
        )
      const total = lines.reduce((sum, line) => sum + line.amount_total, 0)
      const due = trial === null ? total : 0
      const id = world.id('cs_test')
      const session = world.create('checkout.session', {
        id,
        object: 'checkout.session',
        adaptive_pricing: { enabled: false },
        after_expiration: null,
        allow_promotion_codes: params.allow_promotion_codes ?? null,
        allowed_payment_method_types: null,
        amount_subtotal: mode === 'setup' ? null : due,
        amount_total: mode === 'setup' ? null : due,
        automatic_tax: { enabled: false, liability: null, provider: null, status: null },
        billing_address_collection: params.billing_address_collection ?? null,
        cancel_url: params.cancel_url ?? null,
        client_reference_id: params.client_reference_id ?? null,
        client_secret: null,
        collected_information: null,
        consent: null,
        consent_collection: null,
        created: world.at,
        currency: mode === 'setup' ? (params.currency ?? null) : (lines[0]?.currency ?? null),
        currency_conversion: null,
        custom_fields: [],
        custom_text: {
          after_submit: null,
          shipping_address: null,
          submit: null,
          terms_of_service_acceptance: null,
        },
        customer: owner?.id ?? null,
        customer_account: null,
        customer_creation:
          params.customer_creation ?? (owner ? null : mode === 'payment' ? 'if_required' : 'always'),
        customer_details:
          owner || params.customer_email !== undefined
            ? details(owner?.email ?? params.customer_email ?? null)
            : null,
        customer_email: params.customer_email ?? null,
        discounts: mode === 'setup' ? null : [],
        expires_at: expires,
        integration_identifier: params.integration_identifier ?? null,
        invoice: null,
        invoice_creation: null,
        livemode: false,
        locale: null,
        managed_payments: null,
        metadata: mergeMetadata({}, params.metadata),
        mode,
        origin_context: null,
        payment_intent: null,
        payment_link: null,
        payment_method_collection:
          params.payment_method_collection ?? (mode === 'subscription' ? 'always' : 'if_required'),
        payment_method_configuration_details: null,
        payment_method_options: { card: { request_three_d_secure: 'automatic' } },
        payment_method_types: ['card'],
        payment_status: mode === 'setup' || due === 0 ? 'no_payment_required' : 'unpaid',
        permissions: null,
        phone_number_collection: { enabled: false },
        recovered_from: null,
        saved_payment_method_options: null,
        setup_intent: null,
        shipping_address_collection: null,
        shipping_cost: null,
        shipping_options: [],
        status: 'open',
        submit_type: params.submit_type ?? null,
        subscription: null,
        success_url: params.success_url,
        total_details: mode === 'setup' ? null : { amount_discount: 0, amount_shipping: 0, amount_tax: 0 },
        ui_mode: 'hosted_page',
        url: `${origin}/c/pay/${id}`,
        wallet_options: null,
        _lines: lines,
        _data: {
          metadata: mergeMetadata(
            {},
            (data ?? params.payment_intent_data ?? params.setup_intent_data)?.metadata,
          ),
          description: (data ?? params.payment_intent_data ?? params.setup_intent_data)?.description ?? null,
          trial_days: data?.trial_period_days ?? null,
          trial_end: data?.trial_end ?? null,
          missing_payment_method:
            data?.trial_settings?.end_behavior.missing_payment_method ?? 'create_invoice',
          billing_mode: data?.billing_mode?.type ?? 'flexible',
          setup_future_usage: params.payment_intent_data?.setup_future_usage ?? null,
          receipt_email: params.payment_intent_data?.receipt_email ?? null,
          payment_intent: null,
        },
      } as unknown as CheckoutSession)
      world.deadlines.set('session.expire', id, expires * 1000)
      return session
    }),
    route(
      'GET',
      '/v1/checkout/sessions',
      {
        ...listShape,
        customer: str,
        subscription: str,
        payment_intent: str,
        status: oneOf('open', 'complete', 'expired'),
        customer_details: hash({ email: required(str) }),
      },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('checkout.session')), params, path, 'checkout.session', (item) => {
          if (params.customer !== undefined && item.customer !== params.customer) return false
          if (params.status !== undefined && item.status !== params.status) return false
          if (params.subscription !== undefined && item.subscription !== params.subscription) return false
          const email = params.customer_details?.email
          if (email !== undefined && item.customer_details?.email !== email) return false
          return params.payment_intent === undefined || item.payment_intent === params.payment_intent
        }),
    ),
    route('GET', '/v1/checkout/sessions/:id', {}, ({ world, ids: [id = ''] }) =>
      world.need('checkout.session', id),
    ),
    route('POST', '/v1/checkout/sessions/:id', { metadata }, ({ world, ids: [id = ''], params }) => {
      const old = world.need('checkout.session', id)
      return world.update('checkout.session', id, { metadata: mergeMetadata(old.metadata, params.metadata) })
    }),
    route(
      'GET',
      '/v1/checkout/sessions/:id/line_items',
      pageShape,
      ({ world, ids: [id = ''], params, path }) =>
        pageOf(world.need('checkout.session', id)._lines, params, path, 'line item'),
    ),
    route('POST', '/v1/checkout/sessions/:id/expire', {}, ({ world, ids: [id = ''] }) => {
      const session = world.need('checkout.session', id)
      if (session.status !== 'open')
        throw refused(
          `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status ?? ''}.`,
        )
      return expireSession(world, id)
    }),
  ],
  deadlines: {
    'session.expire': (world, id) => {
      if (world.store.get('checkout.session', id)?.status === 'open') expireSession(world, id)
    },
  },
  includable: {
    'checkout.session.line_items': (world, object) => {
      const lines = world.store.get('checkout.session', String(object['id']))?._lines ?? []
      const url = `/v1/checkout/sessions/${String(object['id'])}/line_items`
      return { object: 'list', data: lines, has_more: false, url }
    },
  },
}
