/** The one door through which credits are used: a spend, in one round trip, decided by SQL under the wallet's lock. */
import { type Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { postingKey } from '../domain/id.ts'
import type { Queryable } from '../store/connect.ts'
import { contentHash } from './post.ts'

export interface SpendInput {
  account: string
  /** the caller's Idempotency-Key */
  key: string
  amount: Exact
  feature?: string | undefined
  actor: string
  /** records work already done, whatever the balance; the shortfall becomes debt */
  overdraft?: boolean
}

export interface SpendResult {
  /** the answer was given before under this key; `amount` and `balance` are as first given */
  replayed: boolean
  id: string
  amount: string
  balance: string
}

/**
 * Spends credits: soonest to expire first. One statement, one transaction; safe to retry under the same key, also
 * when the connection was lost and nobody knows whether it committed.
 * @throws Refusal `insufficient_credits` (nothing was written), `idempotency_key_reused`, `account_not_found`
 */
export async function spend(database: Queryable, input: SpendInput): Promise<SpendResult> {
  const amount = formatCredits(input.amount)
  const overdraft = input.overdraft ?? false
  const { rows } = await database.query<{
    outcome: 'spent' | 'replayed' | 'key_reused' | 'insufficient' | 'no_account'
    id: string
    amount: string
    balance_after: string
    available: string
  }>({
    name: 'ledger_spend',
    text: 'select outcome, id, amount, balance_after, available from ledger_spend($1,$2,$3,$4,$5,$6,$7)',
    values: [
      input.account,
      postingKey.spend(input.key),
      contentHash({ amount, feature: input.feature ?? null, overdraft }),
      amount,
      input.feature ?? null,
      input.actor,
      overdraft,
    ],
  })
  const row = rows[0]
  if (row === undefined || row.outcome === 'no_account') {
    throw new Refusal('account_not_found', `there is no account ${input.account}`)
  }
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used for another spend', {
      id: row.id,
    })
  }
  if (row.outcome === 'insufficient') {
    const available = formatCredits(row.available)
    throw new Refusal(
      'insufficient_credits',
      `${available} credits are available, ${amount} were asked for`,
      {
        available,
      },
    )
  }
  return {
    replayed: row.outcome === 'replayed',
    id: row.id,
    amount: formatCredits(row.amount),
    balance: formatCredits(row.balance_after),
  }
}
