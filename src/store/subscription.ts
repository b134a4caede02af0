/**
 * Reads of subscriptions for the API: an order and the mirror of what Stripe made of it, as one thing; and free plans.
 * An order's id and Stripe's id both find it. The workflow's side is `mirror.ts`, a free plan's is `free.ts`.
 */
import { ENDED } from '../domain/status.ts'
import type { OwedPayment, PendingChange } from '../domain/subscription-facts.ts'
import type { Position } from './account.ts'
import type { Queryable } from './connect.ts'
import type { Texts } from './schema.ts'

/** Of a subscription's status, in SQL: Stripe may bill it again. */
export const LIVE = `not in (${ENDED.map((status) => `'${status}'`).join(', ')})`

/** A subscription from its order on. Holds a caller's metadata: for answers, never for logs. */
export interface SubscriptionRow {
  /** the order's id; a free plan's; or Stripe's, when no order of ours began it */
  id: string
  account: string
  /** Stripe's id; null until Stripe has one, and for a free plan */
  stripe_id: string | null
  plan: string | null
  interval: 'month' | 'year' | null
  quantity: number | null
  /** Stripe's status; null until there is a mirror */
  status: string | null
  /** where the order stands; null when no order of ours began it */
  order_state: 'opening' | 'open' | 'paid' | 'abandoned' | 'failed' | null
  role: 'primary' | 'duplicate' | 'fallback' | null
  session_id: string | null
  url: string | null
  expires_at: Date | null
  current_period_start: Date | null
  current_period_end: Date | null
  cancel_at: Date | null
  pending_change: PendingChange | null
  payment: OwedPayment | null
  /** null until there is a mirror */
  paused: boolean | null
  ended_at: Date | null
  created_at: Date
  metadata: Texts
}

const COLUMNS = `coalesce(c.id, s.id) as id, coalesce(c.account_id, s.account_id) as account,
  case when s.role = 'fallback' then null else coalesce(s.id, c.subscription_id) end as stripe_id, coalesce(s.plan, c.plan) as plan,
  coalesce(s.interval, c.interval) as interval, s.quantity, s.status, c.state as order_state, s.role, c.session_id,
  c.url, c.expires_at, s.current_period_start, s.current_period_end, s.cancel_at, s.pending_change, s.payment, s.paused, s.ended_at,
  coalesce(c.created_at, s.created_at) as created_at, coalesce(c.metadata, s.metadata) as metadata`

const JOINED = 's.order_id = c.id or s.id = c.subscription_id'

/** Finds a subscription by its order's id or by Stripe's; undefined when there is none. */
export async function findSubscription(
  database: Queryable,
  id: string,
): Promise<SubscriptionRow | undefined> {
  const from = id.startsWith('ord_')
    ? `checkout c left join subscription s on ${JOINED} where c.id = $1 and c.kind = 'plan'`
    : `subscription s left join checkout c on ${JOINED} where s.id = $1`
  const { rows } = await database.query<SubscriptionRow>(`select ${COLUMNS} from ${from}`, [id])
  return rows[0]
}

/** Subscriptions and orders of an account, newest first. */
export async function listSubscriptions(
  database: Queryable,
  account: string,
  page: { limit: number; after?: Position | undefined },
): Promise<SubscriptionRow[]> {
  const { rows } = await database.query<SubscriptionRow>(
    `select * from (
       select ${COLUMNS} from checkout c left join subscription s on ${JOINED}
        where c.account_id = $1 and c.kind = 'plan'
       union all
       select ${COLUMNS} from subscription s left join checkout c on ${JOINED}
        where s.account_id = $1 and c.id is null
     ) every
     where ($2::timestamptz is null or (created_at, id) < ($2, $3))
     order by created_at desc, id desc limit $4`,
    [account, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows
}

/**
 * The live subscription in Stripe of an account in a plan group; undefined when there is none. A free plan is none. It is
 * the primary, or a duplicate of one that has ended a moment ago.
 */
export async function liveSubscription(
  database: Queryable,
  account: string,
  group: string,
): Promise<{ id: string } | undefined> {
  const { rows } = await database.query<{ id: string }>(
    `select coalesce(order_id, id) as id from subscription
      where account_id = $1 and plan_group = $2 and role <> 'fallback'
        and status ${LIVE}
      order by role = 'primary' desc, created_at, id limit 1`,
    [account, group],
  )
  return rows[0]
}
