/** A second live subscription of an account in a plan group: granted, set aside, and settled by an approval. */
import type { Client, Queryable } from './connect.ts'
import { LIVE } from './subscription.ts'

/** The live primary beside which a live subscription is a duplicate; undefined when it is none, or alone. */
export async function primaryBeside(database: Queryable, subscription: string): Promise<string | undefined> {
  const { rows } = await database.query<{ id: string }>(
    `select o.id from subscription s
       join subscription o on o.account_id = s.account_id and o.plan_group = s.plan_group
        and o.role = 'primary' and o.status ${LIVE}
      where s.id = $1 and s.role = 'duplicate' and s.status ${LIVE}`,
    [subscription],
  )
  return rows[0]?.id
}

/** Notes which approval settled it: nobody need look at it any more while it is to end. */
export async function keepDuplicate(client: Client, subscription: string, approval: string): Promise<void> {
  await client.query(
    `update subscription set kept_by = $2, attention = nullif(attention, 'duplicate_subscription') where id = $1`,
    [subscription, approval],
  )
}

/** Makes duplicates due now, because what they were duplicates of is gone. Wake them after the commit. */
export async function makeDuplicatesDue(client: Client, subscriptions: string[]): Promise<void> {
  if (subscriptions.length === 0) return
  await client.query(`update subscription set deadline_at = business_now() where id = any($1)`, [
    subscriptions,
  ])
}
