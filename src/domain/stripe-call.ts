/** What is done about a call to Stripe whose outcome may be unknown. Pure. */
import { addMs, HOUR_MS, type Instant } from './calendar.ts'

/** Stripe forgets keys after a day. Before that, asking again under the same key makes a thing once. */
export const KEY_LIVES_MS = 23 * HOUR_MS

/** A call as it was written down before it was sent. */
export interface WrittenCall {
  generation: number
  /** when it was first asked for: what it makes is no older */
  askedAt: Instant
  /** when the key of this generation was first sent */
  sentAt: Instant
  /** what it made; null: unknown, or it makes nothing */
  object: string | null
}

/**
 * `read` what it made; `send` it, again or for the first time, under its key; or `look_up` what became of it, because
 * Stripe may not know the key any more.
 */
export function decideCall({ object, sentAt }: WrittenCall, now: Instant): 'read' | 'send' | 'look_up' {
  if (object !== null) return 'read'
  return now < addMs(sentAt, KEY_LIVES_MS) ? 'send' : 'look_up'
}
