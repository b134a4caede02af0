/** What tests of the ledger need: accounts, the clock, grants in one line, and the proof that the books balance. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { businessNow } from '../../src/clock.ts'
import type { AdjustmentPlan } from '../../src/domain/approval.ts'
import { parseCredits } from '../../src/domain/credits.ts'
import { approvalKey, idFrom } from '../../src/domain/id.ts'
import { adjust, type AdjustmentResult } from '../../src/ledger/adjustment.ts'
import { type Hold, type HoldInput, placeHold } from '../../src/ledger/hold.ts'
import { violations } from '../../src/ledger/invariant.ts'
import { grant, type GrantInput, type GrantResult } from '../../src/ledger/post.ts'
import { keepDecision, keepEnd, planHash, requestApproval } from '../../src/store/approval.ts'
import type { QueryConfig } from 'pg'
import { type Connections, type Pool, transaction } from '../../src/store/connect.ts'
import type { TestDatabase } from './postgres.ts'

export const DAY_MS = 86_400_000

/** The next year to begin whose February has 28 days: of a test whose clock only goes forward, and which counts days. */
export function commonYearAfter(ms: number): number {
  const year = new Date(ms).getUTCFullYear() + 1
  return year % 4 === 0 ? year + 1 : year
}

export async function openAccount(database: { pool: Pool }): Promise<string> {
  const id = idFrom('acc', randomUUID())
  await database.pool.query('insert into account (id) values ($1)', [id])
  return id
}

/** Moves business time, as only the owner may. */
export async function advanceClock(database: TestDatabase, ms: number): Promise<void> {
  await database.owner.query('update business_clock set offset_ms = offset_ms + $1', [ms])
}

/** Business time, `ms` from now. */
export async function fromNow(database: { pool: Pool }, ms: number): Promise<string> {
  const { rows } = await database.pool.query<{ at: Date }>(
    `select business_now() + $1 * interval '1 millisecond' as at`,
    [ms],
  )
  const at = rows[0]?.at
  if (at === undefined) throw new Error('Postgres did not tell the time')
  return at.toISOString()
}

/** A grant in a transaction of its own; goodwill unless told otherwise. */
export async function give(
  pool: Pool,
  account: string,
  amount: string,
  more: Partial<GrantInput> = {},
): Promise<GrantResult> {
  return await transaction(pool, (client) =>
    grant(client, {
      account,
      key: `test:${randomUUID()}`,
      kind: 'goodwill',
      amount,
      actor: 'test',
      reasonCode: 'test',
      source: {},
      ...more,
    }),
  )
}

/** A correction, asked for by one person and approved by another, in a transaction of its own. */
export async function correct(
  pool: Pool,
  account: string,
  { direction, amount, overdraft, expiresAt, priority }: Partial<AdjustmentPlan> & { amount: string },
): Promise<AdjustmentResult> {
  const plan: AdjustmentPlan = {
    direction: direction ?? 'credit',
    amount,
    overdraft: overdraft ?? false,
    expiresAt: expiresAt ?? null,
    priority: priority ?? 100,
  }
  const asked = {
    kind: 'adjustment' as const,
    account,
    plan,
    key: approvalKey.adjustment(account, randomUUID()),
    requestedBy: 'key_asks',
    reasonCode: 'test',
  }
  return await transaction(pool, async (client) => {
    const { id } = await requestApproval(client, asked)
    const at = await businessNow(client)
    const [by, command] = ['key_decides', idFrom('cmd', randomUUID())]
    await keepDecision(client, id, { state: 'approved', by, at, reason: null, command })
    const { reasonCode } = asked
    const input = { account, approval: id, plan, planHash: planHash(asked), actor: by, reasonCode }
    const made = await adjust(client, input)
    await keepEnd(client, id, { state: 'executed', at, result: { ...made } })
    return made
  })
}

/** A hold for an hour, unless told otherwise. */
export async function place(
  pool: Pool,
  account: string,
  amount: string,
  more: Partial<HoldInput> = {},
): Promise<Hold> {
  const input = { account, key: randomUUID(), amount: parseCredits(amount), seconds: 3600, actor: 'test' }
  return (await placeHold(pool, { ...input, ...more })).hold
}

/** Fails with the rows that break an invariant. */
export async function assertBooks(database: { owner: Pool }): Promise<void> {
  assert.deepEqual(await violations(database.owner), [])
}

/** Returns when a session of this database waits for a lock, or so many do. */
export async function waitsForLock({ owner }: { owner: Pool }, sessions = 1): Promise<void> {
  for (const until = Date.now() + 10_000; Date.now() < until; ) {
    const { rowCount } = await owner.query(
      `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    )
    if (rowCount === sessions) return
  }
  throw new Error('nobody waits for the lock')
}

/** The database, with somebody on the way to it who decides when, and whether, it is asked, and sees what. */
export function onTheWay(
  { pool }: { pool: Pool },
  pass: <R>(ask: () => Promise<R>, what: string | QueryConfig) => Promise<R>,
): Connections {
  return {
    query: (text, values) => pass(() => pool.query(text, values), text),
    async connect() {
      const client = await pool.connect()
      return {
        query: (text, values) => pass(() => client.query(text, values), text),
        on: (event, listener) => client.on(event, listener),
        off: (event, listener) => client.off(event, listener),
        release: (broken) => client.release(broken),
      }
    },
  }
}
