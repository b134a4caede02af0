// Billing periods. Every boundary is computed from the anchor, never from the boundary before it, so a period that
// starts on the 31st comes back to the 31st after February, and 29 February to 29 February in a leap year.

export type Interval = 'day' | 'week' | 'month' | 'year'

const DAY = 86_400

/** The anchor moved by `steps` intervals, all in unix seconds, UTC. */
export function boundary(anchor: number, interval: string, steps: number): number {
  if (interval === 'day') return anchor + steps * DAY
  if (interval === 'week') return anchor + steps * 7 * DAY
  const months = interval === 'year' ? steps * 12 : steps
  const from = new Date(anchor * 1000)
  const target = from.getUTCMonth() + months
  const year = from.getUTCFullYear() + Math.floor(target / 12)
  const month = ((target % 12) + 12) % 12
  const lastDay = new Date(Date.UTC(year, month + 1, 0)).getUTCDate()
  const timeOfDay = anchor - Date.UTC(from.getUTCFullYear(), from.getUTCMonth(), from.getUTCDate()) / 1000
  return Date.UTC(year, month, Math.min(from.getUTCDate(), lastDay)) / 1000 + timeOfDay
}

/** The first boundary after `instant`. */
export function nextBoundary(anchor: number, interval: string, count: number, instant: number): number {
  const length = { day: DAY, week: 7 * DAY, month: 31 * DAY, year: 366 * DAY }[interval] ?? DAY
  let step = Math.max(0, Math.floor((instant - anchor) / (length * count)) - 1)
  while (boundary(anchor, interval, step * count) <= instant) step += 1
  return boundary(anchor, interval, step * count)
}

/** `days` banking days later at the same time of day: Saturdays and Sundays do not count. Unix seconds, UTC. */
export function businessDaysAfter(instant: number, days: number): number {
  let at = instant
  for (let left = days; left > 0; ) {
    at += DAY
    const weekday = new Date(at * 1000).getUTCDay()
    if (weekday !== 0 && weekday !== 6) left -= 1
  }
  return at
}

/** The whole period around an instant: from the boundary at or before it to the next one. */
export function periodAround(
  anchor: number,
  interval: string,
  count: number,
  instant: number,
): { start: number; end: number } {
  let step = 0
  while (boundary(anchor, interval, step * count) > instant) step -= 1
  const end = nextBoundary(anchor, interval, count, instant)
  while (boundary(anchor, interval, (step + 1) * count) < end) step += 1
  return { start: boundary(anchor, interval, step * count), end }
}
