/** How far back Stripe's event list is read, and how far along that is. Times are Stripe's. */
import { addMs, HOUR_MS, type Instant, latest, MINUTE_MS, msBetween } from './calendar.ts'

/** Stripe lists events for this many days. */
export const LISTED_DAYS = 30
const LISTED_MS = LISTED_DAYS * 24 * HOUR_MS

/** What was compared last is compared once more: a list may be a little behind what was made. */
const OVERLAP_MS = 10 * MINUTE_MS

/** Where a pass over the list ends. @param comparedUntil null: there was no pass yet, everything listed is compared */
export function passFrom(comparedUntil: Instant | null, now: Instant): Instant {
  const oldest = addMs(now, -LISTED_MS)
  return comparedUntil === null ? oldest : latest(oldest, addMs(comparedUntil, -OVERLAP_MS))
}

const UNIT_MS: Record<string, number> = { m: MINUTE_MS, h: HOUR_MS, d: 24 * HOUR_MS }

/**
 * The instant that a person means by `7d`, `12h`, `30m` or an ISO date or time.
 * @returns undefined when it is none, is not over, or is further back than Stripe lists
 */
export function sinceOf(text: string, now: Instant): Instant | undefined {
  const [, many, unit = ''] = /^(\d{1,5})([mhd])$/.exec(text) ?? []
  const at =
    many === undefined ? instantOf(text) : addMs(now, -Number.parseInt(many, 10) * (UNIT_MS[unit] ?? 0))
  if (at === undefined || at > now || msBetween(at, now) > LISTED_MS) return undefined
  return at
}

function instantOf(text: string): Instant | undefined {
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z)?$/.test(text)) return undefined
  const at = new Date(text)
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}

/** How many percent of the way from `now` back to `from` lie behind whoever has got to `at`: 0 to 100. */
export function percentDone(from: Instant, now: Instant, at: Instant): number {
  const whole = Math.max(msBetween(from, now), 1)
  return Math.floor((100 * Math.min(Math.max(msBetween(at, now), 0), whole)) / whole)
}
