/** The buckets of Stripe's rate limits, shared by the fleet: one of the account and one an endpoint. Machine time. */
import type { Queryable } from './connect.ts'

/** The bucket that every call needs. */
export const ACCOUNT_BUCKET = 'account'

/**
 * Stripe refused for the rate: nobody goes through this bucket for a while that doubles.
 * @returns how long, in milliseconds
 */
export async function emptyBucket(database: Queryable, bucket: string): Promise<number> {
  const { rows } = await database.query<{ wait_ms: number }>('select stripe_refused($1) as wait_ms', [bucket])
  return rows[0]?.wait_ms ?? 0
}

/** The buckets that keep callers waiting now, with how long in milliseconds and how often Stripe refused in a row. */
export async function waitingBuckets(
  database: Queryable,
): Promise<{ name: string; waitMs: number; refusals: number }[]> {
  const { rows } = await database.query<{ name: string; waitMs: number; refusals: number }>(
    `select name, refusals,
            ceil(extract(epoch from full_at - interval '250 milliseconds' - clock_timestamp()) * 1000)::int as "waitMs"
       from stripe_bucket
      where full_at - interval '250 milliseconds' > clock_timestamp() order by name`,
  )
  return rows
}
