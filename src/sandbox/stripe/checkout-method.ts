// Which payment methods a Checkout page offers.
import { debitFor } from './bank-debit.ts'
import { invalid, type StripeFault } from './error.ts'

/**
 * Cards, and the bank debit of the currency for one-time payments; the two parameters only take away from them.
 * docs.stripe.com/payments/payment-methods/dynamic-payment-methods
 */
export function offered(
  mode: string,
  currency: string | null,
  allowed: string[] | undefined,
  excluded: string[] | undefined,
): string[] {
  const debit = mode === 'payment' ? debitFor(currency)?.type : undefined
  return ['card', ...(debit === undefined ? [] : [debit])].filter(
    (type) => (allowed?.includes(type) ?? true) && excluded?.includes(type) !== true,
  )
}

export function notOffered(): StripeFault {
  return invalid('No valid payment method types for this Checkout Session.', 'allowed_payment_method_types')
}
