/** A signed event of Stripe, as far as it is kept: ids, types and an allow-listed projection; no personal data. */
import type { Instant } from './calendar.ts'

export interface InboxEvent {
  id: string
  type: string
  /** Stripe's time */
  created: Instant
  livemode: boolean
  /** null on a thin event, which carries no object */
  apiVersion: string | null
  objectId: string | null
  /** id of the workflow that owns the object; null: nobody handles this, or it is not known yet */
  owner: string | null
  /** of another API version than ours: nothing is taken from it, its object is read again to know the owner */
  unread: boolean
  payload: Record<string, unknown>
}
