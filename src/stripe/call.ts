/**
 * How calls that change something in Stripe are made so that a lost answer does no harm. Gateways say what is made and
 * how it is found again; who remembers is passed in (`activities/calls.ts`), because it takes a database.
 */
import Stripe from 'stripe'
import type { Instant } from '../domain/calendar.ts'

interface Call<T> {
  /** from `stripeKey`: what is made or set */
  key: string
  kind: string
  /** what it is about: an id */
  subject: string
  send: (idempotencyKey: string) => Promise<T>
}

export interface Making<T extends { id: string }> extends Call<T> {
  /** What an earlier answer named. */
  read: (id: string) => Promise<T | undefined>
  /** Whether what was made is of no use any more, and another one is to be made. */
  isOver?: (made: T) => boolean
  /** What was made since, found by what it says of itself: by Stripe's lists, never by its search, which lags. */
  find: (since: Instant) => Promise<T | undefined>
}

export interface Calls {
  /** Makes an object once, whatever becomes of the answers, also after Stripe has forgotten the key. */
  make: <T extends { id: string }>(making: Making<T>) => Promise<T>
  /** Sets a state. Whoever calls has looked at it first, and looks again when this fails. */
  set: <T>(setting: Call<T>) => Promise<T>
}

/** Each under its plain key, with nothing remembered: for tests of one call, and for who makes none. */
export const FORGETFUL: Calls = {
  make: ({ key, send }) => send(key),
  set: ({ key, send }) => send(key),
}

/** Nobody knows whether Stripe did it. It is to be looked at and, if it is not so, asked for again under another key. */
export class OutcomeUnknown extends Error {
  override name = 'OutcomeUnknown'
}

/**
 * Whether a key will not do what is wanted any more: Stripe repeats a failure of its own under it for a day, or has seen
 * it with other parameters. Neither says what became of what was asked for first.
 */
export function isSpent(error: unknown): boolean {
  // docs.stripe.com/api/idempotent_requests: the first answer is repeated, whatever it was
  return (
    error instanceof Stripe.errors.StripeIdempotencyError ||
    (error instanceof Stripe.errors.StripeError &&
      (error.statusCode ?? 0) >= 500 &&
      error.headers?.['idempotent-replayed'] === 'true')
  )
}
