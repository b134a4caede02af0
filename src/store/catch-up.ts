/**
 * How far Stripe's event list was compared with the inbox. A pass goes from the newest event back to where the one before
 * it began; how far it got is kept page by page, so that whoever goes on with it reads nothing twice.
 */
import type { Instant } from '../domain/calendar.ts'
import { LISTED_DAYS, passFrom } from '../domain/catch-up.ts'
import type { InboxEvent } from '../domain/event.ts'
import { raiseAlert } from './alert.ts'
import { type Pool, type Queryable, transaction } from './connect.ts'

/** The alert that events may have been missed for good; its subject is the duty. */
const GAP = 'stripe_events_gap'

/** A pass under way. Times are Stripe's. */
export interface Pass {
  number: string
  /** it ends at events older than this */
  from: Instant
  /** the newest event that it met; null: none yet */
  newest: Instant | null
  /** the event that it got to; null: it begins */
  after: string | null
}

/**
 * Goes on with the pass that is under way, or begins one. When the last whole pass is longer ago (machine time) than
 * Stripe lists events, an alert says so: what was lost before is no longer there to be found.
 */
export async function beginPass(pool: Pool): Promise<Pass> {
  return await transaction(pool, async (client) => {
    const { rows } = await client.query<{
      compared_until: Date | null
      passed_at: Date | null
      late: boolean | null
      now: Date
      pass: string
      pass_from: Date | null
      pass_newest: Date | null
      pass_after: string | null
    }>(
      `select compared_until, passed_at, passed_at < clock_timestamp() - $1 * interval '1 day' as late,
              business_now() as now, pass, pass_from, pass_newest, pass_after
         from catch_up for update`,
      [LISTED_DAYS],
    )
    const [row] = rows
    if (row === undefined) throw new Error('the row of catch_up is gone')
    if (row.late === true) {
      const since = row.passed_at?.toISOString() ?? ''
      const detail = `the last whole comparison ended ${since}, and Stripe lists events for ${LISTED_DAYS} days`
      await raiseAlert(client, GAP, 'catch_up', detail)
    }
    if (row.pass_from !== null) {
      const newest = row.pass_newest?.toISOString() ?? null
      return { number: row.pass, from: row.pass_from.toISOString(), newest, after: row.pass_after }
    }
    const from = passFrom(row.compared_until?.toISOString() ?? null, row.now.toISOString())
    const begun = await client.query<{ pass: string }>(
      'update catch_up set pass = pass + 1, pass_from = $1 returning pass',
      [from],
    )
    return { number: begun.rows[0]?.pass ?? row.pass, from, newest: null, after: null }
  })
}

/**
 * Notes how far a pass has got.
 * @returns the pass as it is now; undefined when somebody else has gone on with it, who is to be left alone
 */
export async function advancePass(
  database: Queryable,
  pass: Pass,
  got: { newest: Instant | null; after: string },
): Promise<Pass | undefined> {
  const { rowCount } = await database.query(
    `update catch_up set pass_newest = $3, pass_after = $4
      where pass = $1 and pass_from is not null and pass_after is not distinct from $2`,
    [pass.number, pass.after, got.newest, got.after],
  )
  return rowCount === 1 ? { ...pass, ...got } : undefined
}

/**
 * Ends a pass that has met everything: the next goes back to the newest event of this one, and never further forward.
 * @returns false when somebody else has gone on with it
 */
export async function finishPass(database: Queryable, pass: Pass, newest: Instant | null): Promise<boolean> {
  const { rowCount } = await database.query(
    `update catch_up
        set compared_until = greatest(compared_until, $3), passed_at = clock_timestamp(),
            pass_from = null, pass_newest = null, pass_after = null
      where pass = $1 and pass_from is not null and pass_after is not distinct from $2`,
    [pass.number, pass.after, newest],
  )
  return rowCount === 1
}

/**
 * Stores those of some events that are not in the inbox, each once, also beside deliveries at the same moment.
 * @returns the ids of those that were missing
 */
export async function storeMissing(database: Queryable, events: InboxEvent[]): Promise<string[]> {
  const { rows } = await database.query<{ event_id: string }>(
    // in the order of their ids, so that two who store the same wait for each other and never in a circle
    `insert into processed_webhook_events
       (event_id, type, api_version, livemode, object_id, owner, payload, created_at, settled_at)
     select id, type, "apiVersion", livemode, "objectId", owner, payload, created,
            case when owner is null and not unread then clock_timestamp() end
       from jsonb_to_recordset($1) as event (id text, type text, "apiVersion" text, livemode boolean,
              "objectId" text, owner text, payload jsonb, created timestamptz, unread boolean)
      order by id
     on conflict (event_id) do nothing
     returning event_id`,
    [JSON.stringify(events)],
  )
  return rows.map((row) => row.event_id)
}

/** Those of some events that are not in the inbox; changes nothing. */
export async function missingOf(database: Queryable, events: InboxEvent[]): Promise<string[]> {
  const { rows } = await database.query<{ id: string }>(
    `select id from unnest($1::text[]) id
      where not exists (select from processed_webhook_events where event_id = id)`,
    [events.map(({ id }) => id)],
  )
  return rows.map((row) => row.id)
}
