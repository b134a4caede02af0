/** The workflow's side of orders of packs: what they are, where they stand, and what was paid for them. */
import type { OrderState } from '../domain/checkout.ts'
import type { PackTerms } from '../domain/plan.ts'
import type { PackOrder, PurchasePlan } from '../domain/purchase.ts'
import type { Queryable } from './connect.ts'

/** Reads an order of packs with its page; undefined when this order is none. */
export async function readPackOrder(
  database: Queryable,
  id: string,
): Promise<{ order: PackOrder; session: string | null } | undefined> {
  const { rows } = await database.query<{
    account: string
    state: OrderState
    quantity: number
    terms: PackTerms
    created_at: Date
    session: string | null
  }>(
    `select c.account_id as account, c.state, c.quantity, k.terms, c.created_at, c.session_id as session
       from checkout c join catalog_price k on k.price_id = c.price_id where c.id = $1 and c.kind = 'pack'`,
    [id],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const { created_at, session, ...rest } = row
  return { session, order: { id, ...rest, createdAt: created_at.toISOString() } }
}

/**
 * Notes where an order stands, and what was paid for it. Call it with the wallet locked. What is settled stays.
 * @returns whether the order has changed by this
 */
export async function keepPurchase(
  client: Queryable,
  order: string,
  { state, deadline, settlement }: PurchasePlan,
): Promise<boolean> {
  const { rows } = await client.query<{ before: OrderState }>(
    `with before as (select id, state from checkout where id = $1 and state not in ('paid', 'late'))
     update checkout c set state = $2, deadline_at = $3, granted = $4, payment_id = $5, paid_at = $6
       from before where c.id = before.id returning before.state as before`,
    [
      order,
      state,
      deadline,
      settlement?.credits ?? null,
      settlement?.payment ?? null,
      settlement?.paidAt ?? null,
    ],
  )
  return rows[0] !== undefined && rows[0].before !== state
}
