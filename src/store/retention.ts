/** What is forgotten, and when. Machine time: how long a thing is kept has nothing to do with business time. */
import type { Queryable } from './connect.ts'

/**
 * Finished commands go this many days after they were finished, with what they were answered: from then on their
 * Idempotency-Key is a new key. That is long after any caller still retries, and what a command has done is guarded
 * by keys that never age (postings, payments, orders). A pending command never goes: somebody may still wait for it.
 * Records of duties go this many days after they were begun, and calls to Stripe after they were answered: by then what
 * they made is written down where it belongs.
 */
export const RETENTION_DAYS = 30

/** Deletes up to `limit` commands that are over, with their replies. @returns how many */
export function forgetCommands(database: Queryable, limit: number): Promise<number> {
  return forget(
    database,
    `delete from command where id in (
       select id from command
        where state <> 'pending' and finished_at < clock_timestamp() - $1 * interval '1 day'
        order by finished_at limit $2 for update skip locked)`,
    limit,
  )
}

/** Deletes up to `limit` records of runs of duties. @returns how many */
export function forgetDutyRuns(database: Queryable, limit: number): Promise<number> {
  return forget(
    database,
    `delete from duty_run where id in (
       select id from duty_run where started_at < clock_timestamp() - $1 * interval '1 day'
        order by started_at limit $2 for update skip locked)`,
    limit,
  )
}

/** Deletes up to `limit` calls to Stripe that were answered. One whose outcome is unknown stays. @returns how many */
export function forgetStripeCalls(database: Queryable, limit: number): Promise<number> {
  return forget(
    database,
    `delete from stripe_call where key in (
       select key from stripe_call where answered_at < clock_timestamp() - $1 * interval '1 day'
        order by answered_at limit $2 for update skip locked)`,
    limit,
  )
}

/**
 * Notices stay this many days, with what became of their deliveries: longer than anything tells about the same fact
 * again, because their rows are what it is known by. What still waits to be sent stays until it was.
 */
export const NOTICE_DAYS = 400

/** Deletes up to `limit` notices that are over, with their deliveries. @returns how many */
export async function forgetNotices(database: Queryable, limit: number): Promise<number> {
  const { rowCount } = await database.query(
    `delete from notice where id in (
       select id from notice n
        where recorded_at < clock_timestamp() - $1 * interval '1 day'
          and not exists (select from notice_delivery d where d.notice_id = n.id and d.finished_at is null)
        order by recorded_at limit $2)`,
    [NOTICE_DAYS, limit],
  )
  return rowCount ?? 0
}

async function forget(database: Queryable, sql: string, limit: number): Promise<number> {
  const { rowCount } = await database.query(sql, [RETENTION_DAYS, limit])
  return rowCount ?? 0
}
