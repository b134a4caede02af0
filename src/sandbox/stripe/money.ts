// Where an exact amount becomes what Stripe's JSON has: an integer of minor units. Nothing is reckoned with it after that.
import { Decimal } from 'decimal.js'

/** Rounds half up. @throws Error when the integer would not survive JSON */
export function minorUnits(amount: Decimal): number {
  const whole = Number.parseInt(amount.toFixed(0, Decimal.ROUND_HALF_UP), 10)
  if (!Number.isSafeInteger(whole)) throw new Error(`an amount that JSON cannot hold: ${amount.toFixed()}`)
  return whole
}
