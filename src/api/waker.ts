/**
 * Wakes the owners of events that are stored and answered (law 5). Stripe tells one fact in several events within a
 * moment: an owner is woken once for all of them. Nothing here is remembered beyond the process, and nothing need be:
 * an event whose owner was not woken is the sweeper's.
 */
import { markSignalled } from '../store/inbox.ts'
import { wakeOwner } from '../workflows/owner.ts'
import type { ApiDeps } from './api.ts'
import { describeFailure } from './failure.ts'

export interface Waker {
  /** Has the owner of a stored event woken soon, and never fails. */
  soon(event: { id: string; type: string; owner: string }): void
  /** Wakes those that still wait, and resolves when that is done. */
  close(): Promise<void>
}

/** How long events of one owner are gathered. Its workflow gathers for longer, so nothing is lost by it. */
const GATHER_MS = 100
/** Calls to Temporal at a time. After as many failures the rest is left to the sweeper. */
const AT_ONCE = 8
/** Owners that may wait here; those beyond are the sweeper's. */
const WAITING_MAX = 10_000

type Waiting = Map<string, { type: string; events: [string, ...string[]] }>

export function createWaker({ pool, reach, log }: Pick<ApiDeps, 'pool' | 'reach' | 'log'>): Waker {
  let waiting: Waiting = new Map()
  let timer: NodeJS.Timeout | undefined
  let flying: Promise<void> | undefined

  function soon({ id, type, owner }: { id: string; type: string; owner: string }): void {
    const known = waiting.get(owner)
    if (known !== undefined) known.events.push(id)
    else if (waiting.size < WAITING_MAX) waiting.set(owner, { type, events: [id] })
    schedule()
  }

  /** One round at a time: what comes meanwhile is gathered for the next. */
  function schedule(): void {
    if (flying === undefined && waiting.size > 0) timer ??= setTimeout(fly, GATHER_MS)
  }

  function fly(): void {
    timer = undefined
    const round = waiting
    waiting = new Map()
    flying = wakeAll(round).finally(() => {
      flying = undefined
      schedule()
    })
  }

  async function wakeAll(round: Waiting): Promise<void> {
    if (reach === undefined) return
    const owners = round.entries()
    const signalled: string[] = []
    let failures = 0
    const lane = async () => {
      for (const [owner, { type, events }] of owners) {
        try {
          await wakeOwner(reach, owner, { reason: 'webhook', type, event: events[0] })
          signalled.push(...events)
        } catch (error) {
          failures += 1
          tell(error, { workflow: owner, events })
          if (failures >= AT_ONCE) return
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    // not marked is not lost: the sweeper wakes once more
    if (signalled.length > 0) await markSignalled(pool, signalled).catch((error) => tell(error, {}))
  }

  /** No fault of ours to act on: the events are stored, and the sweeper comes. */
  function tell(error: unknown, about: { workflow?: string; events?: string[] }): void {
    const [cause] = describeFailure(error)
    log.info({ ...about, cause: cause?.['message'] }, 'an owner was not woken yet')
  }

  return {
    soon,
    async close() {
      await flying
      clearTimeout(timer)
      if (waiting.size > 0) fly()
      await flying
    },
  }
}
