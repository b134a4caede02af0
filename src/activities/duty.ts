/** Duties: send again what nobody took, start a workflow for whatever is alive and has none, forget what is over. */
import { heartbeat, log } from '@temporalio/activity'
import { workflowId } from '../domain/id.ts'
import { findAccount } from '../store/account.ts'
import { pendingCommands } from '../store/command.ts'
import type { Pool } from '../store/connect.ts'
import { machineNow, ownersWithDeadline, recorded } from '../store/duty.ts'
import { type DueEvent, dueEvents, markSignalled } from '../store/inbox.ts'
import { noteStray } from '../store/stray.ts'
import { forgetCommands, forgetDutyRuns, forgetNotices, forgetStripeCalls } from '../store/retention.ts'
import { lowAccounts } from '../store/top-up.ts'
import type { EventGateway } from '../stripe/event-list.ts'
import type { Gateway } from '../stripe/gateway.ts'
import { adoptOwner, type Reach, sendCommand, wakeOwner } from '../workflows/owner.ts'
import { readAgain } from './read-again.ts'
import { translated } from './translate.ts'

export interface DutyDeps {
  pool: Pool
  gateway: Gateway
  events: Pick<EventGateway, 'ownerNow'>
  reach: Reach
}

const PAGE = 200
/** How long a sweep works through a backlog of events, in milliseconds; what is left is the next one's. */
const WAKE_MS = 120_000
/** Calls to Temporal at a time. */
const AT_ONCE = 8

export type DutyActivities = ReturnType<typeof createDutyActivities>

export function createDutyActivities({ pool, gateway, events, reach }: DutyDeps) {
  return translated({
    /** Wakes the owner of every event that is not settled, and sends commands that no worker took. */
    sweep: () =>
      recorded(pool, 'sweep', async () => {
        const until = performance.now() + WAKE_MS
        const isOver = () => performance.now() > until
        const before = await machineNow(pool)
        const read = await readAgain({ pool, events }, before, isOver).catch((error: unknown) => {
          // whose events are known already need not wait for Stripe
          log.warn('objects of events could not be read; the next sweep tries again', { error })
          return 0
        })
        const woken = await wakeDue({ pool, reach }, before, isOver)
        const commands = await pendingCommands(pool, PAGE)
        let failed = 0
        for (const command of commands) {
          // one that cannot be carried out must not keep the others waiting
          const again = String(command.attempts)
          await sendCommand(reach, { ...command, again }, 2_000).catch((error: unknown) => {
            failed += 1
            log.warn('a command could not be carried out; it will be sent again', {
              command: command.id,
              error,
            })
          })
          heartbeat()
        }
        // whoever is low and was not woken, or whose wake was lost
        let low = 0
        for (let page = await lowAccounts(pool, '', PAGE); page.length > 0; ) {
          for (const account of page) {
            await wakeOwner(reach, workflowId.topUp(account), { reason: 'sweep' })
            heartbeat()
          }
          low += page.length
          page = await lowAccounts(pool, page.at(-1) ?? '', PAGE)
        }
        return { ...woken, read, commands: commands.length, failed, low }
      }),

    /** Starts a workflow for every live subscription and open checkout that has none; those that run do not notice. */
    adopt: () =>
      recorded(pool, 'adopt', async () => {
        let owners = 0
        for (let after = ''; ; ) {
          const page = await ownersWithDeadline(pool, after, PAGE)
          for (const owner of page) {
            await adoptOwner(reach, owner)
            heartbeat()
          }
          owners += page.length
          const last = page.at(-1)
          if (last === undefined) break
          after = last
        }
        let listed = 0
        let strays = 0
        for await (const { id, customer, account, order } of gateway.liveSubscriptions()) {
          heartbeat()
          if ((await findAccount(pool, { customer, metadata: account })) === null) {
            await noteStray(pool, { id, kind: 'subscription', named: account ?? order })
            strays += 1
            continue
          }
          await adoptOwner(reach, id)
          listed += 1
        }
        return { owners, listed, strays }
      }),

    /** Deletes what is older than it is kept for, in batches, so that nobody waits for a lock for long. */
    clean: () =>
      recorded(pool, 'clean', async () => ({
        commands: await inBatches((limit) => forgetCommands(pool, limit)),
        duty_runs: await inBatches((limit) => forgetDutyRuns(pool, limit)),
        stripe_calls: await inBatches((limit) => forgetStripeCalls(pool, limit)),
        notices: await inBatches((limit) => forgetNotices(pool, limit)),
      })),
  })
}

/** Repeats until a batch is not full. A worker that dies has lost one batch; the next run goes on. */
async function inBatches(forget: (limit: number) => Promise<number>): Promise<number> {
  for (let total = 0; ; heartbeat()) {
    const gone = await forget(PAGE)
    total += gone
    if (gone < PAGE) return total
  }
}

/**
 * Wakes the owners of all events that are due, each once, however many there are: one wake tells an owner of all its
 * events. One that cannot be woken keeps nobody else waiting.
 * @param before machine time: events that were put off since are left alone
 * @throws when nobody at all could be woken: Temporal does not answer
 */
export async function wakeDue(
  { pool, reach }: Pick<DutyDeps, 'pool' | 'reach'>,
  before: string,
  isOver: () => boolean,
): Promise<{ events: number; unwoken: number }> {
  const woken = new Set<string>()
  let events = 0
  let unwoken = 0
  while (!isOver()) {
    const due = await dueEvents(pool, PAGE, before)
    if (due.length === 0) break
    events += due.length
    const byOwner = new Map<string, DueEvent[]>()
    for (const event of due) byOwner.set(event.owner, [...(byOwner.get(event.owner) ?? []), event])
    const owners = byOwner.entries()
    const signalled: string[] = []
    let failure: unknown
    const lane = async () => {
      for (const [owner, its] of owners) {
        // Temporal does not answer: what is left is the next sweep's
        if (woken.size === 0 && unwoken >= AT_ONCE) return
        const [first] = its
        try {
          if (!woken.has(owner)) {
            await wakeOwner(reach, owner, {
              reason: 'sweep',
              type: first?.type ?? '',
              event: first?.eventId ?? '',
            })
            woken.add(owner)
          }
          signalled.push(...its.map(({ eventId }) => eventId))
        } catch (error) {
          failure = error
          unwoken += 1
          log.warn('an owner was not woken; it will be tried again', { owner, error })
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    await markSignalled(pool, signalled)
    if (woken.size === 0) throw failure
  }
  return { events, unwoken }
}
