/** The record of every run of a duty (law 11). */
import type { Queryable } from './connect.ts'

/** Runs a duty and records that it ran, when, and with what result; a failed run has no end. */
export async function recorded<T extends Record<string, number>>(
  database: Queryable,
  duty: string,
  work: () => Promise<T>,
): Promise<T> {
  const { rows } = await database.query<{ id: string }>(
    'insert into duty_run (duty) values ($1) returning id',
    [duty],
  )
  const result = await work()
  await database.query('update duty_run set finished_at = clock_timestamp(), result = $2 where id = $1', [
    rows[0]?.id,
    JSON.stringify(result),
  ])
  return result
}

/** Now, in machine time, as exact as Postgres has it: to be given back to Postgres, not to be reckoned with. */
export async function machineNow(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ now: string }>('select clock_timestamp()::text as now')
  const now = rows[0]?.now
  if (now === undefined) throw new Error('Postgres did not tell the time')
  return now
}

/** Owners that have something to do at some time: their workflow must exist. In order, from `after` on. */
export async function ownersWithDeadline(
  database: Queryable,
  after: string,
  limit: number,
): Promise<string[]> {
  const { rows } = await database.query<{ owner: string }>(
    `select owner from (
       select id as owner from subscription where deadline_at is not null
       union all
       select 'checkout/' || id from checkout where deadline_at is not null or state in ('opening', 'open')
       union all
       select 'topup/' || account_id from top_up where deadline_at is not null
       union all
       select 'approval/' || id from approval where state in ('pending', 'approved')
     ) owners where owner > $1 order by owner limit $2`,
    [after, limit],
  )
  return rows.map((row) => row.owner)
}
