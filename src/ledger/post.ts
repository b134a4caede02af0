/** The one door through which credits come in (law 1): a grant, once per business key. */
import { type Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import type { Queryable } from '../store/connect.ts'
import { contentHash, metadataHash, metadataText } from './content.ts'

export type LotKind = 'plan' | 'pack' | 'trial' | 'goodwill' | 'promotion' | 'adjustment'

/** Where granted credits come from. System accounts are names: no rows, no lots, no locks. */
const SOURCE_OF: Record<LotKind, string> = {
  plan: 'system:plan',
  pack: 'system:sold',
  trial: 'system:trial',
  goodwill: 'system:goodwill',
  promotion: 'system:promotion',
  adjustment: 'system:adjusted',
}

export interface GrantInput {
  account: string
  /** from `postingKey` */
  key: string
  kind: LotKind
  amount: Exact | string
  /** business time; absent: never */
  expiresAt?: string | undefined
  /** lower burns first among lots that expire together */
  priority?: number
  /**
   * a recurring lot: it succeeds those of the same subscription with an earlier period; `carry`, none unless told
   * otherwise, of what is left in them lives on as long as it does, the rest lapses; null: it succeeds nothing
   */
  recurring?: { subscription: string; periodStart: string; carry?: string | null | undefined } | undefined
  payment?: string | undefined
  actor: string
  reasonCode: string
  source: Record<string, string>
  /** what else a replay must say alike, beside the amount, the kind and the period */
  content?: Record<string, string | null>
  /** a caller's own notes, kept where they can be erased */
  metadata?: Record<string, string> | undefined
}

export interface GrantResult {
  outcome: 'granted' | 'replayed'
  posting: string
  lot: string
  amount: string
  balanceAfter: string
  occurredAt: Date
}

/**
 * Grants credits inside the caller's transaction; its first statement locks the wallet, so call it first.
 * Under the lock: due lapses are posted, a known key answers what it answered, debt is repaid, predecessors lapse.
 * @throws Refusal `account_not_found`; `idempotency_key_reused` when the key was used for other content
 */
export async function grant(client: Queryable, input: GrantInput): Promise<GrantResult> {
  const amount = formatCredits(input.amount)
  const hash = contentHash({
    amount,
    kind: input.kind,
    subscription: input.recurring?.subscription ?? null,
    period_start: input.recurring?.periodStart ?? null,
    ...input.content,
    ...metadataHash(input.key, input.metadata),
  })
  const { rows } = await client.query<{
    outcome: 'granted' | 'replayed' | 'key_reused' | 'no_account'
    id: string
    lot_id: string
    amount: string
    balance_after: string
    occurred_at: Date
  }>({
    name: 'ledger_grant',
    text: 'select * from ledger_grant($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16)',
    values: [
      input.account,
      input.key,
      hash,
      input.kind,
      amount,
      input.expiresAt ?? null,
      input.priority ?? 100,
      input.recurring?.subscription ?? null,
      input.recurring?.periodStart ?? null,
      input.payment ?? null,
      SOURCE_OF[input.kind],
      input.actor,
      input.reasonCode,
      JSON.stringify(input.source),
      input.recurring?.carry === undefined ? '0' : input.recurring.carry,
      metadataText(input.metadata),
    ],
  })
  const row = rows[0]
  if (row === undefined || row.outcome === 'no_account') {
    throw new Refusal('account_not_found', `there is no account ${input.account}`)
  }
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', `the key ${input.key} was used for another grant`, {
      posting: row.id,
    })
  }
  return {
    outcome: row.outcome,
    posting: row.id,
    lot: row.lot_id,
    amount: formatCredits(row.amount),
    balanceAfter: formatCredits(row.balance_after),
    occurredAt: row.occurred_at,
  }
}
