/** Accounts: whose credits they are. The wallet comes with the account, by a trigger; the ledger owns it. */
import { Refusal } from '../domain/error.ts'
import type { Client, Queryable } from './connect.ts'
import { type CustomerInput, insertCustomer } from './customer.ts'
import type { Texts } from './schema.ts'

/** An account with its customer. Holds personal data: for answers to the caller, never for logs. */
export interface Account {
  id: string
  createdAt: Date
  stripeCustomerId: string | null
  externalId: string | null
  email: string | null
  name: string | null
  metadata: Texts
}

interface AccountRow {
  id: string
  created_at: Date
  stripe_customer_id: string | null
  external_id: string | null
  email: string | null
  name: string | null
  metadata: Texts | null
}

const SELECT = `select a.id, a.created_at, a.stripe_customer_id, c.external_id, c.email, c.name, c.metadata
  from account a left join customer c on c.account_id = a.id`

function accountOf(row: AccountRow): Account {
  return {
    id: row.id,
    createdAt: row.created_at,
    stripeCustomerId: row.stripe_customer_id,
    externalId: row.external_id,
    email: row.email,
    name: row.name,
    metadata: row.metadata ?? {},
  }
}

/**
 * Makes an account, its wallet and its customer inside the caller's transaction.
 * @throws Refusal `external_id_taken`, with the account that has it
 */
export async function createAccount(client: Client, id: string, customer: CustomerInput): Promise<Account> {
  await client.query('insert into account (id) values ($1)', [id])
  const taken = await insertCustomer(client, id, customer)
  if (taken !== undefined) {
    throw new Refusal('external_id_taken', 'another account has this external_id', { account: taken })
  }
  return requireAccount(client, id)
}

/** Reads an account; undefined when there is none. */
export async function readAccount(database: Queryable, id: string): Promise<Account | undefined> {
  const { rows } = await database.query<AccountRow>(`${SELECT} where a.id = $1`, [id])
  return rows[0] && accountOf(rows[0])
}

/** Reads an account. @throws Refusal `account_not_found` */
export async function requireAccount(database: Queryable, id: string): Promise<Account> {
  const account = await readAccount(database, id)
  if (account === undefined) throw new Refusal('account_not_found', `there is no account ${id}`)
  return account
}

/**
 * Finds whose a Stripe object is: the account that its customer is or was tied to, or else the one its metadata names.
 * @returns null when it is nobody's of ours
 */
export async function findAccount(
  database: Queryable,
  named: { customer: string | null; metadata: string | null },
): Promise<string | null> {
  const { rows } = await database.query<{ id: string }>(
    `select account_id as id from stripe_customer where id = $1
     union all
     select id from account where id = $2 and not exists (select from stripe_customer where id = $1)`,
    [named.customer, named.metadata],
  )
  return rows[0]?.id ?? null
}

/** Where a list goes on: after the row with this time and id. Lists go from the newest to the oldest. */
export interface Position {
  at: string
  id: string
}

/** Accounts, newest first. */
export async function listAccounts(
  database: Queryable,
  page: { limit: number; after?: Position | undefined; externalId?: string | undefined },
): Promise<Account[]> {
  const { rows } = await database.query<AccountRow>(
    `${SELECT}
      where ($1::text is null or c.external_id = $1)
        and ($2::timestamptz is null or (a.created_at, a.id) < ($2, $3))
      order by a.created_at desc, a.id desc limit $4`,
    [page.externalId ?? null, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows.map(accountOf)
}
