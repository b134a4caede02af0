/**
 * Which customer in Stripe an account has, and had: one that was deleted there is followed by a new one, and what comes
 * late for the old one still finds its account.
 */
import type { Queryable } from './connect.ts'

export interface CustomerTie {
  /** null: none yet, or it was deleted */
  customer: string | null
  /** the how manieth customer of the account that is, or that the next one will be: part of its key in Stripe */
  ordinal: number
}

export async function customerTie(database: Queryable, account: string): Promise<CustomerTie> {
  const { rows } = await database.query<{ customer: string | null; had: number }>(
    `select stripe_customer_id as customer, (select count(*)::int from stripe_customer where account_id = $1) as had
       from account where id = $1`,
    [account],
  )
  const { customer = null, had = 0 } = rows[0] ?? {}
  return { customer, ordinal: customer === null ? had + 1 : had }
}

/** Ties an account to its customer in Stripe, unless it is tied, and answers the one it is tied to. */
export async function tieCustomer(
  database: Queryable,
  account: string,
  { customer, ordinal }: { customer: string; ordinal: number },
): Promise<string> {
  const { rows } = await database.query<{ customer: string }>(
    `with tied as (
       update account set stripe_customer_id = coalesce(stripe_customer_id, $2) where id = $1
       returning id, stripe_customer_id
     ), kept as (
       insert into stripe_customer (id, account_id, ordinal)
       select stripe_customer_id, id, $3 from tied where stripe_customer_id = $2 on conflict do nothing
     )
     select stripe_customer_id as customer from tied`,
    [account, customer, ordinal],
  )
  return rows[0]?.customer ?? customer
}

/**
 * Notes that a customer was deleted in Stripe. Its account, credits and history stay; its next order makes a new one.
 * @returns the account, when it was not noted before
 */
export async function untieCustomer(client: Queryable, customer: string): Promise<string | undefined> {
  const { rows } = await client.query<{ account: string }>(
    `update stripe_customer set deleted_at = business_now() where id = $1 and deleted_at is null
     returning account_id as account`,
    [customer],
  )
  await client.query('update account set stripe_customer_id = null where stripe_customer_id = $1', [customer])
  return rows[0]?.account
}

/** The account that has this customer now; undefined when it was noted as deleted, or is none of ours. */
export async function tiedAccount(database: Queryable, customer: string): Promise<string | undefined> {
  const { rows } = await database.query<{ account: string }>(
    'select account_id as account from stripe_customer where id = $1 and deleted_at is null',
    [customer],
  )
  return rows[0]?.account
}
