/**
 * The inbox of signed events (law 5): each once by its id, until a run of its owner has observed after it. Rows are
 * hints; nothing here decides about credits. Times are machine times.
 */
import type { InboxEvent } from '../domain/event.ts'
import type { Queryable } from './connect.ts'
import { resolveAlert } from './alert.ts'

/** What became of a delivery. */
export interface Stored {
  /** first delivery of this event */
  fresh: boolean
  /** nobody has been woken for it yet, and somebody should be */
  wake: boolean
}

/** The alert of a parked event; its subject is the event's id. */
export const PARKED = 'event_parked'

/** Stores an event once. A second delivery, also at the same moment, changes nothing. */
export async function storeEvent(database: Queryable, event: InboxEvent): Promise<Stored> {
  const { rowCount } = await database.query({
    name: 'inbox_store',
    text: `insert into processed_webhook_events
             (event_id, type, api_version, livemode, object_id, owner, payload, created_at, settled_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, case when $6::text is null and not $9 then clock_timestamp() end)
           on conflict (event_id) do nothing`,
    values: [
      event.id,
      event.type,
      event.apiVersion,
      event.livemode,
      event.objectId,
      event.owner,
      JSON.stringify(event.payload),
      event.created,
      event.unread,
    ],
  })
  if (rowCount === 1) return { fresh: true, wake: event.owner !== null }
  const { rows } = await database.query<{ wake: boolean }>(
    `select owner is not null and signalled_at is null and settled_at is null and parked_at is null as wake
       from processed_webhook_events where event_id = $1`,
    [event.id],
  )
  return { fresh: false, wake: rows[0]?.wake ?? false }
}

/** Notes that the owners of these events were woken, and gives them half a minute before the sweeper asks again. */
export async function markSignalled(database: Queryable, eventIds: string[]): Promise<void> {
  await database.query(
    `update processed_webhook_events
        set signalled_at = clock_timestamp(),
            next_attempt_at = greatest(next_attempt_at, clock_timestamp() + interval '30 seconds')
      where event_id = any($1) and signalled_at is null`,
    [eventIds],
  )
}

/** Events that a run of this owner has still to observe after, those that were set aside among them. */
export async function unsettledFor(
  database: Queryable,
  owner: string,
): Promise<{ eventId: string; type: string; objectId: string | null }[]> {
  const { rows } = await database.query<{ event_id: string; type: string; object_id: string | null }>(
    // in two halves, so that each finds its partial index; in one it would read the whole inbox
    `select event_id, type, object_id from (
       select event_id, type, object_id, received_at from processed_webhook_events
        where owner = $1 and settled_at is null and parked_at is null
       union all
       select event_id, type, object_id, received_at from processed_webhook_events
        where owner = $1 and settled_at is null and parked_at is not null
     ) unsettled order by received_at, event_id`,
    [owner],
  )
  return rows.map((row) => ({ eventId: row.event_id, type: row.type, objectId: row.object_id }))
}

/**
 * A run has observed after these events and nothing was left to do. What had been set aside is done with, too, and its
 * alert is closed.
 */
export async function settle(database: Queryable, eventIds: string[]): Promise<void> {
  if (eventIds.length === 0) return
  const { rows } = await database.query<{ event_id: string; parked: boolean }>(
    `update processed_webhook_events set settled_at = clock_timestamp()
      where event_id = any($1) and settled_at is null returning event_id, parked_at is not null as parked`,
    [eventIds],
  )
  for (const { event_id, parked } of rows) if (parked) await resolveAlert(database, PARKED, event_id)
}

/** An event whose owner is to be woken. */
export interface DueEvent {
  eventId: string
  type: string
  owner: string
}

/** An event that something is to be done about. */
export interface TakenEvent {
  eventId: string
  type: string
  objectId: string | null
  owner: string | null
}

/**
 * Takes events that are due, oldest due first, and puts each off: 2 s, 4 s, … up to an hour. Two who take at once never
 * take the same event.
 * @param whose a condition that one of the partial indexes has
 * @param before machine time: those that were put off since are left alone; undefined: now
 */
export async function takeDue(
  database: Queryable,
  whose: 'owner is null' | 'owner is not null',
  limit: number,
  before: string | undefined,
): Promise<TakenEvent[]> {
  const { rows } = await database.query<TakenEvent>(
    `with due as (
       select event_id from processed_webhook_events
        where settled_at is null and parked_at is null and ${whose}
          and next_attempt_at <= coalesce($2::timestamptz, clock_timestamp())
        order by next_attempt_at, event_id limit $1 for update skip locked
     )
     update processed_webhook_events e
        set wakes = e.wakes + 1,
            next_attempt_at = clock_timestamp()
              + least(interval '1 hour', interval '2 seconds' * power(2, least(e.wakes, 20)))
       from due where e.event_id = due.event_id
     returning e.event_id as "eventId", e.type, e.object_id as "objectId", e.owner`,
    [limit, before],
  )
  return rows
}

