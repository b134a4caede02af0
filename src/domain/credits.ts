/** Amounts of credits: exact decimals with at most 8 places, strings wherever they travel (law 12). */
import { Decimal } from 'decimal.js'
import { Refusal } from './error.ts'

/** 60 digits hold credits × quantity × money without loss; what must be rounded is rounded down on purpose. */
export const Exact = Decimal.clone({
  precision: 60,
  rounding: Decimal.ROUND_DOWN,
  toExpNeg: -40,
  toExpPos: 40,
})
export type Exact = Decimal

export const CREDIT_PLACES = 8
/** The largest amount of one operation. `numeric(24, 8)` holds ten times as much for balances. */
export const CREDITS_MAX = '1000000000000000'

/** Parsed once: every spend is compared with it. */
const MOST = new Exact(CREDITS_MAX)

const PLAIN = /^(0|[1-9]\d{0,15})(\.\d{1,8})?$/

/**
 * Reads a positive amount of credits: plain decimal notation, at most 8 places, at most `CREDITS_MAX`.
 * @throws Refusal `credits_invalid` that says what is wrong
 */
export function parseCredits(text: string): Exact {
  if (!PLAIN.test(text)) {
    throw new Refusal(
      'credits_invalid',
      `an amount of credits is a plain decimal with at most ${CREDIT_PLACES} places, such as "12.5"`,
    )
  }
  const amount = new Exact(text)
  if (amount.isZero()) throw new Refusal('credits_invalid', 'an amount of credits must be above zero')
  if (amount.gt(MOST)) throw new Refusal('credits_invalid', `an amount of credits is at most ${CREDITS_MAX}`)
  return amount
}

/** The one way to write credits: plain notation without trailing zeros ("12.5", "0.00000001", "-3"). */
export function formatCredits(amount: Exact | string): string {
  if (typeof amount === 'string' && !PLAIN_STORED.test(amount)) return formatCredits(new Exact(amount))
  const text = typeof amount === 'string' ? amount.replace(TRAILING_ZEROS, '') : amount.toFixed()
  return text === '-0' ? '0' : text
}

/** How Postgres writes a `numeric`: no more than a cut is needed, which spends are in too great a hurry to divide. */
const PLAIN_STORED = /^-?(0|[1-9]\d*)\.\d+$/
const TRAILING_ZEROS = /\.?0+$/
