/** Calendar arithmetic in UTC, always from the anchor, never chained: 31 January, 28 February, 31 March (law 14). */

/** An instant of business time: ISO 8601, UTC, milliseconds. Compares as text. */
export type Instant = string

export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS

/** The instant `ms` milliseconds later. */
export function addMs(at: Instant, ms: number): Instant {
  return new Date(Date.parse(at) + ms).toISOString()
}

/** Milliseconds from `from` to `to`; negative when `to` is earlier. */
export function msBetween(from: Instant, to: Instant): number {
  return Date.parse(to) - Date.parse(from)
}

/** The anchor's day and time `months` later, or the last day of a month that is too short for it. */
export function addMonths(anchor: Instant, months: number): Instant {
  const date = new Date(anchor)
  const day = date.getUTCDate()
  const moved = new Date(date)
  moved.setUTCDate(1)
  moved.setUTCMonth(date.getUTCMonth() + months)
  const last = new Date(Date.UTC(moved.getUTCFullYear(), moved.getUTCMonth() + 1, 0)).getUTCDate()
  moved.setUTCDate(Math.min(day, last))
  return moved.toISOString()
}

/** How many months after the anchor's month the month of `at` is. Exact for dates that `addMonths` made. */
export function monthsBetween(anchor: Instant, at: Instant): number {
  const a = new Date(anchor)
  const b = new Date(at)
  return (b.getUTCFullYear() - a.getUTCFullYear()) * 12 + b.getUTCMonth() - a.getUTCMonth()
}

/** The earliest of the instants that are there. */
export function earliest(...instants: (Instant | null | undefined)[]): Instant | null {
  let first: Instant | null = null
  for (const instant of instants) {
    if (instant != null && (first === null || instant < first)) first = instant
  }
  return first
}

/** The later of two instants. */
export function latest(a: Instant, b: Instant): Instant {
  return a > b ? a : b
}
