/** The renewal rule: what of the credits before lives on beside a new month's, and whether the new ones ever lapse. */
import { addMs, HOUR_MS, type Instant } from './calendar.ts'
import { Exact, formatCredits } from './credits.ts'
import type { Renewal } from './plan.ts'

/** No limit, as Postgres writes it. */
export const EVERYTHING = 'Infinity'

/**
 * How many of the credits that are left of the months before live on beside a new one's. The rest of them lapse.
 * @param seats how many the new month is for
 */
export function carriedOver(renewal: Renewal, seats: number): string {
  if (renewal.rule === 'replace') return '0'
  if (renewal.rule === 'keep') return EVERYTHING
  return formatCredits(new Exact(renewal.limit).times(seats))
}

/** When a month's credits lapse if no later month's come: after the grace; null: never. */
export function lapsesAt(
  { renewal, graceHours }: { renewal: Renewal; graceHours: number },
  periodEnd: Instant,
): Instant | null {
  return renewal.rule === 'keep' ? null : addMs(periodEnd, graceHours * HOUR_MS)
}
