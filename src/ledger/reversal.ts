/** Spends that were made, and giving them back: to the lots they drew on, to their lapsed state where they have lapsed. */
import { Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { postingKey, spendNamed } from '../domain/id.ts'
import type { Queryable } from '../store/connect.ts'
import { contentHash, metadataHash, metadataText, sortedMetadata } from './content.ts'

export interface ReversalInput {
  /** `spd_…`: a spend or a capture */
  spend: string
  /** the caller's Idempotency-Key */
  key: string
  /** absent: all that is left of it */
  amount?: Exact | undefined
  actor: string
  reasonCode: string
  metadata?: Record<string, string> | undefined
}

/** As first given, also at a replay. */
export interface ReversalResult {
  replayed: boolean
  id: string
  account: string
  amount: string
  /** how much of it had expired meanwhile and was gone again at once */
  lapsed: string
  /** after the reversal and these lapses */
  balance: string
  occurredAt: string
}

/**
 * Gives a spend back, or part of it: first what it owed, then to the lots it drew on, the last first.
 * @throws Refusal `spend_not_found`; `spend_reversed`: nothing is left of it; `reversal_too_large` with what is left;
 *   `idempotency_key_reused`
 */
export async function reverseSpend(database: Queryable, input: ReversalInput): Promise<ReversalResult> {
  const named = spendNamed(input.spend)
  if (named === undefined) throw noSpend(input.spend)
  const amount = input.amount === undefined ? null : formatCredits(input.amount)
  const key = postingKey.reversal(input.key)
  const hash = contentHash({
    spend: input.spend,
    amount,
    reason_code: input.reasonCode,
    ...metadataHash(key, input.metadata),
  })
  const { rows } = await database.query<{
    outcome: 'reversed' | 'replayed' | 'key_reused' | 'no_spend' | 'too_much'
    id: string
    amount: string
    balance_after: string
    lapsed: string
    available: string
    occurred_at: Date
  }>({
    name: 'ledger_reverse',
    text: 'select * from ledger_reverse($1,$2,$3,$4,$5,$6,$7,$8)',
    values: [
      named.account,
      named.seq,
      key,
      hash,
      amount,
      input.actor,
      input.reasonCode,
      metadataText(input.metadata),
    ],
  })
  const row = rows[0]
  if (row === undefined) throw new Error('Postgres did not answer a reversal')
  if (row.outcome === 'no_spend') throw noSpend(input.spend)
  if (row.outcome === 'too_much') throw tooMuch(input.spend, formatCredits(row.available))
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used for another reversal', {
      id: row.id,
    })
  }
  return {
    replayed: row.outcome === 'replayed',
    id: row.id,
    account: named.account,
    amount: formatCredits(row.amount),
    lapsed: formatCredits(row.lapsed),
    balance: formatCredits(new Exact(row.balance_after).minus(row.lapsed)),
    occurredAt: row.occurred_at.toISOString(),
  }
}

/** A spend or a capture, and what was given back of it. */
export interface SpendView {
  id: string
  account: string
  /** the hold that it captured */
  hold: string | null
  amount: string
  reversed: string
  feature: string | null
  actor: string
  /** right after it */
  balance: string
  occurredAt: string
  /** the caller's own notes, until they are erased */
  metadata: Record<string, string>
}

/** Reads a spend. @throws Refusal `spend_not_found` */
export async function readSpend(database: Queryable, id: string): Promise<SpendView> {
  const named = spendNamed(id)
  const { rows } = await database.query<{
    hold: string | null
    amount: string
    reversed: string
    feature: string | null
    actor: string
    balance_after: string
    occurred_at: Date
    metadata: Record<string, string> | null
  }>(
    `select p.source ->> 'hold' as hold, -p.amount as amount, p.feature, p.actor, p.balance_after, p.occurred_at,
            (select coalesce(sum(r.amount), 0) from reversal r
              where r.account_id = p.account_id and r.spend_seq = p.seq) as reversed,
            (select n.metadata from note n where n.subject = $3) as metadata
       from posting p where p.account_id = $1 and p.seq = $2 and p.kind in ('spend', 'capture')`,
    [named?.account ?? null, named?.seq ?? null, id],
  )
  const row = rows[0]
  if (named === undefined || row === undefined) throw noSpend(id)
  return {
    id,
    account: named.account,
    hold: row.hold,
    amount: formatCredits(row.amount),
    reversed: formatCredits(row.reversed),
    feature: row.feature,
    actor: row.actor,
    balance: formatCredits(row.balance_after),
    occurredAt: row.occurred_at.toISOString(),
    metadata: sortedMetadata(row.metadata ?? {}),
  }
}

function noSpend(id: string): Refusal {
  return new Refusal('spend_not_found', `there is no spend ${id}`)
}

function tooMuch(id: string, left: string): Refusal {
  return left === '0'
    ? new Refusal('spend_reversed', `all of ${id} was given back before`, { left })
    : new Refusal('reversal_too_large', `${left} credits are left of ${id}`, { left })
}
