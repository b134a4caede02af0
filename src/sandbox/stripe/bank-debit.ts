// Bank debits: payment methods whose outcome is told days later. The intent is `processing` and its charge `pending`
// until then. docs.stripe.com/payments/payment-methods#payment-notification
import { businessDaysAfter } from './calendar.ts'
import { newCharge, receiptOf } from './charge.ts'
import type { BillingDetails } from './payment-method.ts'
import { withoutPrivate } from './payment.ts'
import { noAddress } from './payment-method.ts'
import type { Charge, PaymentIntent, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export type DebitType = 'sepa_debit' | 'us_bank_account'

interface Debit {
  type: DebitType
  /** Until the bank's word, at most or typically. */
  businessDays: number
}

/** docs.stripe.com/payments/ach-direct-debit#timing, docs.stripe.com/payments/sepa-debit/accept-a-payment */
const debits: Record<string, Debit> = {
  usd: { type: 'us_bank_account', businessDays: 4 },
  eur: { type: 'sepa_debit', businessDays: 5 },
}

/** The bank debit of a currency; most have none here. */
export function debitFor(currency: string | null): Debit | undefined {
  return debits[currency ?? '']
}

const accounts = {
  us_bank_account: {
    account_holder_type: 'individual',
    account_type: 'checking',
    bank_name: 'STRIPE TEST BANK',
    fingerprint: 'FFDMA0xfhBjWSZLu',
    last4: '6789',
    routing_number: '110000000',
  },
  sepa_debit: {
    bank_code: '37040044',
    branch_code: '',
    country: 'DE',
    fingerprint: 'vifs0Ho7vwRn1Miu',
    last4: '3000',
  },
} as const

const ofMethod = {
  us_bank_account: {
    financial_connections_account: null,
    networks: { preferred: 'ach', supported: ['ach'] },
    status_details: null,
  },
  sepa_debit: { generated_from: { charge: null, setup_attempt: null } },
} as const

export function newBankMethod(
  world: World,
  type: DebitType,
  details: Partial<BillingDetails>,
): PaymentMethod {
  return world.create('payment_method', {
    id: world.id('pm'),
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: { address: noAddress, email: null, name: null, phone: null, tax_id: null, ...details },
    created: world.at,
    customer: null,
    customer_account: null,
    livemode: false,
    metadata: {},
    type,
    [type]: { ...accounts[type], ...ofMethod[type] },
    _card: '',
  } as unknown as PaymentMethod)
}

/** The customer authorised the debit; the bank answers at `settles` (unix seconds). */
export function startDebit(
  world: World,
  intentId: string,
  method: PaymentMethod,
  outcome: 'succeeds' | 'fails',
  settles: number,
): PaymentIntent {
  const type = method.type as DebitType
  const before = world.need('payment_intent', intentId)
  const charge = newCharge(world, before, method, {
    status: 'pending',
    outcome: {
      advice_code: null,
      network_advice_code: null,
      network_decline_code: null,
      network_status: 'approved_by_network',
      reason: null,
      risk_level: 'not_assessed',
      seller_message: 'Payment complete.',
      type: 'authorized',
    },
    details:
      type === 'sepa_debit'
        ? { ...accounts.sepa_debit, mandate: world.id('mandate') }
        : { ...accounts.us_bank_account, mandate: world.id('mandate'), payment_reference: null },
  })
  const intent = world.update('payment_intent', intentId, {
    status: 'processing',
    latest_charge: charge.id,
    payment_method: method.id,
    payment_method_options:
      type === 'sepa_debit' ? { sepa_debit: {} } : { us_bank_account: { verification_method: 'automatic' } },
    payment_method_types: [type],
    last_payment_error: null,
    next_action: null,
    _debit: outcome,
  })
  world.emit('charge.pending', charge)
  world.emit('payment_intent.processing', intent)
  world.deadlines.set('payment.settle', intentId, settles * 1000)
  return intent
}

export function settlesAt(world: World, currency: string, afterSeconds: number | undefined): number {
  if (afterSeconds !== undefined) return world.at + afterSeconds
  return businessDaysAfter(world.at, debitFor(currency)?.businessDays ?? 5)
}

/** The bank's word. @returns undefined when the intent is no longer waiting for it */
export function settleDebit(world: World, intentId: string): PaymentIntent | undefined {
  const intent = world.store.get('payment_intent', intentId)
  if (intent?.status !== 'processing' || intent.latest_charge === null) return undefined
  return intent._debit === 'fails' ? bounced(world, intent) : cleared(world, intent)
}

function cleared(world: World, intent: PaymentIntent): PaymentIntent {
  const id = intent.latest_charge ?? ''
  const paid: Partial<Charge> = {
    status: 'succeeded',
    paid: true,
    receipt_url: receiptOf(id),
    _settled: world.at,
  }
  const charge = world.update('charge', id, paid)
  const after = world.update('payment_intent', intent.id, {
    status: 'succeeded',
    amount_received: charge.amount,
  })
  world.emit('charge.succeeded', charge)
  world.emit('payment_intent.succeeded', after)
  return after
}

/** docs.stripe.com/payments/ach-direct-debit#failed-payments */
function bounced(world: World, intent: PaymentIntent): PaymentIntent {
  const charge = world.update('charge', intent.latest_charge ?? '', {
    status: 'failed',
    paid: false,
    captured: false,
    amount_captured: 0,
    failure_code: 'insufficient_funds',
    failure_message: "The customer's account has insufficient funds to cover this payment.",
  })
  const method = world.store.get('payment_method', intent.payment_method ?? '')
  const after = world.update('payment_intent', intent.id, {
    status: 'requires_payment_method',
    payment_method: null,
    last_payment_error: {
      charge: charge.id,
      code: 'payment_intent_payment_attempt_failed',
      doc_url: 'https://stripe.com/docs/error-codes/payment-intent-payment-attempt-failed',
      message: 'The payment failed.',
      payment_method: method === undefined ? undefined : withoutPrivate(method),
      type: 'invalid_request_error',
    } as unknown as PaymentIntent['last_payment_error'],
  })
  world.emit('charge.failed', charge)
  world.emit('payment_intent.payment_failed', after)
  return after
}
