/**
 * The circuit breaker of the calls to Stripe, one for the whole fleet, on machine time. The functions of migration 0018
 * decide; here is how they are asked. An API process never asks: it makes no call.
 */
import type { Queryable } from './connect.ts'
import { ACCOUNT_BUCKET, emptyBucket } from './stripe-bucket.ts'

/** The alert while the breaker is not closed; its subject is `stripe`. */
export const UNAVAILABLE = 'stripe_unavailable'

export type CircuitState = 'closed' | 'open' | 'half_open'

export interface BreakerState {
  /** `half_open`: one call is on its way to see whether Stripe answers again */
  state: CircuitState
  /** how often it opened, ever */
  trips: string
  /** null: closed */
  openedAt: Date | null
  /** open: when the next probe may go; half open: when the probe's lease ends; null: closed */
  retryAt: Date | null
  /** the last outage that opened it or kept it open; never personal data */
  lastReason: string | null
}

/** The breaker as it is now. One primary-key read. */
export async function readBreaker(database: Queryable): Promise<BreakerState> {
  const { rows } = await database.query<BreakerState>(
    `select state, trips, opened_at as "openedAt", retry_at as "retryAt", last_reason as "lastReason"
       from circuit_breaker where name = 'stripe'`,
  )
  const [row] = rows
  if (row === undefined) throw new Error('the breaker of Stripe has no row: run perennial migrate')
  return row
}

/** How many calls a second may go to Stripe: of the whole account, and to one endpoint. */
export interface CallRates {
  account: number
  endpoint: number
}

/** What became of asking for a call; the wait is in milliseconds. */
export interface Admitted {
  /**
   * `go`, `probe`: after a wait of at most a second. `busy`: a bucket is empty. `open`: Stripe is away; the wait is until
   * the next probe.
   */
  outcome: 'go' | 'probe' | 'busy' | 'open'
  /** what the report of this call names: the breaker has changed when it is another by then */
  epoch: string
  waitMs: number
}

/**
 * Asks for one call, in one round trip.
 * @param endpoint method and route, ids left out
 * @param answered calls that Stripe answered since this process asked last, and their epoch
 */
export async function admitCall(
  database: Queryable,
  endpoint: string,
  rates: CallRates,
  answered: { calls: number; epoch: string },
): Promise<Admitted> {
  const { rows } = await database.query<Admitted>({
    name: 'stripe_admit',
    text: 'select outcome, epoch, wait_ms as "waitMs" from stripe_admit($1, $2, $3, $4, $5)',
    values: [endpoint, rates.account, rates.endpoint, answered.calls, answered.epoch],
  })
  return rows[0] as Admitted
}

/**
 * Reports an outage, or the answer that a probe got.
 * @param outage why it is one, without personal data; null when Stripe answered
 * @param answered other calls of the same epoch that were answered and not counted yet
 */
export async function reportCall(
  database: Queryable,
  epoch: string,
  outage: string | null,
  answered: number,
): Promise<{ state: CircuitState; waitMs: number | null }> {
  const { rows } = await database.query<{ state: CircuitState; waitMs: number | null }>(
    'select state, wait_ms as "waitMs" from stripe_report($1, $2, $3)',
    [epoch, outage, answered],
  )
  return rows[0] as { state: CircuitState; waitMs: number | null }
}

/** All of it for the door to Stripe, which knows no database. */
export function createAdmission(database: Queryable, rates: CallRates) {
  return {
    admit: (endpoint: string, answered: { calls: number; epoch: string }) =>
      admitCall(database, endpoint, rates, answered),
    report: (epoch: string, outage: string | null, answered: number) =>
      reportCall(database, epoch, outage, answered),
    refused: (endpoint: string | undefined) => emptyBucket(database, endpoint ?? ACCOUNT_BUCKET),
  }
}
