/**
 * The sandbox's business clock (law 14): the wall plus an offset kept in Postgres. Advancing goes from deadline to
 * deadline: it moves Stripe, delivers webhooks, wakes the workflows that are due, and waits until all is quiet.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Client, Connection, WorkflowNotFoundError } from '@temporalio/client'
import { connect, type Pool } from '../store/connect.ts'
import { type Reach, runDuty, wakeOwner } from '../workflows/owner.ts'

/** What the clock moves besides time: the simulator's side of it. */
export interface MovedStripe {
  nextDeadline(): number | undefined
  advanceTo(ms: number): void
  deliverDue(): Promise<number>
  webhooksInFlight(): number
  /** how many deliveries were begun so far, each try of one */
  webhooksBegun(): number
}

export interface Attached {
  stripe: MovedStripe
  temporalAddress: string
  namespace: string
  taskQueue: string
  /** whether an advance also waits until every notice that came of it was sent once; by default it does not */
  notices?: boolean
}

export interface SandboxClock {
  /** business time, in unix milliseconds */
  now(): number
  /** Moves business time forward to `toMs`. Rejects when the system does not become quiet within a minute of a step. */
  advance(toMs: number): Promise<void>
  /** Moves time and Stripe and tells nobody: what the world looks like after every webhook and wake was lost. */
  jump(toMs: number): Promise<void>
  attach(parts: Attached): Promise<void>
  stop(): Promise<void>
}

const QUIET_WITHIN_MS = 60_000
const POLL_MS = 25
/** Whoever was woken and has not answered for this long is woken again: the sweeper's work, sooner. */
const WAKE_AGAIN_MS = 5_000
/** How long a call to Temporal may take; the SDK's own default is to wait for ever. */
const CALL_WITHIN_MS = 10_000
/** A duty that was running when it was asked for may have ended without seeing what is due. */
const NOTIFY_AGAIN_MS = 500

/** @param databaseUrl as the owner: the service may not move time */
export async function openSandboxClock({ databaseUrl }: { databaseUrl: string }): Promise<SandboxClock> {
  const pool = connect(databaseUrl, 2)
  let offset = await readOffset(pool)
  let parts: (Attached & { reach: Reach; connection: Connection }) | undefined
  let turn: Promise<unknown> = Promise.resolve()
  const stopping = new AbortController()
  const now = () => Date.now() + offset

  async function moveTo(ms: number): Promise<void> {
    if (ms <= now()) return
    offset += ms - now()
    await pool.query('update business_clock set offset_ms = $1', [offset])
  }

  async function step(ms: number): Promise<void> {
    await moveTo(ms)
    if (parts === undefined) return
    parts.stripe.advanceTo(now())
    await parts.stripe.deliverDue()
    await quiet(parts.stripe, parts.reach)
  }

  /** Wakes whoever is due, until nobody is, every webhook has been settled and no pass goes on. */
  async function quiet(stripe: MovedStripe, reach: Reach): Promise<void> {
    const until = Date.now() + QUIET_WITHIN_MS
    const isDue = () => (stripe.nextDeadline() ?? Number.POSITIVE_INFINITY) <= now()
    const isIdle = () => !isDue() && stripe.webhooksInFlight() === 0
    let wokenAt = new Map<string | null, number>()
    let failure: unknown
    while (!stopping.signal.aborted) {
      // what was told while the rows were read is in none of them, and need not be in flight any more
      const begun = stripe.webhooksBegun()
      const wasIdle = isIdle()
      const owners = await unquiet(pool)
      const isQuiet = wasIdle && owners.length === 0 && !(await isAtWork(pool, reach))
      if (isQuiet && isIdle() && stripe.webhooksBegun() === begun) return
      if (Date.now() > until) {
        throw new Error(
          `not quiet after a minute; waiting for ${owners.map(({ owner }) => owner ?? 'events to be read').join(', ') || (isIdle() ? 'a pass' : 'Stripe')}`,
          { cause: failure },
        )
      }
      if (isDue()) {
        stripe.advanceTo(now())
        await stripe.deliverDue()
      }
      for (const { owner, due } of owners) {
        const before = wokenAt.get(owner)
        const wait = due ? 0 : WAKE_AGAIN_MS
        if (before === undefined && wait > 0) wokenAt.set(owner, Date.now())
        else if (Date.now() - (before ?? 0) >= (before === undefined ? 0 : WAKE_AGAIN_MS)) {
          wokenAt.set(owner, Date.now())
          try {
            if (owner === null) await within(reach, () => runDuty(reach, 'sweep'))
            else await wakeOwner(reach, owner, { reason: due ? 'deadline' : 'sweep' })
          } catch (error) {
            // Temporal is slow: as if nobody had called
            failure = error
            wokenAt.delete(owner)
          }
        }
      }
      // forget whoever is quiet again, so that its next deadline wakes it at once
      wokenAt = new Map([...wokenAt].filter(([owner]) => owners.some((each) => each.owner === owner)))
      await pause(POLL_MS)
    }
  }

  async function nextStop(): Promise<number | undefined> {
    const { rows } = await pool.query<{ at: Date | null }>(
      `select min(deadline_at) as at from (
         select deadline_at from subscription union all select deadline_at from checkout
         union all select deadline_at from top_up
         union all select expires_at from approval where state = 'pending') deadlines`,
    )
    const ours = rows[0]?.at?.getTime()
    const theirs = parts?.stripe.nextDeadline()
    if (ours === undefined) return theirs
    return theirs === undefined ? ours : Math.min(ours, theirs)
  }

  async function advance(toMs: number): Promise<void> {
    await step(now())
    for (let next = await nextStop(); next !== undefined && next <= toMs; next = await nextStop()) {
      await step(next)
      if (stopping.signal.aborted)
        throw new Error('the sandbox is being stopped; the clock stands where it got to')
    }
    await step(toMs)
    if (parts?.notices === true) await told(parts.reach)
  }

  /** Has the notices sent that nobody has tried to send yet. What failed once waits on machine time: no clock moves it. */
  async function told(reach: Reach): Promise<void> {
    const until = Date.now() + QUIET_WITHIN_MS
    let failure: unknown
    for (let askedAt = 0; !stopping.signal.aborted && (await hasUntold(pool)); ) {
      if (Date.now() > until)
        throw new Error('not quiet after a minute; notices are still being sent', { cause: failure })
      if (Date.now() - askedAt >= NOTIFY_AGAIN_MS) {
        askedAt = Date.now()
        await within(reach, () => runDuty(reach, 'notify')).catch((error: unknown) => {
          failure = error
        })
      }
      await pause(POLL_MS)
    }
  }

  return {
    now,
    advance(toMs) {
      const mine = turn.then(() => advance(toMs))
      turn = mine.catch(() => {})
      return mine
    },
    async jump(toMs) {
      await moveTo(toMs)
      parts?.stripe.advanceTo(now())
    },
    async attach(attached) {
      const connection = await Connection.connect({ address: attached.temporalAddress })
      const client = new Client({ connection, namespace: attached.namespace })
      parts = { ...attached, connection, reach: { client, taskQueue: attached.taskQueue } }
    },
    async stop() {
      stopping.abort()
      await turn
      await parts?.connection.close()
      await pool.end()
    },
  }
}

