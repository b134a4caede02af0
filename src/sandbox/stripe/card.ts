// Stripe's test cards by the names of their payment methods: what they look like and how they behave.
import { createHash } from 'node:crypto'
import { StripeFault } from './error.ts'
import type { PaymentMethod } from './wire.ts'

export interface TestCard {
  brand: string
  last4: string
  funding: 'credit' | 'debit' | 'prepaid'
  country: string
  /** The decline of every charge; `attaches` tells whether saving the card works all the same. */
  decline?: { code: string; decline_code: string; message: string }
  attaches?: boolean
  authentication?: 'always' | 'unless_saved'
}

const visa = { brand: 'visa', funding: 'credit', country: 'US' } as const
const generic = 'Your card was declined.'

function declined(last4: string, decline_code: string, message = generic, code = 'card_declined'): TestCard {
  return { ...visa, last4, decline: { code, decline_code, message } }
}

export const cards: Record<string, TestCard> = {
  pm_card_visa: { ...visa, last4: '4242' },
  pm_card_visa_debit: { ...visa, last4: '5556', funding: 'debit' },
  pm_card_mastercard: { ...visa, brand: 'mastercard', last4: '4444' },
  pm_card_mastercard_debit: { ...visa, brand: 'mastercard', last4: '8210', funding: 'debit' },
  pm_card_mastercard_prepaid: { ...visa, brand: 'mastercard', last4: '5100', funding: 'prepaid' },
  pm_card_amex: { ...visa, brand: 'amex', last4: '8431' },
  pm_card_discover: { ...visa, brand: 'discover', last4: '9424' },
  pm_card_diners: { ...visa, brand: 'diners', last4: '0004' },
  pm_card_jcb: { ...visa, brand: 'jcb', last4: '0505', country: 'JP' },
  pm_card_unionpay: { ...visa, brand: 'unionpay', last4: '0005', country: 'CN' },
  pm_card_de: { ...visa, last4: '0016', country: 'DE' },
  pm_card_gb: { ...visa, last4: '0003', country: 'GB' },
  pm_card_chargeDeclined: declined('0002', 'generic_decline'),
  pm_card_visa_chargeDeclined: declined('0002', 'generic_decline'),
  pm_card_chargeDeclinedInsufficientFunds: declined(
    '9995',
    'insufficient_funds',
    'Your card has insufficient funds.',
  ),
  pm_card_visa_chargeDeclinedInsufficientFunds: declined(
    '9995',
    'insufficient_funds',
    'Your card has insufficient funds.',
  ),
  pm_card_chargeDeclinedLostCard: declined('9987', 'lost_card'),
  pm_card_visa_chargeDeclinedLostCard: declined('9987', 'lost_card'),
  pm_card_chargeDeclinedStolenCard: declined('9979', 'stolen_card'),
  pm_card_visa_chargeDeclinedStolenCard: declined('9979', 'stolen_card'),
  pm_card_chargeDeclinedFraudulent: declined('0019', 'fraudulent'),
  pm_card_chargeDeclinedExpiredCard: declined(
    '0069',
    'expired_card',
    'Your card has expired.',
    'expired_card',
  ),
  pm_card_chargeDeclinedIncorrectCvc: declined(
    '0127',
    'incorrect_cvc',
    "Your card's security code is incorrect.",
    'incorrect_cvc',
  ),
  pm_card_chargeDeclinedProcessingError: declined(
    '0119',
    'processing_error',
    'An error occurred while processing your card. Try again in a little bit.',
    'processing_error',
  ),
  pm_card_chargeCustomerFail: { ...declined('0341', 'generic_decline'), attaches: true },
  pm_card_visa_chargeCustomerFail: { ...declined('0341', 'generic_decline'), attaches: true },
  pm_card_authenticationRequired: { ...visa, last4: '3184', authentication: 'always' },
  pm_card_threeDSecure2Required: { ...visa, last4: '3220', authentication: 'always' },
  pm_card_authenticationRequiredOnSetup: { ...visa, last4: '3155', authentication: 'unless_saved' },
  pm_card_createDispute: { ...visa, last4: '0259' },
  pm_card_createDisputeInquiry: { ...visa, last4: '1976' },
  pm_card_refundFail: { ...visa, last4: '3055' },
  pm_card_pendingRefund: { ...visa, last4: '7726' },
}

/** `tok_visa` and its like name the same cards. */
export function cardNamed(name: string): TestCard | undefined {
  return Object.hasOwn(cards, name) ? cards[name] : undefined
}

/** The same number has the same fingerprint, whoever holds it. */
export function fingerprintOf(card: TestCard): string {
  const text = createHash('sha256').update(`${card.brand}/${card.last4}/${card.country}`).digest('base64')
  return text.replaceAll(/[+/=]/g, '').slice(0, 16)
}

export function networkOf(card: TestCard): string {
  return card.brand
}

export function cardError(card: TestCard, extra: Record<string, unknown> = {}): StripeFault {
  const { code, decline_code, message } = card.decline ?? {
    code: 'authentication_required',
    decline_code: 'authentication_required',
    message: 'Your card was declined. This transaction requires authentication.',
  }
  return new StripeFault(
    402,
    {
      type: 'card_error',
      code,
      ...(code === 'card_declined' || code === 'authentication_required' ? { decline_code } : {}),
      message,
      ...extra,
    },
    true,
  )
}

export function isTestCard(method: PaymentMethod): TestCard {
  return cardNamed(method._card) ?? { ...visa, last4: '4242' }
}
