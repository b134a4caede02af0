/** What is on sale: of every plan and interval the newest price that Stripe has. */
import { and, desc, eq } from 'drizzle-orm'
import type { Interval, PriceTerms } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'
import { catalogPrice, orm, run } from './schema.ts'

/** The terms of every price on sale, by plan and interval. */
export async function listPrices(database: Queryable): Promise<PriceTerms[]> {
  const rows = await run(
    orm(database)
      .selectDistinctOn([catalogPrice.plan, catalogPrice.interval], { terms: catalogPrice.terms })
      .from(catalogPrice)
      .orderBy(catalogPrice.plan, catalogPrice.interval, desc(catalogPrice.version)),
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
      .where(and(eq(catalogPrice.plan, plan), eq(catalogPrice.interval, interval)))
      .orderBy(desc(catalogPrice.version))
      .limit(1),
  )
  return row?.terms
}
