/** What is on sale: at most one price of every plan and interval. */
import { and, eq, sql } from 'drizzle-orm'
import type { Interval, PriceTerms } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'
import { catalogPrice, orm, run } from './schema.ts'

/** The terms of every price on sale, by plan and interval. */
export async function listPrices(database: Queryable): Promise<PriceTerms[]> {
  const rows = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(eq(catalogPrice.onSale, true))
      .orderBy(sql`(${catalogPrice.terms} ->> 'credits')::numeric`, catalogPrice.plan, catalogPrice.interval),
  )
  return rows.map((row) => row.terms)
}

/** The terms a plan is sold under; undefined when it is not on sale at this interval. */
export async function priceOnSale(
  database: Queryable,
  plan: string,
  interval: Interval,
): Promise<PriceTerms | undefined> {
  const [row] = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(
        and(eq(catalogPrice.plan, plan), eq(catalogPrice.interval, interval), eq(catalogPrice.onSale, true)),
      ),
  )
  return row?.terms
}
