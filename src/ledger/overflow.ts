/** The end of what a balance can hold: Postgres refuses a larger sum, and nothing is written. */
import { Refusal } from '../domain/error.ts'

/** What an overflow in Postgres refuses; undefined for every other failure. */
export function overflowOf(error: unknown): Refusal | undefined {
  const overflows = error instanceof Error && 'code' in error && error.code === '22003'
  return overflows ? new Refusal('balance_limit', 'no account can have or owe that many credits') : undefined
}
