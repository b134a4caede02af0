/** Free plans: the rows of the subscription table that no Stripe stands behind. Here they are the truth, not a mirror. */
import type { Instant } from '../domain/calendar.ts'
import { Refusal } from '../domain/error.ts'
import type { FreeFacts, FreePlan, PaidFacts } from '../domain/free.ts'
import type { FreeTerms } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'
import type { Texts } from './schema.ts'

export interface Enrolment {
  id: string
  account: string
  terms: FreeTerms
  anchor: Instant
  created: Instant
  periodStart: Instant
  periodEnd: Instant
  metadata: Texts
}

/** When the account first enrolled in a group: whence its months are counted for ever. Undefined: it never did. */
export async function firstEnrolment(
  database: Queryable,
  account: string,
  group: string,
): Promise<Instant | undefined> {
  const { rows } = await database.query<{ at: Date | null }>(
    `select min(anchor) as at from subscription where account_id = $1 and plan_group = $2 and role = 'fallback'`,
    [account, group],
  )
  return rows[0]?.at?.toISOString()
}

/**
 * Enrols an account inside the caller's transaction. It has at most one live free plan a group; the database sees to
 * that. Its workflow is due at once.
 * @throws Refusal `subscription_exists`, with the one that is live
 */
export async function insertFree(client: Queryable, enrolment: Enrolment): Promise<void> {
  const { id, account, terms, anchor, created, periodStart, periodEnd, metadata } = enrolment
  const { rowCount } = await client.query(
    `insert into subscription (id, account_id, role, plan, plan_group, interval, price_id, quantity, status,
       current_period_start, current_period_end, anchor, deadline_at, observed_at, created_at, metadata)
     values ($1, $2, 'fallback', $3, $4, 'month', $5, 1, 'active', $6, $7, $8, $9, $9, $9, $10)
     on conflict (account_id, plan_group) where role = 'fallback' and status <> 'canceled' do nothing`,
    [
      id,
      account,
      terms.plan,
      terms.group,
      terms.priceId,
      periodStart,
      periodEnd,
      anchor,
      created,
      JSON.stringify(metadata),
    ],
  )
  if (rowCount === 1) return
  const live = await liveFree(client, account, terms.group)
  throw new Refusal('subscription_exists', 'the account has a free plan of this group', {
    subscription: live ?? null,
  })
}

async function liveFree(database: Queryable, account: string, group: string): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string }>(
    `select id from subscription
      where account_id = $1 and plan_group = $2 and role = 'fallback' and status <> 'canceled'`,
    [account, group],
  )
  return rows[0]?.id
}

/** Reads a free plan, and the lookup key of the terms it was begun under; undefined when there is none. */
export async function readFree(
  database: Queryable,
  id: string,
): Promise<{ subscription: FreeFacts; price: string } | undefined> {
  const { rows } = await database.query<{
    account_id: string
    plan: string
    plan_group: string
    price_id: string
    status: FreeFacts['status']
    anchor: Date
    created_at: Date
    cancel_at: Date | null
    deadline_at: Date | null
  }>(
    `select account_id, plan, plan_group, price_id, status, anchor, created_at, cancel_at, deadline_at
       from subscription where id = $1 and role = 'fallback'`,
    [id],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const subscription: FreeFacts = {
    id,
    account: row.account_id,
    plan: row.plan,
    group: row.plan_group,
    status: row.status,
    anchor: row.anchor.toISOString(),
    created: row.created_at.toISOString(),
    cancelAt: row.cancel_at?.toISOString() ?? null,
    deadline: row.deadline_at?.toISOString() ?? null,
  }
  return { subscription, price: row.price_id }
}

/** Every subscription in Stripe that an account has or had in a group, whatever its role. */
export async function paidBeside(database: Queryable, account: string, group: string): Promise<PaidFacts[]> {
  const { rows } = await database.query<{ status: string; created_at: Date; ended_at: Date | null }>(
    `select status, created_at, ended_at from subscription
      where account_id = $1 and plan_group = $2 and role <> 'fallback' order by created_at, id`,
    [account, group],
  )
  return rows.map((row) => ({
    status: row.status,
    created: row.created_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
  }))
}

/**
 * Notes where a free plan stands. A deadline that somebody has set since it was seen stays: it is due then. What has
 * ended stays as it ended, whatever a run that is late believes; only its deadline goes.
 */
export async function keepFree(
  client: Queryable,
  id: string,
  plan: Omit<FreePlan, 'grants'>,
  seen: { at: Instant; deadline: Instant | null },
): Promise<void> {
  await client.query(
    `update subscription
        set status = case when ended_at is null then $2 else status end, ended_at = coalesce(ended_at, $5),
            current_period_start = $3, current_period_end = $4, observed_at = $6,
            deadline_at = case when deadline_at is not distinct from $8 then $7 else deadline_at end
      where id = $1 and role = 'fallback'`,
    [id, plan.status, plan.periodStart, plan.periodEnd, plan.endedAt, seen.at, plan.deadline, seen.deadline],
  )
}

/** Notes when a free plan is to end, unless it is noted already. */
export async function cancelFreeAt(client: Queryable, id: string, at: Instant): Promise<void> {
  await client.query(
    `update subscription set cancel_at = $2 where id = $1 and role = 'fallback' and cancel_at is null`,
    [id, at],
  )
}

/**
 * Makes the free plans of an account and group due now, because something that began at `since` is no longer paid for;
 * those that have ended meanwhile, too. Call it in the transaction that says so, and wake them afterwards.
 * @returns their ids
 */
export async function makeFreeDue(
  client: Queryable,
  account: string,
  group: string,
  since: Instant,
): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `update subscription set deadline_at = business_now()
      where account_id = $1 and plan_group = $2 and role = 'fallback' and (ended_at is null or ended_at > $3)
     returning id`,
    [account, group, since],
  )
  return rows.map(({ id }) => id)
}
