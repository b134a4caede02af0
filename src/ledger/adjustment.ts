/** Corrections: credits that were missing, or that should not be there. No grant and no use, and never shown as either. */
import type { AdjustmentPlan } from '../domain/approval.ts'
import { Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { postingKey } from '../domain/id.ts'
import type { Queryable } from '../store/connect.ts'
import { metadataText } from './content.ts'
import { grant } from './post.ts'
import { insufficient } from './spend.ts'

export interface AdjustmentInput {
  account: string
  /** `apr_…`: whose plan this is; it is carried out once */
  approval: string
  plan: AdjustmentPlan
  /** the fingerprint of what was approved: what "the same content" means */
  planHash: string
  /** who decided it */
  actor: string
  reasonCode: string
  metadata?: Record<string, string> | undefined
}

export interface AdjustmentResult {
  posting: string
  /** what it did to the balance: below zero is a debit */
  amount: string
  /** after it */
  balance: string
}

/**
 * Makes a correction inside the caller's transaction; its first statement locks the wallet. A credit is a lot of its own
 * and repays a debt first; a debit takes what is available, soonest to expire first.
 * @throws Refusal `insufficient_credits`: a debit that may leave no debt; `account_not_found`
 */
export async function adjust(client: Queryable, input: AdjustmentInput): Promise<AdjustmentResult> {
  return input.plan.direction === 'credit' ? await credit(client, input) : await debit(client, input)
}

async function credit(client: Queryable, input: AdjustmentInput): Promise<AdjustmentResult> {
  const { account, approval, plan, planHash, actor, reasonCode, metadata } = input
  const { posting, amount, balanceAfter } = await grant(client, {
    account,
    key: postingKey.adjustment(approval),
    kind: 'adjustment',
    amount: plan.amount,
    expiresAt: plan.expiresAt ?? undefined,
    priority: plan.priority,
    actor,
    reasonCode,
    source: { approval },
    content: { plan: planHash },
    metadata,
  })
  return { posting, amount, balance: balanceAfter }
}

async function debit(client: Queryable, input: AdjustmentInput): Promise<AdjustmentResult> {
  const { account, approval, plan, planHash, actor, reasonCode, metadata } = input
  const { rows } = await client.query<{
    outcome: 'debited' | 'replayed' | 'key_reused' | 'insufficient' | 'no_account'
    id: string
    amount: string
    balance_after: string
    available: string
  }>({
    name: 'ledger_debit',
    text: 'select * from ledger_debit($1,$2,$3,$4,$5,$6,$7,$8,$9)',
    values: [
      account,
      postingKey.adjustment(approval),
      planHash,
      plan.amount,
      plan.overdraft,
      actor,
      reasonCode,
      JSON.stringify({ approval }),
      metadataText(metadata),
    ],
  })
  const [row] = rows
  if (row === undefined) throw new Error('Postgres did not answer a debit')
  if (row.outcome === 'no_account') {
    throw new Refusal('account_not_found', `there is no account ${account}`)
  }
  if (row.outcome === 'insufficient') throw insufficient(row.available, new Exact(plan.amount))
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', `${approval} was carried out with other content`, {
      posting: row.id,
    })
  }
  return {
    posting: row.id,
    amount: formatCredits(row.amount),
    balance: formatCredits(row.balance_after),
  }
}
