/** What a wallet has, now or at any instant before. Leaves out what has expired, swept or not (law 9). */
import { formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
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

interface BalanceRow {
  balance: string
  held: string
  available: string
  debt: string
  lots: LotView[]
}

/** A wallet as it is at this instant of business time, in one snapshot; undefined when there is no such account. */
export async function readBalance(database: Queryable, account: string): Promise<Balance | undefined> {
  const { rows } = await database.query<BalanceRow>({
    name: 'ledger_balance',
    text: 'select balance, held, available, debt, lots from ledger_balance($1)',
    values: [account],
  })
  return rows[0] && viewOf(account, rows[0])
}

/**
 * A wallet as it was at the end of an instant that is over, in the answer's words of today: a lot that was ended or
 * prolonged since shows the expiry that it has now. Undefined when there is no such account.
 * @param at business time
 * @throws Refusal `instant_not_over`: until then it can still change
 */
export async function readBalanceAt(
  database: Queryable,
  account: string,
  at: string,
): Promise<Balance | undefined> {
  // what was due by then is posted by this, so that the postings tell all
  const settled = await database.query<{ seq: string | null; over: boolean }>(
    'select ledger_settle($1) as seq, $2::timestamptz < business_now() as over',
    [account, at],
  )
  if (settled.rows[0]?.seq == null) return undefined
  if (!settled.rows[0].over) {
    throw new Refusal('instant_not_over', 'a balance can be asked for any instant that is over')
  }
  const { rows } = await database.query<BalanceRow>(
    'select balance, held, available, debt, lots from ledger_balance_at($1, $2)',
    [account, at],
  )
  return rows[0] && viewOf(account, rows[0])
}

function viewOf(account: string, row: BalanceRow): Balance {
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
