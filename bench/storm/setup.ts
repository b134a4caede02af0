/** Makes what is to be renewed: accounts, customers with a card, subscriptions; each adopted by its workflow and paid. */
import { randomUUID } from 'node:crypto'
import { idFrom, workflowId } from '../../src/domain/id.ts'
import { METADATA } from '../../src/stripe/fact.ts'
import { eventually, type Stack } from '../../test/support/stack.ts'

export interface Subscriber {
  account: string
  customer: string
  subscription: string
}

export const PLAN = { plan: 'tier_2_20', interval: 'month', credits: '20' }
const AT_ONCE = 16

/** Runs `act` over all items, a few at once. */
export async function each<T, R>(items: T[], act: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async () => {
    for (let index = next++; index < items.length; index = next++)
      results[index] = await act(items[index] as T, index)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
  return results
}

/** Goes the fast way: straight to Stripe, then the adoption that a start of a worker does. Webhooks are off meanwhile. */
export async function makeSubscribers(stack: Stack, count: number): Promise<Subscriber[]> {
  const accounts = Array.from({ length: count }, () => idFrom('acc', randomUUID()))
  await stack.database.pool.query('insert into account (id) select unnest($1::text[])', [accounts])
  const { rows } = await stack.database.pool.query<{ price_id: string }>(
    'select price_id from catalog_price where plan = $1 and interval = $2 and on_sale',
    [PLAN.plan, PLAN.interval],
  )
  const price = rows[0]?.price_id
  if (price === undefined) throw new Error('the plan is not on sale')

  await stack.control('webhooks', { drop: {} })
  const subscribers = await each(accounts, async (account) => {
    const metadata = { [METADATA.account]: account }
    const customer = await stack.stripe.customers.create({ metadata })
    const card = await stack.stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })
    const { id } = await stack.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price }],
      default_payment_method: card.id,
      metadata,
      billing_mode: { type: 'flexible' },
    })
    return { account, customer: customer.id, subscription: id }
  })
  await stack.control('webhooks', { drop: false })
  await stack.temporal.schedule.getHandle(workflowId.duty('adopt', stack.config.taskQueue)).trigger()
  await eventually(
    'every first period is granted',
    async () => (await grantsOf(stack)) === count,
    120_000 + count * 100,
  )
  return subscribers
}

/** How many grants there are. */
export async function grantsOf({ database }: Stack): Promise<number> {
  const { rows } = await database.pool.query<{ grants: number }>(
    `select count(*)::int as grants from posting where kind = 'grant'`,
  )
  return rows[0]?.grants ?? 0
}

/** Events that no run of their owner has settled. */
export async function waitingEvents({ database }: Stack): Promise<number> {
  const { rows } = await database.pool.query<{ waiting: number }>(
    `select count(*)::int as waiting from processed_webhook_events where settled_at is null and parked_at is null`,
  )
  return rows[0]?.waiting ?? 0
}
