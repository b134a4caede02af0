// Moving money: payment intents and their charges. Knows nothing of invoices.
import { cardError, fingerprintOf, isTestCard, networkOf, type TestCard } from './card.ts'
import { newCharge, outcome } from './charge.ts'
import { notSimulated, type StripeFault } from './error.ts'
import type { Charge, PaymentIntent, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export const automatic = { allow_redirects: 'always', enabled: true } as const
const cardOptions = {
  card: { installments: null, mandate_options: null, network: null, request_three_d_secure: 'automatic' },
}

export interface IntentFields {
  amount: number
  currency: string
  customer: string | null
  description?: string | null
  metadata?: Record<string, string>
  payment_method?: string | null
  receipt_email?: string | null
  setup_future_usage?: string | null
}

export function newIntent(world: World, fields: IntentFields): PaymentIntent {
  const id = world.id('pi')
  const intent = world.create('payment_intent', {
    id,
    object: 'payment_intent',
    allowed_payment_method_types: null,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: 0,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: automatic,
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic_async',
    client_secret: `${id}_secret_${world.random.text(25)}`,
    confirmation_method: 'automatic',
    created: world.at,
    customer_account: null,
    description: null,
    excluded_payment_method_types: null,
    last_payment_error: null,
    latest_charge: null,
    livemode: false,
    managed_payments: null,
    metadata: {},
    next_action: null,
    on_behalf_of: null,
    payment_method_configuration_details: null,
    payment_method_options: cardOptions,
    payment_method_types: ['card'],
    payment_record: null,
    processing: null,
    receipt_email: null,
    review: null,
    setup_future_usage: null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: fields.payment_method ? 'requires_confirmation' : 'requires_payment_method',
    transfer_data: null,
    transfer_group: null,
    ...fields,
    payment_method: fields.payment_method ?? null,
  } as PaymentIntent)
  world.emit('payment_intent.created', intent)
  return intent
}

export type Outcome = 'succeeded' | 'declined' | 'requires_action'

/**
 * One attempt to collect an intent with a card. `authenticated`: the customer is there and passes the bank's check;
 * `refuses`: rather declined than left waiting for it. docs.stripe.com/payments/save-and-reuse (charge later)
 */
export function collect(
  world: World,
  intentId: string,
  method: PaymentMethod,
  how: { offSession: boolean; authenticated: boolean; challenge?: boolean; refuses?: boolean },
): { outcome: Outcome; intent: PaymentIntent } {
  if (method.type !== 'card') throw notSimulated('bank debits outside Checkout', 'payment_method')
  const card = isTestCard(method)
  const asks = card.authentication === 'always' || (card.authentication === 'unless_saved' && !how.offSession)
  if (asks && !how.authenticated && !card.decline) {
    if ((how.offSession || how.refuses) && !how.challenge)
      return { outcome: 'declined', intent: decline(world, intentId, method, card) }
    const intent = world.update('payment_intent', intentId, {
      status: 'requires_action',
      payment_method: method.id,
      next_action: { type: 'use_stripe_sdk', use_stripe_sdk: {} },
    })
    world.emit('payment_intent.requires_action', intent)
    return { outcome: 'requires_action', intent }
  }
  if (card.decline) return { outcome: 'declined', intent: decline(world, intentId, method, card) }
  const charge = cardCharge(world, world.need('payment_intent', intentId), method, undefined)
  const intent = world.update('payment_intent', intentId, {
    status: 'succeeded',
    amount_received: charge.amount,
    latest_charge: charge.id,
    payment_method: method.id,
    last_payment_error: null,
    next_action: null,
  })
  world.emit('charge.succeeded', charge)
  world.emit('payment_intent.succeeded', intent)
  return { outcome: 'succeeded', intent }
}

function decline(world: World, intentId: string, method: PaymentMethod, card: TestCard): PaymentIntent {
  const charge = cardCharge(world, world.need('payment_intent', intentId), method, card)
  const { body } = cardError(card)
  const intent = world.update('payment_intent', intentId, {
    status: 'requires_payment_method',
    latest_charge: charge.id,
    payment_method: null,
    next_action: null,
    last_payment_error: {
      ...body,
      charge: charge.id,
      doc_url: `https://stripe.com/docs/error-codes/${String(body.code).replaceAll('_', '-')}`,
      payment_method: withoutPrivate(method),
    } as unknown as PaymentIntent['last_payment_error'],
  })
  world.emit('charge.failed', charge)
  world.emit('payment_intent.payment_failed', intent)
  return intent
}

/** The error that a request answers when its own charge was declined. */
export function declineError(method: PaymentMethod, intent: PaymentIntent): StripeFault {
  return cardError(isTestCard(method), {
    charge: intent.latest_charge ?? undefined,
    payment_intent: withoutPrivate(intent),
    payment_method: withoutPrivate(method),
  })
}

export function withoutPrivate(object: object): unknown {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !key.startsWith('_')))
}

function cardCharge(
  world: World,
  intent: PaymentIntent,
  method: PaymentMethod,
  declined: TestCard | undefined,
): Charge {
  const error = declined ? cardError(declined).body : undefined
  return newCharge(world, intent, method, {
    status: declined ? 'failed' : 'succeeded',
    failure: error ? { code: String(error.code), message: error.message } : undefined,
    outcome: declined
      ? outcome('issuer_declined', declineOf(declined), 'declined_by_network')
      : outcome('authorized', null, 'approved_by_network'),
    details: cardDetails(world, intent, method),
  })
}

function declineOf(card: TestCard): string {
  return card.decline?.decline_code ?? 'authentication_required'
}

function cardDetails(world: World, intent: PaymentIntent, method: PaymentMethod): unknown {
  const card = isTestCard(method)
  return {
    amount_authorized: intent.amount,
    authorization_code: world.random.text(6).toUpperCase(),
    brand: card.brand,
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
    country: card.country,
    electronic_commerce_indicator: null,
    exp_month: method.card?.exp_month,
    exp_year: method.card?.exp_year,
    fingerprint: fingerprintOf(card),
    funding: card.funding,
    installments: null,
    last4: card.last4,
    mandate: null,
    network: networkOf(card),
    network_transaction_id: world.random.text(15),
    regulated_status: 'unregulated',
    three_d_secure: null,
    transaction_link_id: null,
    wallet: null,
  }
}
