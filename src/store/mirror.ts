/** The workflow's side of the subscription table: keeps the mirror of what Stripe says. It never decides money. */
import type { Instant } from '../domain/calendar.ts'
import { decideRole, type Role, type RoleDecision, type Standing } from '../domain/role.ts'
import type { Mirror, MirrorBefore, PendingChange } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'
import { LIVE } from './subscription.ts'

/**
 * Writes the mirror of a subscription. Call it with the account's wallet locked: of its live subscriptions of a plan group
 * one is the primary, the others are stored as `duplicate`.
 * @returns the role and what follows from it, and what changed since the last time, for the audit
 */
export async function keepMirror(
  client: Queryable,
  mirror: Mirror,
): Promise<RoleDecision & { changed: Record<string, string | null> | undefined }> {
  const standing = await standingOf(client, mirror)
  const before = standing.find(({ id }) => id === mirror.id)
  const decision = decideRole(mirror, standing)
  const { role, unsettled } = decision
  await client.query(
    `insert into subscription (id, account_id, order_id, role, plan, plan_group, interval, price_id, quantity, status,
       current_period_start, current_period_end, anchor, cancel_at, ended_at, deadline_at, attention, observed_at, created_at,
       pending_change, paused, payment, news)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, coalesce($23, 0))
     on conflict (id) do update set
       role = excluded.role, kept_by = case when excluded.role = 'duplicate' then subscription.kept_by end,
       plan = excluded.plan, plan_group = excluded.plan_group, interval = excluded.interval,
       price_id = excluded.price_id, quantity = excluded.quantity, status = excluded.status,
       current_period_start = excluded.current_period_start, current_period_end = excluded.current_period_end,
       anchor = excluded.anchor, cancel_at = excluded.cancel_at, ended_at = excluded.ended_at,
       deadline_at = excluded.deadline_at, attention = excluded.attention, observed_at = excluded.observed_at,
       pending_change = excluded.pending_change, paused = excluded.paused, payment = excluded.payment,
       -- a workflow that began under an earlier version counts nothing
       news = coalesce($23, subscription.news)`,
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
  const same =
    before?.status === mirror.status &&
    before.cancelAt === mirror.cancelAt &&
    before.plan === mirror.plan &&
    before.role === role
  return {
    ...decision,
    changed: same
      ? undefined
      : { status: mirror.status, plan: mirror.plan, cancel_at: mirror.cancelAt, role },
  }
}

/** The account's live subscriptions in Stripe, and this one. */
async function standingOf(
  client: Queryable,
  { id, account }: Mirror,
): Promise<(Standing & { plan: string | null; cancelAt: Instant | null })[]> {
  const { rows } = await client.query<{
    id: string
    role: Role
    plan_group: string
    status: string
    plan: string | null
    cancel_at: Date | null
    kept_at: Date | null
  }>(
    `select s.id, s.role, s.plan_group, s.status, s.plan, s.cancel_at, a.ended_at as kept_at
       from subscription s left join approval a on a.id = s.kept_by
      where s.id = $1
         or (s.account_id = $2 and s.role <> 'fallback' and s.status ${LIVE})`,
    [id, account],
  )
  return rows.map((row) => ({
    id: row.id,
    role: row.role,
    group: row.plan_group,
    status: row.status,
    keptAt: row.kept_at?.toISOString() ?? null,
    plan: row.plan,
    cancelAt: row.cancel_at?.toISOString() ?? null,
  }))
}

/** The mirror as the pass before left it; null before the first. */
export async function mirrorBefore(database: Queryable, id: string): Promise<MirrorBefore | null> {
  const { rows } = await database.query<{
    status: string
    price_id: string | null
    quantity: number
    plan: string | null
    plan_group: string
    cancel_at: Date | null
    pending_change: PendingChange | null
    paused: boolean
    news: number
  }>(
    `select status, price_id, quantity, plan, plan_group, cancel_at, pending_change, paused, news
       from subscription where id = $1`,
    [id],
  )
  const row = rows[0]
  if (row === undefined) return null
  return {
    status: row.status,
    priceId: row.price_id,
    quantity: row.quantity,
    plan: row.plan,
    group: row.plan_group,
    cancelAt: row.cancel_at?.toISOString() ?? null,
    pending: row.pending_change,
    paused: row.paused,
    news: row.news,
  }
}

/** Whether it is the account's plan or a second one beside it; undefined before the first pass. */
export async function roleOf(database: Queryable, id: string): Promise<Role | undefined> {
  const { rows } = await database.query<{ role: Role }>('select role from subscription where id = $1', [id])
  return rows[0]?.role
}
