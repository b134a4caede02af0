// A new Checkout session: what is refused, and what it is.
import { notOffered, offered } from './checkout-method.ts'
import { details } from './checkout.ts'
import type { sessionShape } from './checkout-shape.ts'
import { billOf, checkMinimum, discounted, lineOf, totalled } from './checkout-total.ts'
import { redeemable } from './coupon.ts'
import { pinCurrency } from './currency.ts'
import { liveCustomer } from './customer.ts'
import { invalid, notSimulated } from './error.ts'
import { mergeMetadata, type Read } from './param.ts'
import { resolvePrice } from './catalogue.ts'
import { checkItems, trialEnd } from './subscribing.ts'
import { isLocated, ratesNamed } from './tax.ts'
import type { CheckoutSession, Customer, Price, SessionLine } from './wire.ts'
import type { World } from './world.ts'

const DAY = 86_400

type Params = Read<typeof sessionShape>

/** What contradicts itself, in the order in which Stripe says so. */
function check(params: Params): void {
  const { mode } = params
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
  if (params.customer_update && params.customer === undefined)
    throw invalid('`customer_update` can only be used with `customer`.', 'customer_update')
  if (params.subscription_data && mode !== 'subscription')
    throw invalid('You can not pass `subscription_data` in `payment` or `setup` mode.', 'subscription_data')
  if (params.payment_intent_data && mode !== 'payment')
    throw invalid(
      'You can not pass `payment_intent_data` in `subscription` or `setup` mode.',
      'payment_intent_data',
    )
  if (params.discounts && params.allow_promotion_codes !== undefined)
    throw invalid(
      'You may only specify one of these parameters: allow_promotion_codes, discounts.',
      'discounts',
    )
  if (mode === 'setup' && (params.discounts || params.allow_promotion_codes))
    throw invalid('You can not pass `discounts` in `setup` mode.', 'discounts')
  // docs.stripe.com/api/checkout/sessions/create: currently, only up to one may be specified
  if ((params.discounts?.length ?? 0) > 1) throw invalid('You may only specify one discount.', 'discounts')
}

function linesOf(world: World, params: Params): SessionLine[] {
  const { mode } = params
  const asked = params.line_items ?? []
  if (mode !== 'setup' && asked.length === 0)
    throw invalid('Missing required param: line_items.', 'line_items', 'parameter_missing')
  const lines = asked.map((line, i) => {
    const param = `line_items[${i}]`
    if (line.quantity === undefined)
      throw invalid('Quantity is required. Add `quantity` to `line_items[0]`', `${param}[quantity]`)
    const rates = line.tax_rates ?? []
    if (rates.length > 0 && params.automatic_tax?.enabled)
      throw invalid('You cannot use tax rates with automatic tax.', `${param}[tax_rates]`)
    ratesNamed(world, rates, `${param}[tax_rates]`)
    return lineOf(world, resolvePrice(world, line.price, line.price_data, param), line.quantity, rates)
  })
  const recurring = lines.filter((line) => line.price?.recurring)
  if (lines.some((line) => line.currency !== lines[0]?.currency))
    throw invalid('All prices must have the same currency.', 'line_items')
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
  return lines
}

/** docs.stripe.com/tax/checkout#existing-customers: the page may ask only when it may also keep the answer. */
function checkLocation(params: Params, owner: Customer | undefined): void {
  if (!params.automatic_tax?.enabled || !owner || isLocated(owner)) return
  if (params.customer_update?.address === 'auto') return
  throw invalid(
    "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' to save the address entered in Checkout to the Customer.",
    'automatic_tax',
    'customer_tax_location_invalid',
  )
}

function expiry(world: World, asked: number | undefined): number {
  const expires = asked ?? world.at + DAY
  if (expires < world.at + 30 * 60 || expires > world.at + DAY)
    throw invalid(
      'The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.',
      'expires_at',
    )
  return expires
}

export function createSession(world: World, params: Params, origin: string): CheckoutSession {
  check(params)
  const { mode } = params
  const data = params.subscription_data
  const owner = params.customer === undefined ? undefined : liveCustomer(world, params.customer, 'customer')
  const lines = linesOf(world, params)
  ratesNamed(world, data?.default_tax_rates ?? [], 'subscription_data[default_tax_rates]')
  checkLocation(params, owner)
  if (mode === 'subscription' && owner && lines[0]) pinCurrency(world, owner, lines[0].currency)
  const expires = expiry(world, params.expires_at)
  const trial = trialEnd(world.at, data?.trial_end, data?.trial_period_days)
  if (trial !== null && trial < world.at + 2 * DAY && data?.trial_end !== undefined)
    throw invalid(
      'The `trial_end` date has to be at least 2 days in the future.',
      'subscription_data[trial_end]',
    )
  const currency = mode === 'setup' ? (params.currency ?? null) : (lines[0]?.currency ?? null)
  const methods = offered(
    mode,
    currency,
    params.allowed_payment_method_types,
    params.excluded_payment_method_types,
  )
  if (methods.length === 0) throw notOffered()
  const id = world.id('cs_test')
  const made = totalled(world, {
    id,
    object: 'checkout.session',
    adaptive_pricing: { enabled: false },
    after_expiration: null,
    allow_promotion_codes: params.allow_promotion_codes ?? null,
    allowed_payment_method_types: params.allowed_payment_method_types ?? null,
    amount_subtotal: null,
    amount_total: null,
    automatic_tax: {
      enabled: params.automatic_tax?.enabled ?? false,
      liability: null,
      provider: null,
      status: null,
    },
    billing_address_collection: params.billing_address_collection ?? null,
    cancel_url: params.cancel_url ?? null,
    client_reference_id: params.client_reference_id ?? null,
    client_secret: null,
    collected_information: null,
    consent: null,
    consent_collection: null,
    created: world.at,
    currency,
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
    payment_method_types: methods,
    payment_status: 'no_payment_required',
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
    total_details: null,
    ui_mode: 'hosted_page',
    url: `${origin}/c/pay/${id}`,
    wallet_options: null,
    _lines: lines,
    _data: dataOf(params),
  } as unknown as CheckoutSession)
  const named = params.discounts?.[0]
  const session = named
    ? discounted(world, made, redeemable(world, named, billOf(world, made), 'discounts[0]'))
    : made
  checkMinimum(session)
  world.create('checkout.session', session)
  world.deadlines.set('session.expire', id, expires * 1000)
  return session
}

function dataOf(params: Params): CheckoutSession['_data'] {
  const data = params.subscription_data
  const about = data ?? params.payment_intent_data ?? params.setup_intent_data
  return {
    metadata: mergeMetadata({}, about?.metadata),
    description: about?.description ?? null,
    trial_days: data?.trial_period_days ?? null,
    trial_end: data?.trial_end ?? null,
    missing_payment_method: data?.trial_settings?.end_behavior.missing_payment_method ?? 'create_invoice',
    billing_mode: data?.billing_mode?.type ?? 'flexible',
    setup_future_usage: params.payment_intent_data?.setup_future_usage ?? null,
    receipt_email: params.payment_intent_data?.receipt_email ?? null,
    payment_intent: null,
    tax_rates: data?.default_tax_rates ?? [],
    keep_address: params.customer_update?.address === 'auto' || params.customer === undefined,
  }
}
