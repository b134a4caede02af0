/** The workflow's side of the subscription table: keeps the mirror of what Stripe says. It never decides money. */
import type { Mirror, MirrorBefore, PendingChange } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'

/**
 * Writes the mirror of a subscription. Call it with the account's wallet locked: the first live subscription of an
 * account and plan group is its primary, another one is stored as `duplicate`.
 * @returns the role, whether a person must settle it, and what changed since the last time, for the audit
 */
export async function keepMirror(
  client: Queryable,
  mirror: Mirror,
): Promise<{
  role: 'primary' | 'duplicate'
  /** a duplicate that nobody has settled */
  unsettled: boolean
  changed: Record<string, string | null> | undefined
}> {
  const before = (
    await client.query<{
      role: 'primary' | 'duplicate'
      status: string
      cancel_at: Date | null
      plan: string | null
      kept_by: string | null
    }>('select role, status, cancel_at, plan, kept_by from subscription where id = $1', [mirror.id])
  ).rows[0]
  const role = before?.role ?? (await newRole(client, mirror))
  const unsettled = role === 'duplicate' && before?.kept_by == null
  await client.query(
    `insert into subscription (id, account_id, order_id, role, plan, plan_group, interval, price_id, quantity, status,
       current_period_start, current_period_end, anchor, cancel_at, ended_at, deadline_at, attention, observed_at, created_at,
       pending_change, paused, payment, news)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, coalesce($23, 0))
     on conflict (id) do update set
       plan = excluded.plan, plan_group = excluded.plan_group, interval = excluded.interval,
       price_id = excluded.price_id, quantity = excluded.quantity, status = excluded.status,
       current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
       anchor = excluded.anchor, cancel_at = excluded.cancel_at, ended_at = excluded.ended_at,
       deadline_at = excluded.deadline_at, attention = excluded.attention, observed_at = excluded.observed_at,
       pending_change = excluded.pending_change, paused = excluded.paused, payment = excluded.payment,
       -- who comes late, or from before there was a count, takes none back
       news = greatest(subscription.news, excluded.news)`,
    [
      mirror.id,
      mirror.account,
      mirror.order,
      role,
      mirror.plan,
      mirror.group,
      mirror.interval,
      mirror.priceId,
      mirror.quantity,
      mirror.status,
      mirror.periodStart,
      mirror.periodEnd,
      mirror.anchor,
      mirror.cancelAt,
      mirror.endedAt,
      mirror.deadline,
      mirror.attention ?? (unsettled ? 'duplicate_subscription' : null),
      mirror.observedAt,
      mirror.created,
      mirror.pending == null ? null : JSON.stringify(mirror.pending),
      mirror.paused ?? false,
      mirror.payment == null ? null : JSON.stringify(mirror.payment),
      mirror.news ?? null,
    ],
  )
  const cancelAt = before?.cancel_at?.toISOString() ?? null
  const same = before?.status === mirror.status && cancelAt === mirror.cancelAt && before.plan === mirror.plan
  return {
    role,
    unsettled,
    changed: same
      ? undefined
      : { status: mirror.status, plan: mirror.plan, cancel_at: mirror.cancelAt, role },
  }
}

async function newRole(client: Queryable, mirror: Mirror): Promise<'primary' | 'duplicate'> {
  const { rowCount } = await client.query(
    `select 1 from subscription where account_id = $1 and plan_group = $2 and role = 'primary'
       and status not in ('canceled', 'incomplete_expired')`,
    [mirror.account, mirror.group],
  )
  return rowCount === 0 ? 'primary' : 'duplicate'
}

/** The mirror as the pass before left it; null before the first. */
export async function mirrorBefore(database: Queryable, id: string): Promise<MirrorBefore | null> {
  const { rows } = await database.query<{
    status: string
    price_id: string | null
    quantity: number
    plan: string | null
    cancel_at: Date | null
    pending_change: PendingChange | null
    paused: boolean
    news: number
  }>(
    'select status, price_id, quantity, plan, cancel_at, pending_change, paused, news from subscription where id = $1',
    [id],
  )
  const row = rows[0]
  if (row === undefined) return null
  return {
    status: row.status,
    priceId: row.price_id,
    quantity: row.quantity,
    plan: row.plan,
    cancelAt: row.cancel_at?.toISOString() ?? null,
    pending: row.pending_change,
    paused: row.paused,
    news: row.news,
  }
}

/** Whether it is the account's plan or a second one beside it; undefined before the first pass. */
export async function roleOf(database: Queryable, id: string): Promise<'primary' | 'duplicate' | undefined> {
  const { rows } = await database.query<{ role: 'primary' | 'duplicate' }>(
    'select role from subscription where id = $1',
    [id],
  )
  return rows[0]?.role
}
