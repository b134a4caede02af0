/** What is on sale: at most one price of every plan, interval and commitment; free plans, packs; and the limits. */
import { and, eq, isNull, sql } from 'drizzle-orm'
import type { Dunning, Limits } from '../domain/catalog.ts'
import {
  type FreeTerms,
  type Interval,
  type KeptTerms,
  type PackTerms,
  type PriceTerms,
  readKept,
  readTerms,
  type Terms,
} from '../domain/plan.ts'
import type { Queryable } from './connect.ts'
import { catalog, catalogPrice, orm, run } from './schema.ts'

/** Everything on sale, by credits; the prices of a plan by interval, those without commitment first. */
export async function listOnSale(database: Queryable): Promise<Terms[]> {
  const rows = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(eq(catalogPrice.onSale, true))
      .orderBy(
        sql`(${catalogPrice.terms} ->> 'credits')::numeric`,
        catalogPrice.plan,
        catalogPrice.interval,
        sql`${catalogPrice.commitmentMonths} nulls first`,
      ),
  )
  return rows.map((row) => readKept(row.terms))
}

/** The terms a plan is sold under without commitment; undefined when it is not on sale at this interval. */
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
        and(
          eq(catalogPrice.kind, 'plan'),
          eq(catalogPrice.plan, plan),
          eq(catalogPrice.interval, interval),
          isNull(catalogPrice.commitmentMonths),
          eq(catalogPrice.onSale, true),
        ),
      ),
  )
  return row && readTerms(row.terms as KeptTerms)
}

/** The terms of a free plan that may be begun now; undefined when there is none of this name. */
export async function freePlanOnSale(database: Queryable, plan: string): Promise<FreeTerms | undefined> {
  return (await onSale(database, 'free', plan)) as FreeTerms | undefined
}

/** The terms of a pack that may be bought now; undefined when there is none of this name. */
export async function packOnSale(database: Queryable, pack: string): Promise<PackTerms | undefined> {
  return (await onSale(database, 'pack', pack)) as PackTerms | undefined
}

async function onSale(database: Queryable, kind: 'free' | 'pack', key: string): Promise<unknown> {
  const [row] = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(and(eq(catalogPrice.kind, kind), eq(catalogPrice.plan, key), eq(catalogPrice.onSale, true))),
  )
  return row?.terms
}

/** The terms of a free plan as they were when it was begun, whether or not they are offered still. */
export async function freeTermsOf(database: Queryable, priceId: string): Promise<FreeTerms | undefined> {
  const [row] = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(and(eq(catalogPrice.kind, 'free'), eq(catalogPrice.priceId, priceId))),
  )
  return row?.terms as FreeTerms | undefined
}

/** The catalogue in force: its version, currency, limits and reminders; undefined before the first one was put in force. */
export async function catalogInForce(
  database: Queryable,
): Promise<{ version: string; currency: string; limits: Limits; dunning: Dunning } | undefined> {
  const [row] = await run(
    orm(database)
      .select({
        version: catalog.version,
        currency: catalog.currency,
        limits: catalog.limits,
        dunning: catalog.dunning,
      })
      .from(catalog),
  )
  return row
}
