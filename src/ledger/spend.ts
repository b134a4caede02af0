/** The one door through which credits are used: a spend, in one round trip, decided by SQL under the wallet's lock. */
import { type Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { postingKey } from '../domain/id.ts'
import type { Queryable } from '../store/connect.ts'
import { contentHash, metadataHash, metadataText } from './content.ts'

export interface SpendInput {
  account: string
  /** the caller's Idempotency-Key */
  key: string
  amount: Exact
  feature?: string | undefined
  actor: string
  /** records work already done, whatever the balance; the shortfall becomes debt */
  overdraft?: boolean | undefined
  /** a caller's own notes, kept where they can be erased */
  metadata?: Record<string, string> | undefined
}

export interface SpendResult {
  /** the answer was given before under this key; `amount` and `balance` are as first given */
  replayed: boolean
  id: string
  amount: string
  balance: string
}

interface SpendRow {
  outcome: 'spent' | 'replayed' | 'key_reused' | 'insufficient' | 'no_account'
  id: string
  amount: string
  balance_after: string
  available: string
}

/** A spend as the database takes it. */
type SpendValues = [
  account: string,
  key: string,
  hash: string,
  amount: string,
  feature: string | null,
  actor: string,
  overdraft: boolean,
  metadata: string | null,
]

function valuesOf(input: SpendInput): SpendValues {
  const amount = formatCredits(input.amount)
  const key = postingKey.spend(input.key)
  const feature = input.feature ?? null
  const overdraft = input.overdraft ?? false
  const hash = contentHash({ amount, feature, overdraft, ...metadataHash(key, input.metadata) })
  return [input.account, key, hash, amount, feature, input.actor, overdraft, metadataText(input.metadata)]
}

/**
 * Spends credits: soonest to expire first. One statement, one transaction; safe to retry under the same key, also
 * when the connection was lost and nobody knows whether it committed.
 * @throws Refusal `insufficient_credits` (nothing was written), `idempotency_key_reused`, `account_not_found`
 */
export async function spend(database: Queryable, input: SpendInput): Promise<SpendResult> {
  const { rows } = await database.query<SpendRow>({
    name: 'ledger_spend',
    text: 'select outcome, id, amount, balance_after, available from ledger_spend($1,$2,$3,$4,$5,$6,$7,$8)',
    values: valuesOf(input),
  })
  return answerOf(rows[0], input)
}

/**
 * Spends for many callers in one statement and one transaction, each under its own key, in their order. A key may be in
 * it once.
 * @param careful looks for every key first; otherwise a key that is known fails the whole batch (`23505`)
 * @param place of batches that are sent before those before them are answered: fails (`PB001`) unless the batch `after`
 *   which it goes was done last on this connection
 * @returns for each its answer, or the Refusal that `spend` would have thrown
 * @throws what Postgres says, and then nothing was done; or the driver, and then only the keys tell what was
 */
export async function spendMany(
  database: Queryable,
  inputs: SpendInput[],
  careful = true,
  place?: { id: string; after: string | undefined },
): Promise<(SpendResult | Refusal)[]> {
  const rows = inputs.map(valuesOf)
  const answers = await database.query<SpendRow & { ord: string }>({
    name: 'ledger_spend_many',
    text:
      'select ord, outcome, id, amount, balance_after, available from ledger_batch_begin($10,$11), ' +
      'ledger_spend_many($1,$2,$3,$4,$5,$6,$7,$8,$9)',
    values: [
      ...[0, 1, 2, 3, 4, 5, 6, 7].map((column) => rows.map((row) => row[column])),
      careful,
      place?.id,
      place?.after,
    ],
  })
  const byPlace = new Map(answers.rows.map((row) => [row.ord, row]))
  return inputs.map((input, index) => {
    try {
      return answerOf(byPlace.get(String(index + 1)), input)
    } catch (error) {
      if (error instanceof Refusal) return error
      throw error
    }
  })
}

function answerOf(row: SpendRow | undefined, input: SpendInput): SpendResult {
  if (row === undefined) throw new Error('Postgres did not answer a spend')
  if (row.outcome === 'no_account') {
    throw new Refusal('account_not_found', `there is no account ${input.account}`)
  }
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used for another spend', {
      id: row.id,
    })
  }
  if (row.outcome === 'insufficient') throw insufficient(row.available, input.amount)
  return {
    replayed: row.outcome === 'replayed',
    id: row.id,
    amount: formatCredits(row.amount),
    balance: formatCredits(row.balance_after),
  }
}

/** Too little is available. Nothing was written and the key was not used up. */
export function insufficient(free: string, asked: Exact): Refusal {
  const available = formatCredits(free)
  const text = `${available} credits are available, ${formatCredits(asked)} were asked for`
  return new Refusal('insufficient_credits', text, { available })
}
