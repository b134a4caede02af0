// Payment methods as others use them: made from a test name, found, saved to a customer.
import { cardError, cardNamed, fingerprintOf, isTestCard, networkOf, type TestCard } from './card.ts'
import { missing, refused } from './error.ts'
import type { PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export type BillingDetails = PaymentMethod['billing_details']

export function newMethod(world: World, name: string, details: Partial<BillingDetails> = {}): PaymentMethod {
  const card = cardNamed(name)
  if (!card) throw missing('payment_method', name, 'payment_method')
  return world.create('payment_method', {
    id: world.id('pm'),
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: { address: noAddress, email: null, name: null, phone: null, tax_id: null, ...details },
    card: cardHash(card, world.at),
    created: world.at,
    customer: null,
    customer_account: null,
    livemode: false,
    metadata: {},
    type: 'card',
    _card: name,
  } as PaymentMethod)
}

export const noAddress = {
  city: null,
  country: null,
  line1: null,
  line2: null,
  postal_code: null,
  state: null,
}

function cardHash(card: TestCard, at: number): unknown {
  return {
    brand: card.brand,
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: 'pass' },
    country: card.country,
    display_brand: card.brand,
    exp_month: 12,
    exp_year: new Date(at * 1000).getUTCFullYear() + 4,
    fingerprint: fingerprintOf(card),
    funding: card.funding,
    generated_from: null,
    last4: card.last4,
    networks: { available: [networkOf(card)], preferred: null },
    regulated_status: 'unregulated',
    three_d_secure_usage: { supported: true },
    wallet: null,
  }
}

/** A payment method by its id, or a fresh one by its test name. */
export function resolveMethod(world: World, id: string, param?: string): PaymentMethod {
  if (cardNamed(id)) return newMethod(world, id)
  if (id.startsWith('tok_') && cardNamed(`pm_card_${id.slice(4)}`))
    return newMethod(world, `pm_card_${id.slice(4)}`)
  return world.need('payment_method', id, param)
}

/** Saves a method to a customer; cards that decline at once cannot be saved. */
export function attach(world: World, method: PaymentMethod, customerId: string): PaymentMethod {
  if (method.customer === customerId) return method
  if (method.customer !== null)
    throw refused(
      'The payment method you provided has already been attached to a customer.',
      'payment_method_unexpected_state',
    )
  const card = isTestCard(method)
  if (card.decline && !card.attaches) throw cardError(card)
  const attached = world.update('payment_method', method.id, { customer: customerId })
  world.emit('payment_method.attached', attached)
  return attached
}
