/** A second live subscription of an account in a plan group: granted, set aside, and settled by an approval. */
import type { Client, Queryable } from './connect.ts'

const LIVE = `not in ('canceled', 'incomplete_expired')`

/** Whether a live subscription is a duplicate that nobody has settled, beside another live one of its group. */
export async function isDuplicate(database: Queryable, subscription: string): Promise<boolean> {
  const { rowCount } = await database.query(
    `select 1 from subscription s
      where s.id = $1 and s.role = 'duplicate' and s.kept_by is null and s.status ${LIVE}
        and exists (select from subscription o
                     where o.account_id = s.account_id and o.plan_group = s.plan_group and o.id <> s.id
                       and o.role <> 'fallback' and o.status ${LIVE})`,
    [subscription],
  )
  return rowCount === 1
}

/** Notes which approval settled it: it stays until its period ends, and nobody need look at it any more. */
export async function keepDuplicate(client: Client, subscription: string, approval: string): Promise<void> {
  await client.query(
    `update subscription set kept_by = $2, attention = nullif(attention, 'duplicate_subscription') where id = $1`,
    [subscription, approval],
  )
}
