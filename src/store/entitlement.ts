/** The twelve months of a paid year: written when it is paid, granted when due, also after the subscription ended. */
import type { CutStep, PendingEntitlement } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'

/** Every key written for a subscription, and the months that are not granted yet, soonest first. */
export async function entitlementsOf(
  database: Queryable,
  subscription: string,
): Promise<{ written: string[]; pending: PendingEntitlement[] }> {
  const { rows } = await database.query<{
    key: string
    amount: string
    due_at: Date
    period_end: Date
    expires_at: Date | null
    carry: string | null
    payment_id: string
    source: Record<string, string>
    granted_at: Date | null
  }>(
    `select key, trim_scale(amount - cut)::text as amount, due_at, period_end, expires_at,
            trim_scale(carry)::text as carry, payment_id, source, granted_at
       from entitlement where subscription_id = $1 order by due_at`,
    [subscription],
  )
  return {
    written: rows.map((row) => row.key),
    pending: rows
      .filter((row) => row.granted_at === null && row.amount !== '0')
      .map((row) => ({
        key: row.key,
        amount: row.amount,
        dueAt: row.due_at.toISOString(),
        periodEnd: row.period_end.toISOString(),
        expiresAt: row.expires_at?.toISOString() ?? null,
        carry: row.carry,
        payment: row.payment_id,
        source: row.source,
      })),
  }
}

/** Writes months that are not there yet; those that are stay as they were. */
export async function writeEntitlements(
  client: Queryable,
  account: string,
  subscription: string,
  entitlements: PendingEntitlement[],
): Promise<void> {
  for (const one of entitlements) {
    await client.query(
      `insert into entitlement (key, account_id, subscription_id, payment_id, amount, due_at, period_end, expires_at,
                                carry, source)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (key) do nothing`,
      [
        one.key,
        account,
        subscription,
        one.payment,
        one.amount,
        one.dueAt,
        one.periodEnd,
        one.expiresAt,
        // a workflow that began before there was a choice does not say it
        one.carry === undefined ? '0' : one.carry,
        JSON.stringify(one.source),
      ],
    )
  }
}

/** Notes that a month was granted. Does nothing for a key that is no entitlement's. */
export async function markGranted(client: Queryable, key: string, at: Date): Promise<void> {
  await client.query('update entitlement set granted_at = $2 where key = $1 and granted_at is null', [
    key,
    at,
  ])
}

/**
 * Makes months smaller whose money was given back. Call it with the wallet locked.
 * @throws when one of them was granted in the meantime: the facts are to be read again
 */
export async function cutEntitlements(client: Queryable, cuts: CutStep[]): Promise<void> {
  for (const { key, amount } of cuts) {
    const { rowCount } = await client.query(
      `update entitlement set cut = amount - $2
        where key = $1 and (amount - cut = $2 or granted_at is null and amount - cut > $2)`,
      [key, amount],
    )
    if (rowCount !== 1) throw new Error(`the month ${key} was granted or made smaller in the meantime`)
  }
}
