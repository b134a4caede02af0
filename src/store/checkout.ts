/** Orders: the API's side of the checkout table. The workflow's side is `checkout-state.ts`. */
import { and, eq, inArray } from 'drizzle-orm'
import { Refusal } from '../domain/error.ts'
import type { Client } from './connect.ts'
import { checkout, orm, run } from './schema.ts'

export type OrderInput = Pick<
  typeof checkout.$inferInsert,
  'id' | 'accountId' | 'plan' | 'interval' | 'priceId' | 'successUrl' | 'cancelUrl' | 'metadata'
> & { planGroup: string }

const UNFINISHED = ['opening', 'open'] as const

/**
 * Writes an order inside the caller's transaction. An account has at most one unfinished order a plan group; the
 * database sees to that.
 * @throws Refusal `checkout_open`, with the order that is open
 */
export async function insertCheckout(client: Client, order: OrderInput): Promise<void> {
  const unfinished = inArray(checkout.state, [...UNFINISHED])
  const { rowCount } = await run(
    orm(client)
      .insert(checkout)
      .values(order)
      .onConflictDoNothing({ target: [checkout.accountId, checkout.planGroup], where: unfinished }),
  )
  if (rowCount === 1) return
  const [open] = await run(
    orm(client)
      .select({ id: checkout.id })
      .from(checkout)
      .where(
        and(eq(checkout.accountId, order.accountId), eq(checkout.planGroup, order.planGroup), unfinished),
      ),
  )
  throw new Refusal('checkout_open', 'a checkout for a plan of this group is open already', {
    subscription: open?.id ?? null,
  })
}
