/**
 * Personal data, in this table and nowhere else (law 13). Plain SQL with parameters; nothing here is logged, and no
 * other table may copy from it, but for what was answered word for word (`reply.ts`), which is erased with it.
 */
import type { Client, Queryable } from './connect.ts'
import type { Texts } from './schema.ts'

/** Who an account belongs to, as the product that uses us describes it. */
export interface CustomerInput {
  externalId: string | null
  email: string | null
  name: string | null
  metadata: Texts
}

/**
 * Writes the customer of a new account, inside the transaction that makes the account.
 * @returns undefined, or the account that has this external id already
 */
export async function insertCustomer(
  client: Client,
  account: string,
  input: CustomerInput,
): Promise<string | undefined> {
  const { rowCount } = await client.query(
    `insert into customer (account_id, external_id, email, name, metadata) values ($1, $2, $3, $4, $5)
     on conflict (external_id) do nothing`,
    [account, input.externalId, input.email, input.name, JSON.stringify(input.metadata)],
  )
  if (rowCount === 1) return undefined
  const { rows } = await client.query<{ account_id: string }>(
    'select account_id from customer where external_id = $1',
    [input.externalId],
  )
  return rows[0]?.account_id ?? 'unknown'
}

/** Where e-mail goes, by account; those without an address are left out. Read when something is sent, kept nowhere. */
export async function readAddresses(database: Queryable, accounts: string[]): Promise<Map<string, string>> {
  const { rows } = await database.query<{ account_id: string; email: string }>(
    'select account_id, email from customer where account_id = any($1) and email is not null',
    [accounts],
  )
  return new Map(rows.map((row) => [row.account_id, row.email]))
}