/** Takes events whose owner is to be woken (again); `takeDue` says how. */
export async function dueEvents(database: Queryable, limit: number, before?: string): Promise<DueEvent[]> {
  const taken = await takeDue(database, 'owner is not null', limit, before)
  return taken.map(({ eventId, type, owner }) => ({ eventId, type, owner: owner ?? '' }))
}

/**
 * Sets events aside for a person, each with an alert in the same statement. Those that are parked or settled already
 * are left alone.
 * @returns the ids of the events parked now
 */
export async function park(database: Queryable, eventIds: string[], reason: string): Promise<string[]> {
  const { rows } = await database.query<{ event_id: string }>(
    `with parked as (
       update processed_webhook_events set parked_at = clock_timestamp(), parked_reason = $2
        where event_id = any($1) and parked_at is null and settled_at is null
        returning event_id, type
     ), raised as (
       insert into alert (kind, subject, detail) select $3, event_id, type || ': ' || $2 from parked
       on conflict (kind, subject) where resolved_at is null
       do update set times = alert.times + 1, last_at = clock_timestamp(), detail = excluded.detail
     )
     select event_id from parked`,
    [eventIds, reason, PARKED],
  )
  return rows.map((row) => row.event_id)
}

/**
 * A pass of this owner failed: counts an attempt on every event that it was to settle, and parks those that have seen
 * too many. Wakes that nobody answered do not count: an outage of ours or of Stripe's poisons no event.
 * @returns the ids of the events parked now
 */
export async function countFailedPass(
  database: Queryable,
  owner: string,
  reason: string,
  attemptsMax: number,
): Promise<string[]> {
  const { rows } = await database.query<{ event_id: string }>(
    `with counted as (
       update processed_webhook_events set attempts = attempts + 1
        where owner = $1 and settled_at is null and parked_at is null returning event_id, attempts)
     select event_id from counted where attempts >= $2`,
    [owner, attemptsMax],
  )
  const ids = rows.map((row) => row.event_id)
  return ids.length === 0 ? [] : park(database, ids, `not settled after ${attemptsMax} attempts: ${reason}`)
}

/**
 * Gives a parked event back to the sweeper, with fresh attempts, and closes its alert.
 * @returns false when there is no such parked event
 */
export async function unparkEvent(database: Queryable, eventId: string): Promise<boolean> {
  const { rowCount } = await database.query(
    `update processed_webhook_events
        set parked_at = null, parked_reason = null, attempts = 0, wakes = 0, next_attempt_at = clock_timestamp()
      where event_id = $1 and parked_at is not null`,
    [eventId],
  )
  await resolveAlert(database, PARKED, eventId)
  return rowCount === 1
}

export interface InboxCounts {
  /** waiting for a run of their owner */
  backlog: number
  /** set aside for a person */
  parked: number
}

/** How much of the inbox is not settled. */
export async function countInbox(database: Queryable): Promise<InboxCounts> {
  const { rows } = await database.query<InboxCounts>(
    `select (select count(*)::int from processed_webhook_events
              where settled_at is null and parked_at is null) as backlog,
            (select count(*)::int from processed_webhook_events
              where settled_at is null and parked_at is not null) as parked`,
  )
  return rows[0] ?? { backlog: 0, parked: 0 }
}

/** How many events of each type came that nobody handles. */
export async function countUnhandled(database: Queryable): Promise<{ type: string; events: number }[]> {
  const { rows } = await database.query<{ type: string; events: number }>(
    `select type, count(*)::int as events from processed_webhook_events
      where owner is null and settled_at is not null group by type order by type`,
  )
  return rows
}

/** Events that were set aside, oldest first. */
export async function parkedEvents(
  database: Queryable,
  limit: number,
): Promise<{ eventId: string; type: string; owner: string | null; reason: string }[]> {
  const { rows } = await database.query<{
    event_id: string
    type: string
    owner: string | null
    parked_reason: string
  }>(
    `select event_id, type, owner, parked_reason from processed_webhook_events
      where parked_at is not null and settled_at is null order by parked_at limit $1`,
    [limit],
  )
  return rows.map((row) => ({
    eventId: row.event_id,
    type: row.type,
    owner: row.owner,
    reason: row.parked_reason,
  }))
}
