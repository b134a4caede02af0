/** The words that Stripe has for how a subscription stands. */

/** Of subscriptions that Stripe will never bill again. */
export const ENDED = ['canceled', 'incomplete_expired']

/** Whether Stripe will never bill this subscription again. */
export function hasEnded(status: string): boolean {
  return ENDED.includes(status)
}

const PAID_FOR = new Set(['active', 'trialing', 'past_due'])

/** Whether a subscription goes before a free plan: paid, tried before paying, or about to be paid. */
export function isPaidFor(status: string): boolean {
  return PAID_FOR.has(status)
}
