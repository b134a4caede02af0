/** Small reads of the ledger that an activity needs before it posts. */
import type { Instant } from '../domain/calendar.ts'
import { Refusal } from '../domain/error.ts'
import type { Queryable } from '../store/connect.ts'

/** Which of these keys have a posting in the account already. */
export async function knownKeys(database: Queryable, account: string, keys: string[]): Promise<string[]> {
  if (keys.length === 0) return []
  const { rows } = await database.query<{ key: string }>(
    'select key from posting where account_id = $1 and key = any($2)',
    [account, keys],
  )
  return rows.map((row) => row.key)
}

/** When the last credits that a subscription brought lapse; null: never, or it brought none. */
export async function lastLapse(
  database: Queryable,
  account: string,
  subscription: string,
): Promise<Instant | null> {
  const { rows } = await database.query<{ at: Date | null }>(
    `select case when bool_and(expires_at is not null) then max(expires_at) end as at
       from lot where account_id = $1 and subscription_id = $2`,
    [account, subscription],
  )
  return rows[0]?.at?.toISOString() ?? null
}

/**
 * Locks the wallet and posts its due lapses: the first statement of every transaction that touches an account.
 * @throws Refusal `account_not_found`
 */
export async function lockWallet(client: Queryable, account: string): Promise<void> {
  const { rows } = await client.query<{ seq: string | null }>('select ledger_settle($1) as seq', [account])
  if (rows[0]?.seq == null) throw new Refusal('account_not_found', `there is no account ${account}`)
}
