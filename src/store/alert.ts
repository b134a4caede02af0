/** What a person must look at. One open alert a kind and subject; raising it again counts. Never personal data. */
import { and, asc, count, eq, isNull, notInArray, sql } from 'drizzle-orm'
import type { Queryable } from './connect.ts'
import { alert, orm, run } from './schema.ts'

/**
 * Raises an alert, or counts one that is open already.
 * @param kind a slug such as `event_parked`
 * @param subject the id of what it is about: ours or Stripe's
 */
export async function raiseAlert(
  database: Queryable,
  kind: string,
  subject: string,
  detail: string,
): Promise<void> {
  await run(
    orm(database)
      .insert(alert)
      .values({ kind, subject, detail })
      .onConflictDoUpdate({
        target: [alert.kind, alert.subject],
        targetWhere: isNull(alert.resolvedAt),
        set: { times: sql`${alert.times} + 1`, lastAt: sql`clock_timestamp()`, detail },
      }),
  )
}

/** Closes an open alert. Nothing happens when there is none. @returns whether there was one */
export async function resolveAlert(database: Queryable, kind: string, subject: string): Promise<boolean> {
  const { rowCount } = await run(
    orm(database)
      .update(alert)
      .set({ resolvedAt: sql`clock_timestamp()` })
      .where(and(eq(alert.kind, kind), eq(alert.subject, subject), isNull(alert.resolvedAt))),
  )
  return rowCount === 1
}

/** Closes every open alert of a kind but those about these subjects. */
export async function resolveAlertsBut(database: Queryable, kind: string, subjects: string[]): Promise<void> {
  await run(
    orm(database)
      .update(alert)
      .set({ resolvedAt: sql`clock_timestamp()` })
      .where(and(eq(alert.kind, kind), notInArray(alert.subject, subjects), isNull(alert.resolvedAt))),
  )
}

/** What is open, oldest first. */
export async function listOpenAlerts(database: Queryable, limit: number) {
  const { kind, subject, detail, times, raisedAt } = alert
  return run(
    orm(database)
      .select({ kind, subject, detail, times, raisedAt })
      .from(alert)
      .where(isNull(alert.resolvedAt))
      .orderBy(asc(raisedAt), asc(alert.id))
      .limit(limit),
  )
}

/** How many alerts are open. */
export async function countOpenAlerts(database: Queryable): Promise<number> {
  const [row] = await run(orm(database).select({ open: count() }).from(alert).where(isNull(alert.resolvedAt)))
  return row?.open ?? 0
}
