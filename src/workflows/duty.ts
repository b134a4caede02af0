/** A duty: work on a schedule. Each run is recorded, so that a duty that died is seen (law 11). */
import type { DutyInput } from './message.ts'
import { dutyActivities } from './proxy.ts'

export async function duty({ duty: name }: DutyInput): Promise<Record<string, number>> {
  return await dutyActivities[name]()
}
