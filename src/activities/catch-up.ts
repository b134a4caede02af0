/**
 * The duty that finds what no webhook told: it compares Stripe's event list with the inbox and stores what is missing,
 * as a delivery would have. It wakes nobody; the sweeper does.
 */
import type { Instant } from '../domain/calendar.ts'
import type { InboxEvent } from '../domain/event.ts'
import { advancePass, beginPass, finishPass, storeMissing } from '../store/catch-up.ts'
import type { Pool, Queryable } from '../store/connect.ts'
import { recorded } from '../store/duty.ts'
import { EventError, projectEvent } from '../stripe/event.ts'
import type { EventGateway } from '../stripe/event-list.ts'
import { translated } from './translate.ts'

export interface CatchUpDeps {
  pool: Pool
  events: Pick<EventGateway, 'page' | 'version'>
  /** the mode of the key: events of the other one are left alone */
  livemode: boolean
}

/** What some of the list came to, in numbers of events. */
export type Tally = ReturnType<typeof emptyTally>

export const emptyTally = () => ({
  listed: 0,
  /** were not in the inbox */
  missing: 0,
  /** of those: of a type that nobody handles */
  unhandled: 0,
  /** of those: in another API version, so that their objects are read again */
  other_version: 0,
  /** could not be understood, and are not kept */
  malformed: 0,
  /** of the other mode, and are not kept */
  other_mode: 0,
})

/** How long a run works, in milliseconds; what is left is the next run's. Its time-out is in `workflows/proxy.ts`. */
const WORK_MS = 200_000

export type CatchUpActivities = ReturnType<typeof createCatchUpActivities>

export function createCatchUpActivities(deps: CatchUpDeps, workMs = WORK_MS) {
  const { pool, events } = deps
  return translated({
    /** Goes on with the pass that is under way, or makes the next. */
    catch_up: () =>
      recorded(pool, 'catch_up', async () => {
        const until = performance.now() + workMs
        const tally = emptyTally()
        let pass = await beginPass(pool)
        for (;;) {
          const page = await events.page(pass.from, pass.after)
          const { newest } = await comparePage(deps, page.events, tally, storeMissing)
          const met = pass.newest ?? newest
          if (page.next === undefined) {
            return { ...tally, whole: (await finishPass(pool, pass, met)) ? 1 : 0 }
          }
          const next = await advancePass(pool, pass, { newest: met, after: page.next })
          // another worker goes on with it, or this run's time is over
          if (next === undefined || performance.now() > until) return { ...tally, whole: 0 }
          pass = next
        }
      }),
  })
}

/**
 * Compares a page of the list with the inbox and counts what it finds.
 * @param missingAmong what is done about them: stored, or only counted
 * @returns the times of the newest and the oldest event that could be understood; null without one
 */
export async function comparePage(
  { pool, events: { version }, livemode }: CatchUpDeps,
  listed: unknown[],
  tally: Tally,
  missingAmong: (database: Queryable, events: InboxEvent[]) => Promise<string[]>,
): Promise<{ newest: Instant | null; oldest: Instant | null }> {
  const understood: InboxEvent[] = []
  let newest: Instant | null = null
  let oldest: Instant | null = null
  for (const each of listed) {
    const event = understand(each, version)
    if (event === undefined) tally.malformed += 1
    else if (event.livemode !== livemode) tally.other_mode += 1
    else understood.push(event)
    if (event === undefined) continue
    if (newest === null || event.created > newest) newest = event.created
    if (oldest === null || event.created < oldest) oldest = event.created
  }
  const missing = new Set(await missingAmong(pool, understood))
  for (const event of understood) {
    if (!missing.has(event.id)) continue
    if (event.unread) tally.other_version += 1
    else if (event.owner === null) tally.unhandled += 1
  }
  tally.listed += listed.length
  tally.missing += missing.size
  return { newest, oldest }
}

function understand(listed: unknown, version: string): InboxEvent | undefined {
  try {
    return projectEvent(listed, version)
  } catch (error) {
    if (error instanceof EventError) return undefined
    throw error
  }
}
