/** Duties: send again what nobody took, start a workflow for whatever is alive and has none, forget what is over. */
import { heartbeat, log } from '@temporalio/activity'
import { workflowId } from '../domain/id.ts'
import { findAccount } from '../store/account.ts'
import { pendingCommands } from '../store/command.ts'
import type { Pool } from '../store/connect.ts'
import { ownersWithDeadline, recorded } from '../store/duty.ts'
import { dueEvents, markSignalled } from '../store/inbox.ts'
import { noteStray } from '../store/stray.ts'
import { forgetCommands, forgetDutyRuns, forgetNotices } from '../store/retention.ts'
import { lowAccounts } from '../store/top-up.ts'
import type { Gateway } from '../stripe/gateway.ts'
import { adoptOwner, type Reach, sendCommand, wakeOwner } from '../workflows/owner.ts'
import { translated } from './translate.ts'

export interface DutyDeps {
  pool: Pool
  gateway: Gateway
  reach: Reach
}

const PAGE = 200

export type DutyActivities = ReturnType<typeof createDutyActivities>

export function createDutyActivities({ pool, gateway, reach }: DutyDeps) {
  return translated({
    /** Wakes the owner of every event that is not settled, and sends commands that no worker took. */
    sweep: () =>
      recorded(pool, 'sweep', async () => {
        const events = await dueEvents(pool, PAGE)
        const woken = new Set<string>()
        for (const event of events) {
          // one wake tells an owner of all its events
          if (!woken.has(event.owner)) {
            await wakeOwner(reach, event.owner, { reason: 'sweep', type: event.type, event: event.eventId })
            woken.add(event.owner)
          }
          await markSignalled(pool, [event.eventId])
          heartbeat()
        }
        const commands = await pendingCommands(pool, PAGE)
        let failed = 0
        for (const command of commands) {
          // one that cannot be carried out must not keep the others waiting
          await sendCommand(reach, command, 2_000).catch((error: unknown) => {
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
        return { events: events.length, commands: commands.length, failed, low }
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
