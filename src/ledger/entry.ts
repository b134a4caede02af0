/** Where the credits of an account came from and went: its postings one by one, and what was used, added up. */
import { Exact, formatCredits } from '../domain/credits.ts'
import type { Queryable } from '../store/connect.ts'
import { sortedMetadata } from './content.ts'

export const ENTRY_KINDS = ['grant', 'spend', 'capture', 'reversal', 'adjustment', 'lapse'] as const
export type EntryKind = (typeof ENTRY_KINDS)[number]

export interface LedgerEntry {
  id: string
  seq: string
  kind: EntryKind
  amount: string
  balance_after: string
  feature: string | null
  actor: string
  reason_code: string
  source: Record<string, string>
  lots: { id: string; amount: string }[]
  occurred_at: string
  recorded_at: string
  /** a caller's own notes, until they are erased */
  metadata: Record<string, string>
}

export interface LedgerFilter {
  limit: number
  /** only entries with a smaller seq: the cursor */
  before?: string | undefined
  feature?: string | undefined
  kind?: EntryKind | undefined
  /** business time, from this instant on */
  from?: string | undefined
  /** business time, before this instant */
  to?: string | undefined
}

/**
 * Postings of an account, newest first. Lapses that are due are posted before, so the newest entry's
 * `balance_after` is the balance. Time is found by halving: postings are in the order of time.
 */
export async function readLedger(
  database: Queryable,
  account: string,
  filter: LedgerFilter,
): Promise<LedgerEntry[]> {
  await database.query('select ledger_settle($1)', [account])
  const { rows } = await database.query<
    Omit<LedgerEntry, 'occurred_at' | 'recorded_at' | 'metadata'> & {
      occurred_at: Date
      recorded_at: Date
      metadata: Record<string, string> | null
    }
  >(
    `select posting_id(p.account_id, p.seq, p.kind) as id, p.seq, p.kind, p.amount, p.balance_after, p.feature, p.actor,
            p.reason_code, p.source, p.occurred_at, p.recorded_at,
            (select coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'amount', l.amount::text)), '[]')
               from unnest(p.lot_ids, p.lot_amounts) as l (id, amount)) as lots,
            (select n.metadata from note n where n.subject = posting_id(p.account_id, p.seq, p.kind)) as metadata
       from posting p
      where p.account_id = $1 and ($2::bigint is null or p.seq < $2)
        and ($3::text is null or p.feature = $3) and ($4::text is null or p.kind = $4)
        and ($5::timestamptz is null or p.seq > (select ledger_seq_at($1, $5::timestamptz - interval '1 microsecond')))
        and ($6::timestamptz is null or p.seq <= (select ledger_seq_at($1, $6::timestamptz - interval '1 microsecond')))
      order by p.seq desc limit $7`,
    [
      account,
      filter.before ?? null,
      filter.feature ?? null,
      filter.kind ?? null,
      filter.from ?? null,
      filter.to ?? null,
      filter.limit,
    ],
  )
  return rows.map((row) => ({
    ...row,
    amount: formatCredits(row.amount),
    balance_after: formatCredits(row.balance_after),
    lots: row.lots.map((lot) => ({ id: lot.id, amount: formatCredits(lot.amount) })),
    occurred_at: row.occurred_at.toISOString(),
    recorded_at: row.recorded_at.toISOString(),
    metadata: sortedMetadata(row.metadata ?? {}),
  }))
}

/** What was used in a period, of one feature, on one day or in one month. */
export interface Usage {
  /** a slug; null: used without naming one, or not added up by feature */
  feature: string | null
  /** when the day or month began, in UTC; null when it is not added up by time */
  at: string | null
  /** spends and captures */
  spends: string
  spent: string
  /** given back in the period, whenever it was spent */
  reversed: string
  /** spent less reversed */
  used: string
}

/** The most features that are told apart; what they do not tell is in the total. */
export const FEATURES_MAX = 1000

const BUCKET = {
  feature: 'p.feature',
  day: `date_trunc('day', p.occurred_at, 'UTC')`,
  month: `date_trunc('month', p.occurred_at, 'UTC')`,
} as const

/**
 * Adds up what was used from one instant of business time to before another, from the postings.
 * @returns the whole, and its parts: features by what they used, days and months in order
 */
export async function readUsage(
  database: Queryable,
  account: string,
  { from, to, by }: { from: string; to: string; by: keyof typeof BUCKET },
): Promise<{ total: Usage; parts: Usage[] }> {
  const { rows } = await database.query<{
    whole: boolean
    part: string | Date | null
    spends: string
    spent: string
    reversed: string
  }>(
    `with period as materialized (
       select ledger_seq_at($1, $2::timestamptz - interval '1 microsecond') as low,
              ledger_seq_at($1, $3::timestamptz - interval '1 microsecond') as high
     ), used as (
       select ${BUCKET[by]} as part, p.kind, p.amount
         from period join posting p on p.account_id = $1 and p.seq > period.low and p.seq <= period.high
        where p.kind in ('spend', 'capture', 'reversal')
     )
     select grouping(part) = 1 as whole, part, count(*) filter (where kind <> 'reversal') as spends,
            coalesce(sum(-amount) filter (where kind <> 'reversal'), 0) as spent,
            coalesce(sum(amount) filter (where kind = 'reversal'), 0) as reversed
       from used group by grouping sets ((part), ())
      order by whole desc, ${by === 'feature' ? 'spent desc, part nulls last' : 'part'} limit $4`,
    [account, from, to, FEATURES_MAX + 1],
  )
  const usages = rows.map(({ part, spends, spent, reversed }) => ({
    feature: typeof part === 'string' ? part : null,
    at: part instanceof Date ? part.toISOString() : null,
    spends,
    spent: formatCredits(spent),
    reversed: formatCredits(reversed),
    used: formatCredits(new Exact(spent).minus(reversed)),
  }))
  const [total, ...parts] = usages
  if (total === undefined) throw new Error('Postgres did not answer the total')
  return { total, parts }
}
