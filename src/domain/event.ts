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
  /** id of the workflow that owns the object; null: nobody handles this, it is settled at once */
  owner: string | null
  payload: Record<string, unknown>
}