async function readOffset(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ offset_ms: string }>('select offset_ms from business_clock')
  return Number(rows[0]?.offset_ms ?? 0)
}

/**
 * Owners with a deadline that has come (`due`) or an event that is not settled; null when one's owner is not known yet,
 * which the sweeper finds out.
 */
async function unquiet(pool: Pool): Promise<{ owner: string | null; due: boolean }[]> {
  const { rows } = await pool.query<{ owner: string | null; due: boolean }>(
    `select owner, bool_or(due) as due from (
       select id as owner, true as due from subscription where deadline_at <= business_now()
       union all select 'checkout/' || id, true from checkout where deadline_at <= business_now()
       union all select 'topup/' || t.account_id, true from top_up t join wallet w on w.account_id = t.account_id
        where t.deadline_at <= business_now() or (t.enabled and t.deadline_at is null and w.balance - w.held < t.threshold)
       union all select 'approval/' || id, true from approval
        where state = 'approved' or (state = 'pending' and expires_at <= business_now())
       union all select owner, owner is null from processed_webhook_events
        where settled_at is null and parked_at is null
     ) waiting group by owner order by owner`,
  )
  return rows
}

/**
 * Whether a workflow is in a pass. What a subscription's does after its commit is in no row yet: it lets a schedule go in
 * Stripe, which tells of it, and raises what a person must see. Nor is the pass that follows a command.
 */
async function isAtWork(pool: Pool, reach: Reach): Promise<boolean> {
  const { rows } = await pool.query<{ id: string }>(
    `select id from subscription where observed_at > business_now() - interval '1 minute'
      union select owner from command where finished_at > clock_timestamp() - interval '1 minute' and owner is not null`,
  )
  const asked = rows.map(async ({ id }) => {
    try {
      const { raw } = await within(reach, () => reach.client.workflow.getHandle(id).describe())
      return (raw.pendingActivities ?? []).length > 0 || raw.pendingWorkflowTask != null
    } catch (error) {
      // who cannot be asked may be at work
      return !(error instanceof WorkflowNotFoundError)
    }
  })
  return (await Promise.all(asked)).includes(true)
}

async function within<T>({ client }: Reach, call: () => Promise<T>): Promise<T> {
  return await client.connection.withDeadline(Date.now() + CALL_WITHIN_MS, call)
}

/** Whether a delivery was never tried, or is being tried now. */
async function hasUntold(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ untold: boolean }>(
    `select exists (
       select from notice_delivery d left join webhook_endpoint e on e.id = d.endpoint_id
        where d.state = 'sending'
           or d.state = 'pending' and coalesce(e.enabled, true)
              and (d.attempts = 0 and d.next_attempt_at <= clock_timestamp() or d.leased_until > clock_timestamp())
     ) as untold`,
  )
  return rows[0]?.untold ?? false
}
