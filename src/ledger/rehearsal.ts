/**
 * What a change of credits would do: it is done, looked at and taken back, in one transaction. SQL is the authority over
 * lots and lapses (law 6), so a preview is the same SQL and no second opinion.
 */
import { formatCredits } from '../domain/credits.ts'
import {
  type Foresight,
  type PlannedBalance,
  type PlannedDate,
  type PlannedPosting,
  type RefusalFacts,
  effectsOf,
  factsOf,
} from '../domain/effect.ts'
import { Refusal } from '../domain/error.ts'
import type { PlannedNotice } from '../domain/notice.ts'
import { type Client, type Pool, type Queryable, undone } from '../store/connect.ts'
import { readBalance } from './balance.ts'
import { overflowOf } from './overflow.ts'

export interface Rehearsal {
  /** whose wallet is looked at */
  account: string
  /** does it, and says what dates it made */
  act: (client: Client) => Promise<PlannedDate[]>
  /**
   * What a refusal leaves behind when it is acted: `lapses` of one statement, which commits what was due; `nothing` of a
   * transaction that is rolled back
   */
  refusalLeaves: 'lapses' | 'nothing'
}

/**
 * Does something, reads what it did, and takes all of it back: postings, holds, audit, notes, commands, notices. Nobody
 * else ever sees any of it; the wallet is locked meanwhile, as it would be.
 * @throws what `act` throws, unless it is a Refusal
 */
export async function rehearse(pool: Pool, { account, act, refusalLeaves }: Rehearsal): Promise<Foresight> {
  const seen = await undone<Foresight | Pick<Foresight, 'at' | 'refusal'>>(pool, async (client) => {
    const { at, seq } = await startOf(client, account)
    let dates: PlannedDate[] = []
    let refusal: RefusalFacts | null = null
    try {
      dates = await act(client)
    } catch (error) {
      const overflow = overflowOf(error)
      if (overflow !== undefined) return { at, refusal: factsOf(overflow) }
      if (!(error instanceof Refusal)) throw error
      refusal = factsOf(error)
      if (refusalLeaves === 'nothing') return { at, refusal }
    }
    const { postings, made } = await postingsSince(client, account, seq)
    const notices = await noticesWritten(client, account)
    const balance = await balanceOf(client, account, made)
    return { at, refusal, effects: effectsOf({ postings, notices, dates }), balance }
  })
  if ('effects' in seen) return seen
  return { ...seen, effects: effectsOf({}), balance: await balanceOf(pool, account, new Set()) }
}

/** Business time, and the wallet's last posting, before its lock: others may post until it is taken. */
async function startOf(client: Client, account: string): Promise<{ at: string; seq: string }> {
  const { rows } = await client.query<{ at: Date; seq: string }>(
    'select business_now() as at, coalesce((select seq from wallet where account_id = $1), 0) as seq',
    [account],
  )
  const row = rows[0]
  if (row === undefined) throw new Error('Postgres did not tell the time')
  return { at: row.at.toISOString(), seq: row.seq }
}

/** Written by this transaction: what others have committed meanwhile is theirs. */
const OURS = 'pg_current_xact_id_if_assigned()::xid'

async function postingsSince(
  client: Client,
  account: string,
  seq: string,
): Promise<{ postings: PlannedPosting[]; made: Set<string> }> {
  const { rows } = await client.query<{
    kind: PlannedPosting['kind']
    amount: string
    balance_after: string
    feature: string | null
    reason_code: string
    lots: { id: string; made: boolean; source: string; amount: string; expires_at: string | null }[]
  }>(
    `with ours as materialized (
       select * from posting where account_id = $1 and seq > $2 and xmin = ${OURS}
     )
     select p.kind, p.amount, p.balance_after, p.feature, p.reason_code,
            (select coalesce(jsonb_agg(jsonb_build_object(
                      'id', l.id, 'amount', l.amount::text, 'source', lot.kind, 'expires_at', lot.expires_at,
                      'made', exists (select 1 from ours o where o.key = lot.key)) order by l.place), '[]')
               from unnest(p.lot_ids, p.lot_amounts) with ordinality as l (id, amount, place)
               join lot on lot.id = l.id) as lots
       from ours p order by p.seq`,
    [account, seq],
  )
  const made = new Set<string>()
  const postings = rows.map((row) => ({
    kind: row.kind,
    amount: formatCredits(row.amount),
    balanceAfter: formatCredits(row.balance_after),
    feature: row.feature,
    reasonCode: row.reason_code,
    lots: row.lots.map((lot) => {
      if (lot.made) made.add(lot.id)
      return {
        lot: lot.made ? null : lot.id,
        source: lot.source,
        amount: formatCredits(lot.amount),
        expiresAt: lot.expires_at === null ? null : new Date(lot.expires_at).toISOString(),
      }
    }),
  }))
  return { postings, made }
}

async function balanceOf(
  database: Queryable,
  account: string,
  made: Set<string>,
): Promise<PlannedBalance | null> {
  const found = await readBalance(database, account)
  if (found === undefined) return null
  const { balance, held, available, debt, lots } = found
  return {
    balance,
    held,
    available,
    debt,
    lots: lots.map(({ id, source, remaining, expires_at: expiresAt }) => ({
      lot: made.has(id) ? null : id,
      source,
      remaining,
      expiresAt,
    })),
  }
}

async function noticesWritten(client: Client, account: string): Promise<PlannedNotice[]> {
  const { rows } = await client.query<PlannedNotice>(
    `select account_id as account, kind, key, cause, data from notice
      where account_id = $1 and xmin = ${OURS} order by kind, key`,
    [account],
  )
  return rows
}
