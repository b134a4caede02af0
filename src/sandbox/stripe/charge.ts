// The charge that an attempt to collect a payment intent makes, whatever pays it.
import type { Charge, PaymentIntent, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export interface Attempted {
  status: 'succeeded' | 'pending' | 'failed'
  failure?: { code: string; message: string } | undefined
  outcome: unknown
  /** What `payment_method_details` says of the method. */
  details: unknown
}

export function newCharge(
  world: World,
  intent: PaymentIntent,
  method: PaymentMethod,
  { status, failure, outcome, details }: Attempted,
): Charge {
  // docs.stripe.com/api/charges: those of bank accounts are named py_
  const id = world.id(method.type === 'card' ? 'ch' : 'py')
  const failed = status === 'failed'
  const customer = intent.customer === null ? undefined : world.store.get('customer', intent.customer)
  return world.create('charge', {
    id,
    object: 'charge',
    amount: intent.amount,
    amount_captured: failed ? 0 : intent.amount,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: null,
    billing_details: {
      ...method.billing_details,
      email: method.billing_details.email ?? customer?.email ?? null,
      name: method.billing_details.name ?? customer?.name ?? null,
    },
    calculated_statement_descriptor: 'PERENNIAL SANDBOX',
    captured: !failed,
    created: world.at,
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: failure?.code ?? null,
    failure_message: failure?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: intent.metadata,
    on_behalf_of: null,
    outcome,
    paid: status === 'succeeded',
    payment_intent: intent.id,
    payment_method: method.id,
    payment_method_details: { [method.type]: details, type: method.type },
    radar_options: {},
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: status === 'succeeded' ? receiptOf(id) : null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status,
    transfer_data: null,
    transfer_group: null,
  } as unknown as Charge)
}

export function receiptOf(id: string): string {
  return `https://pay.stripe.com/receipts/${id}`
}

export function outcome(type: string, reason: string | null, network_status: string): unknown {
  return {
    advice_code: reason === null ? null : 'try_again_later',
    network_advice_code: null,
    network_decline_code: reason === null ? null : '05',
    network_status,
    reason,
    risk_level: 'normal',
    risk_score: 20,
    seller_message:
      reason === null
        ? 'Payment complete.'
        : 'The bank did not return any further details with this decline.',
    type,
  }
}
