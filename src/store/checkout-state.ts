/** The workflow's side of the checkout table: what it reads before it opens a page, and where an order stands. */
import type { CheckoutPlan, CheckoutState } from '../domain/checkout.ts'
import type { Instant } from '../domain/calendar.ts'
import type { Kept } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'

export interface OrderRow {
  id: string
  account: string
  plan: string
  state: CheckoutState
  createdAt: Instant
  session: string | null
  subscription: string | null
}

export async function readOrder(database: Queryable, id: string): Promise<OrderRow | undefined> {
  const { rows } = await database.query<Omit<OrderRow, 'createdAt'> & { created_at: Date }>(
    `select id, account_id as account, plan, state, created_at, session_id as session, subscription_id as subscription
       from checkout where id = $1`,
    [id],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const { created_at, ...rest } = row
  return { ...rest, createdAt: created_at.toISOString() }
}

/** What opening a page takes: the customer, the price as it is sold now, and where to return. */
export interface Opening {
  account: string
  customer: string | null
  email: string | null
  name: string | null
  successUrl: string
  cancelUrl: string
  quantity: number
  savesMethod: boolean
  /** null: the catalogue has no such price in Stripe */
  terms: Kept | null
}

export async function readOpening(database: Queryable, order: string): Promise<Opening | undefined> {
  const { rows } = await database.query<{
    account: string
    customer: string | null
    email: string | null
    name: string | null
    success_url: string
    cancel_url: string
    quantity: number
    saves_method: boolean
    terms: Kept | null
  }>(
    `select c.account_id as account, a.stripe_customer_id as customer, p.email, p.name, c.success_url, c.cancel_url,
            c.quantity, c.saves_method, k.terms
       from checkout c
       join account a on a.id = c.account_id
       left join customer p on p.account_id = c.account_id
       left join catalog_price k on k.price_id = c.price_id
      where c.id = $1`,
    [order],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const { success_url, cancel_url, saves_method, ...rest } = row
  return { ...rest, successUrl: success_url, cancelUrl: cancel_url, savesMethod: saves_method }
}

/** Notes the page that was opened. */
export async function keepSession(
  database: Queryable,
  order: string,
  session: { id: string; url: string | null; expiresAt: Instant; price: string },
): Promise<void> {
  await database.query(
    `update checkout set session_id = $2, url = $3, expires_at = $4, price_id = $5, deadline_at = $4,
            state = case when state = 'opening' then 'open' else state end
      where id = $1`,
    [order, session.id, session.url, session.expiresAt, session.price],
  )
}

/** Notes where an order stands. An order that has ended stays as it ended, but for the subscription it led to. */
export async function keepCheckout(client: Queryable, order: string, plan: CheckoutPlan): Promise<void> {
  await client.query(
    `update checkout set state = $2, subscription_id = coalesce($3, subscription_id), deadline_at = $4 where id = $1`,
    [order, plan.state, plan.subscription, plan.deadline],
  )
}
