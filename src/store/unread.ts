/** Events in the inbox whose owner is not known: they came in another API version, and their object is to be read again. */
import type { Queryable } from './connect.ts'
import { type TakenEvent, takeDue } from './inbox.ts'

/** Takes events whose object is to be read; `takeDue` says how. */
export function dueUnread(database: Queryable, before: string, limit: number): Promise<TakenEvent[]> {
  return takeDue(database, 'owner is null', limit, before)
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
