/** Reads of the ledger. They decide nothing and lock nothing, and leave out what has expired, swept or not (law 9). */
import { formatCredits } from '../domain/credits.ts'
import type { Queryable } from '../store/connect.ts'

export interface LotView {
  id: string
  source: string
  granted: string
  remaining: string
  expires_at: string | null
}

export interface Balance {
  account: string
  balance: string
  held: string
  available: string
  debt: string
  lots: LotView[]
}

/** A wallet as it is at this instant of business time, in one snapshot; undefined when there is no such account. */
export async function readBalance(database: Queryable, account: string): Promise<Balance | undefined> {
  const { rows } = await database.query<{
    balance: string
    held: string
    available: string
    debt: string
    lots: LotView[]
  }>({
    name: 'ledger_balance',
    text: 'select balance, held, available, debt, lots from ledger_balance($1)',
    values: [account],
  })
  const row = rows[0]
  if (row === undefined) return undefined
  return {
    account,
    balance: formatCredits(row.balance),
    held: formatCredits(row.held),
    available: formatCredits(row.available),
    debt: formatCredits(row.debt),
    lots: row.lots.map((lot) => ({
      ...lot,
      granted: formatCredits(lot.granted),
      remaining: formatCredits(lot.remaining),
      expires_at: lot.expires_at === null ? null : new Date(lot.expires_at).toISOString(),
    })),
  }
}

export interface LedgerEntry {
  id: string
  seq: string
  kind: string
  amount: string
  balance_after: string
  feature: string | null
  actor: string
  reason_code: string
  source: Record<string, string>
  lots: { id: string; amount: string }[]
  occurred_at: string
  recorded_at: string
}

/**
 * Postings of an account, newest first. Lapses that are due are posted before, so the newest entry's
 * `balance_after` is the balance.
 * @param before only entries with a smaller seq: the cursor
 */
export async function readLedger(
  database: Queryable,
  account: string,
  page: { limit: number; before?: string | undefined },
): Promise<LedgerEntry[]> {
  await database.query('select ledger_settle($1)', [account])
  const { rows } = await database.query<
    Omit<LedgerEntry, 'occurred_at' | 'recorded_at'> & {
      occurred_at: Date
      recorded_at: Date
    }
  >(
    `select posting_id(p.account_id, p.seq, p.kind) as id, p.seq, p.kind, p.amount, p.balance_after, p.feature, p.actor, p.reason_code, p.source,
            p.occurred_at, p.recorded_at,
            (select coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'amount', l.amount::text)), '[]')
               from unnest(p.lot_ids, p.lot_amounts) as l (id, amount)) as lots
       from posting p
      where p.account_id = $1 and ($2::bigint is null or p.seq < $2)
      order by p.seq desc limit $3`,
    [account, page.before ?? null, page.limit],
  )
  return rows.map((row) => ({
    ...row,
    amount: formatCredits(row.amount),
    balance_after: formatCredits(row.balance_after),
    lots: row.lots.map((lot) => ({ id: lot.id, amount: formatCredits(lot.amount) })),
    occurred_at: row.occurred_at.toISOString(),
    recorded_at: row.recorded_at.toISOString(),
  }))
}
