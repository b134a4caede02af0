/** Which prorations are settled, and how many credits a subscription still owes for money that was given back. */
import { formatCredits } from '../domain/credits.ts'
import type { SettlementStep } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'

/** Every settled key of a subscription, and the credits that its next grants are to make good. */
export async function settlementsOf(
  database: Queryable,
  subscription: string,
): Promise<{ settled: string[]; owed: string }> {
  const { rows } = await database.query<{ settled: string[]; owed: string }>(
    `select coalesce(array_agg(key order by key), '{}') as settled, coalesce(sum(owed), 0)::text as owed
       from settlement where subscription_id = $1`,
    [subscription],
  )
  return { settled: rows[0]?.settled ?? [], owed: formatCredits(rows[0]?.owed ?? '0') }
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
