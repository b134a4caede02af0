/** Events in the inbox whose owner is not known: they came in another API version, and their object is to be read again. */
import type { Queryable } from './connect.ts'

export interface UnreadEvent {
  eventId: string
  type: string
  objectId: string | null
}

/**
 * Takes events whose object is to be read, oldest due first, and puts each off: 2 s, 4 s, … up to an hour. Two sweepers
 * never take the same event.
 * @param before machine time: those that were put off since are left alone
 */
export async function dueUnread(database: Queryable, before: string, limit: number): Promise<UnreadEvent[]> {
  const { rows } = await database.query<{ event_id: string; type: string; object_id: string | null }>(
    `with due as (
       select event_id from processed_webhook_events
        where settled_at is null and parked_at is null and owner is null and next_attempt_at <= $1
        order by next_attempt_at, event_id limit $2 for update skip locked
     )
     update processed_webhook_events e
        set wakes = e.wakes + 1,
            next_attempt_at = clock_timestamp()
              + least(interval '1 hour', interval '2 seconds' * power(2, least(e.wakes, 20)))
       from due where e.event_id = due.event_id
     returning e.event_id, e.type, e.object_id`,
    [before, limit],
  )
  return rows.map((row) => ({ eventId: row.event_id, type: row.type, objectId: row.object_id }))
}

/** Notes whose these events are; from now on they are like any other, and due. @param owner null: nobody's, they are settled */
export async function giveOwner(
  database: Queryable,
  eventIds: string[],
  owner: string | null,
): Promise<void> {
  await database.query(
    `update processed_webhook_events
        set owner = $2, wakes = 0, next_attempt_at = received_at,
            settled_at = case when $2::text is null then clock_timestamp() end
      where event_id = any($1) and owner is null and settled_at is null`,
    [eventIds, owner],
  )
}
