/** What tests of previews compare: everything there is, and what was done since. */
import { Decimal } from 'decimal.js'
import { dataView } from '../../src/domain/notice-view.ts'
import type { Stack } from './stack.ts'
import type { TestDatabase } from './postgres.ts'

/** A preview as a caller reads it. */
export interface Foreseen {
  at: string
  outcome: string
  refusal: { code: string } | null
  effects: {
    postings: object[]
    stripe: { method: string; path: string; params: Record<string, string | null> }[]
    notices: object[]
    dates: { what: string; at: string }[]
  }
  balance: object | null
}

/** When somebody last looked, or told, or is to: a workflow that looks once more finds all as it was. */
const LOOKED = ['observed_at', 'signalled_at', 'next_attempt_at', 'wakes', 'delivered_at', 'failing_since']

/** What goes on by itself: runs of duties and how far they came, and how many calls went to Stripe. */
const BY_ITSELF = ['duty_run', 'catch_up', 'circuit_breaker', 'stripe_bucket']

/** Every row of every table, but for what goes on by itself, and how far the telling of notices is. */
export async function dumpOf({ database: { owner } }: Stack): Promise<string[]> {
  const { rows: tables } = await owner.query<{ name: string }>(
    `select relname as name from pg_class
      where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
        and not relname = any($1) order by 1`,
    [BY_ITSELF],
  )
  const dump: string[] = []
  for (const { name } of tables) {
    const { rows } = await owner.query<{ row: string }>(
      name === 'notice_delivery'
        ? 'select id as row from notice_delivery where $1::text[] is not null'
        : `select (to_jsonb(t) - $1::text[])::text as row from "${name}" t`,
      [LOOKED],
    )
    dump.push(...rows.map(({ row }) => `${name} ${row}`))
  }
  return dump
}

/** Rows that are in one dump and not in the other. */
export function changes(before: string[], after: string[]): string[] {
  const [was, is] = [new Set(before), new Set(after)]
  return [
    ...before.filter((row) => !is.has(row)).map((row) => `- ${row}`),
    ...after.filter((row) => !was.has(row)).map((row) => `+ ${row}`),
  ]
}

/** Where an account stands: its last posting, its lots, notices and payments. */
export async function seqOf({ owner }: TestDatabase, account = ''): Promise<Standing> {
  const { rows } = await owner.query<Standing>(
    `select coalesce((select seq from wallet where account_id = $1), 0) as seq,
            array(select id from lot where account_id = $1) as lots,
            array(select key from notice where account_id = $1) as notices,
            array(select id from payment where account_id = $1) as payments`,
    [account],
  )
  return rows[0] ?? { seq: '0', lots: [], notices: [], payments: [] }
}

interface Standing {
  seq: string
  lots: string[]
  notices: string[]
  payments: string[]
}

/**
 * What was posted, as a preview tells it; lots that were not there before are null. Read as it is: asking the ledger
 * would settle what is due.
 */
export async function postingsSince(
  { owner }: TestDatabase,
  account: string,
  { seq, lots }: { seq: string; lots: string[] },
): Promise<object[]> {
  const { rows } = await owner.query<{
    kind: string
    amount: string
    balance_after: string
    feature: string | null
    reason_code: string
    lots: { lot: string | null; source: string; amount: string; expires_at: string | null }[]
  }>(
    `select kind, amount, balance_after, feature, reason_code,
            array(select jsonb_build_object('lot', case when lot.id = any($3) then lot.id end, 'source', lot.kind,
                                            'amount', p.lot_amounts[n]::text, 'expires_at', lot.expires_at)
                    from generate_subscripts(p.lot_ids, 1) n join lot on lot.id = p.lot_ids[n] order by n) as lots
       from posting p where account_id = $1 and seq > $2 order by seq`,
    [account, seq, lots],
  )
  const plain = (decimal: string) => new Decimal(decimal).toFixed()
  return rows.map((row) => ({
    ...row,
    amount: plain(row.amount),
    balance_after: plain(row.balance_after),
    lots: row.lots.map((lot) => ({
      ...lot,
      amount: plain(lot.amount),
      expires_at: lot.expires_at === null ? null : new Date(lot.expires_at).toISOString(),
    })),
  }))
}

/** What somebody was told, as a preview tells it. */
export async function noticesSince(
  { owner }: TestDatabase,
  account: string,
  keys: string[],
): Promise<object[]> {
  const { rows } = await owner.query<{ kind: string; type: string; data: object }>(
    `select kind, event as type, data from notice where account_id = $1 and not key = any($2) order by kind, key`,
    [account, keys],
  )
  return rows.map((row) => ({ ...row, data: dataView(row.data) }))
}

/** Business time that stands still, here and in the simulator, and goes on: what is counted from now is then exact. */
export interface Freezer {
  freeze(): Promise<void>
  thaw(): Promise<void>
}

export async function freezer({ database: { owner }, sandbox, clock }: Stack): Promise<Freezer> {
  await owner.query('create table frozen (at timestamptz not null)')
  await owner.query('grant select on frozen to perennial_service')
  await owner.query(
    `create or replace function business_now() returns timestamptz language sql volatile as $$
       select coalesce((select at from public.frozen),
         date_trunc('milliseconds', clock_timestamp())
           + (select offset_ms from public.business_clock) * interval '1 millisecond')
     $$`,
  )
  return {
    async freeze() {
      const { rows } = await owner.query<{ at: Date }>(
        'insert into frozen select business_now() returning at',
      )
      const ms = rows[0]?.at.getTime() ?? 0
      sandbox.useClock({ now: () => ms, advance: (to) => clock.advance(to) })
    },
    async thaw() {
      await owner.query('delete from frozen')
      sandbox.useClock(clock)
    },
  }
}
