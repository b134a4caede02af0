/**
 * Tells the top-up of an account that it is low, as soon as a spend, a hold or a capture has shown it. Costs one look
 * into a map, no round trip: thresholds are read every few seconds, and what is missed here the sweeper finds.
 */
import { Exact } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { workflowId } from '../domain/id.ts'
import { thresholds } from '../store/top-up.ts'
import { wakeOwner } from '../workflows/owner.ts'
import type { ApiDeps } from './api.ts'
import { describeFailure } from './failure.ts'

/** How old a threshold may be, in milliseconds. */
const READ_EVERY_MS = 5_000
/** Thresholds that are remembered at once; whoever is beyond them is the sweeper's. */
const REMEMBERED_MAX = 50_000
/** An account that was told is not told again for this long: its workflow looks until there is nothing left to do. */
const QUIET_MS = 5_000

export interface TopUpWatch {
  /** A balance was answered. Never fails and never waits. */
  seen(account: string, balance: string): void
  /** Something was refused: for want of credits, with what there is. Never fails and never waits. */
  refused(account: string, error: unknown): void
  /** An account is to be looked at now. */
  wake(account: string): void
  close(): Promise<void>
}

export function watchTopUps({ pool, reach, log }: Pick<ApiDeps, 'pool' | 'reach' | 'log'>): TopUpWatch {
  let watched = new Map<string, string>()
  let told = new Map<string, number>()
  const flying = new Set<Promise<void>>()

  const read = async () => {
    try {
      watched = await thresholds(pool, REMEMBERED_MAX)
    } catch (error) {
      tell(error, 'thresholds were not read')
    }
    const now = performance.now()
    told = new Map([...told].filter(([, at]) => now - at < QUIET_MS))
  }
  let reading = read()
  const timer = setInterval(() => {
    reading = reading.then(read)
  }, READ_EVERY_MS)
  timer.unref()

  function tell(error: unknown, what: string): void {
    const [cause] = describeFailure(error)
    log.info({ cause: cause?.['message'] }, what)
  }

  function wake(account: string): void {
    if (reach === undefined) return
    told.set(account, performance.now())
    const waking = wakeOwner(reach, workflowId.topUp(account), { reason: 'low_balance' }).catch((error) =>
      tell(error, 'a top-up was not woken yet'),
    )
    flying.add(waking)
    void waking.finally(() => flying.delete(waking))
  }

  function seen(account: string, balance: string): void {
    const threshold = watched.get(account)
    if (threshold === undefined || told.has(account)) return
    if (new Exact(balance).lt(threshold)) wake(account)
  }

  return {
    seen,
    refused(account, error) {
      if (error instanceof Refusal && error.code === 'insufficient_credits')
        seen(account, String(error.data['available']))
    },
    wake,
    async close() {
      clearInterval(timer)
      await reading
      await Promise.all(flying)
    },
  }
}
