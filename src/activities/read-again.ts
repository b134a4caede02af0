/**
 * Events that came in another API version: nothing is taken from them but the id of what they tell of. It is read again
 * as it is now, in our version, to know whose it is; from then on they are like any other.
 */
import type { Pool } from '../store/connect.ts'
import { park, type TakenEvent } from '../store/inbox.ts'
import { dueUnread, giveOwner } from '../store/unread.ts'
import type { EventGateway } from '../stripe/event-list.ts'
import { refusalOf } from './translate.ts'

const PAGE = 200

/**
 * Reads each object once for all its events. What Stripe will always refuse is parked.
 * @param before machine time: events that were put off since are left alone
 * @returns how many events have been read
 * @throws when Stripe does not answer: the rest is put off
 */
export async function readAgain(
  { pool, events }: { pool: Pool; events: Pick<EventGateway, 'ownerNow'> },
  before: string,
  isOver: () => boolean,
): Promise<number> {
  for (let read = 0; ; ) {
    const due = await dueUnread(pool, before, PAGE)
    if (due.length === 0) return read
    // a type is read in one way, so the type belongs to what is read
    const about = new Map<string, TakenEvent[]>()
    for (const event of due) {
      const key = `${event.type} ${event.objectId}`
      about.set(key, [...(about.get(key) ?? []), event])
    }
    for (const same of about.values()) {
      const [{ type, objectId } = { type: '', objectId: null }] = same
      const ids = same.map(({ eventId }) => eventId)
      try {
        const owner = objectId === null ? null : await events.ownerNow(type, objectId)
        await giveOwner(pool, ids, owner)
        read += ids.length
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === undefined) throw error
        await park(pool, ids, refusal.detail)
      }
      if (isOver()) return read
    }
  }
}
