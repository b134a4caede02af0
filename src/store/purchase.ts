/** Orders of packs: the API's side of their rows in the checkout table. The workflow's side is `purchase-state.ts`. */
import { Refusal } from '../domain/error.ts'
import { limitsIn } from '../domain/catalog.ts'
import type { OrderState } from '../domain/checkout.ts'
import type { PackTerms } from '../domain/plan.ts'
import type { OrderedPack, OrderObservation } from '../domain/purchase-limit.ts'
import type { Position } from './account.ts'
import type { Client, Queryable } from './connect.ts'
import { catalogInForce, packOnSale } from './price-list.ts'
import { checkout, orm, run, type Texts } from './schema.ts'

/**
 * What is known of an account that is about to order. Locks the account's row until the transaction ends, so that
 * whoever orders at the same moment counts this order, too.
 * @throws Refusal `account_not_found`
 */
export async function observeOrder(
  client: Client,
  account: string,
  { pack, currency }: { pack: string; currency?: string | undefined },
): Promise<OrderObservation> {
  const { rowCount } = await client.query('select 1 from account where id = $1 for no key update', [account])
  if (rowCount === 0) throw new Refusal('account_not_found', `there is no account ${account}`)
  return await readOrderFacts(client, account, pack, currency)
}

/** The same without a lock, for whoever only looks. */
export async function readOrderFacts(
  client: Queryable,
  account: string,
  pack: string,
  currency?: string,
): Promise<OrderObservation> {
  const terms = await packOnSale(client, pack, currency)
  const inForce = await catalogInForce(client)
  const { rows } = await client.query<{ day: string; orders: string; one_less_in: string | null }>(
    `select coalesce(sum(amount_minor) filter (where currency = $2
              and (may_be_paid or paid_at > business_now() - interval '24 hours')), 0) as day,
            count(*) filter (where ordered_at > clock_timestamp() - interval '1 hour') as orders,
            ceil(extract(epoch from min(ordered_at) filter (where ordered_at > clock_timestamp() - interval '1 hour')
              + interval '1 hour' - clock_timestamp())) as one_less_in
       from (
         select amount_minor, currency, state in ('opening', 'open', 'processing') as may_be_paid, paid_at, ordered_at
           from checkout where account_id = $1 and kind = 'pack'
         union all
         select amount_minor, currency, state in ('charging', 'processing'),
                case when state = 'succeeded' then ended_at end, claimed_at
           from top_up_attempt where account_id = $1
       ) bought`,
    [account, terms?.currency ?? null],
  )
  const { day = '0', orders = '0', one_less_in: oneLessIn = null } = rows[0] ?? {}
  const within = inForce && terms && limitsIn(inForce, terms.currency)
  const limits = within && { ...within, purchaseHourMax: inForce.limits.purchaseHourMax }
  return {
    terms,
    limits,
    day,
    hour: { orders: Number(orders), oneLessIn: Math.max(1, Number(oneLessIn ?? 1)) },
  }
}

/** Writes an order inside the caller's transaction, once. */
export async function insertPurchase(
  client: Client,
  {
    order,
    ...row
  }: Pick<
    typeof checkout.$inferInsert,
    'id' | 'accountId' | 'quantity' | 'successUrl' | 'cancelUrl' | 'savesMethod' | 'metadata'
  > & { order: OrderedPack },
): Promise<void> {
  const { terms, amountMinor } = order
  await run(
    orm(client)
      .insert(checkout)
      .values({
        ...row,
        kind: 'pack',
        plan: terms.pack,
        priceId: terms.priceId,
        amountMinor: BigInt(amountMinor),
        currency: terms.currency,
      })
      .onConflictDoNothing({ target: checkout.id }),
  )
}

/** An order of packs as it stands. Holds a caller's metadata: for answers, never for logs. */
export interface PurchaseRow {
  id: string
  account: string
  state: OrderState
  quantity: number
  terms: PackTerms
  /** list price × quantity, in minor units */
  amount_minor: string
  currency: string
  session_id: string | null
  url: string | null
  expires_at: Date | null
  granted: string | null
  payment_id: string | null
  paid_minor: string | null
  paid_at: Date | null
  created_at: Date
  metadata: Texts
}

const SELECT = `select c.id, c.account_id as account, c.state, c.quantity, k.terms, c.amount_minor, c.currency, c.session_id,
    c.url, c.expires_at, c.granted, c.payment_id, p.amount_minor as paid_minor, c.paid_at, c.created_at, c.metadata
  from checkout c join catalog_price k on k.price_id = c.price_id left join payment p on p.order_id = c.id
 where c.kind = 'pack'`

/** Finds an order of packs; undefined when there is none. */
export async function findPurchase(database: Queryable, id: string): Promise<PurchaseRow | undefined> {
  const { rows } = await database.query<PurchaseRow>(`${SELECT} and c.id = $1`, [id])
  return rows[0]
}

/** Orders of packs of an account, newest first. */
export async function listPurchases(
  database: Queryable,
  account: string,
  page: { limit: number; after?: Position | undefined },
): Promise<PurchaseRow[]> {
  const { rows } = await database.query<PurchaseRow>(
    `${SELECT} and c.account_id = $1 and ($2::timestamptz is null or (c.created_at, c.id) < ($2, $3))
      order by c.created_at desc, c.id desc limit $4`,
    [account, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows
}
