/** Which prorations are settled, and how many credits an account still owes for money that was given back. */
import { formatCredits } from '../domain/credits.ts'
import type { SettlementStep } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'

/**
 * Every settled key of a subscription, and the credits that the next grants of its account are to make good: those of
 * all its subscriptions, for what Stripe gives back is the customer's and pays for any of them.
 */
export async function settlementsOf(
  database: Queryable,
  account: string,
  subscription: string,
): Promise<{ settled: string[]; owed: string }> {
  const { rows } = await database.query<{ settled: string[] | null; owed: string | null }>(
    `select array_agg(key order by key) filter (where subscription_id = $2) as settled, sum(owed)::text as owed
       from settlement where account_id = $1`,
    [account, subscription],
  )
  const { settled, owed } = rows[0] ?? {}
  return { settled: settled ?? [], owed: formatCredits(owed ?? '0') }
}

/** Writes settlements that are not there yet; those that are stay as they were. */
export async function writeSettlements(
  client: Queryable,
  account: string,
  subscription: string,
  settlements: SettlementStep[],
): Promise<void> {
  for (const { key, invoice, owed } of settlements) {
    await client.query(
      `insert into settlement (key, account_id, subscription_id, invoice_id, owed) values ($1, $2, $3, $4, $5)
       on conflict (key) do nothing`,
      [key, account, subscription, invoice, owed],
    )
  }
}
