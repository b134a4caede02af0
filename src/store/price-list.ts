/** What is on sale: at most one price of every plan, interval, commitment and currency; free plans, packs; and the limits. */
import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import type { Catalog } from '../domain/catalog.ts'
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
        // the catalogue's own currency first
        sql`${catalogPrice.terms} ->> 'currency' <> (select ${catalog.currency} from ${catalog})`,
        sql`${catalogPrice.terms} ->> 'currency'`,
      ),
  )
  return rows.map((row) => readKept(row.terms))
}

/**
 * The terms a plan is sold under without commitment; undefined when it is not on sale at this interval and in this
 * currency, the catalogue's unless told otherwise.
 */
export async function priceOnSale(
  database: Queryable,
  plan: string,
  interval: Interval,
  currency?: string,
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
          soldIn(currency),
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
export async function packOnSale(
  database: Queryable,
  pack: string,
  currency?: string,
): Promise<PackTerms | undefined> {
  return (await onSale(database, 'pack', pack, soldIn(currency))) as PackTerms | undefined
}

/** In this currency, or the catalogue's; whatever it is before a catalogue was put in force. */
function soldIn(currency: string | undefined) {
  const sold = sql`${catalogPrice.terms} ->> 'currency'`
  if (currency !== undefined) return sql`${sold} = ${currency}`
  return sql`${sold} = coalesce((select ${catalog.currency} from ${catalog}), ${sold})`
}

async function onSale(database: Queryable, kind: 'free' | 'pack', key: string, also?: SQL): Promise<unknown> {
  const [row] = await run(
    orm(database)
      .select({ terms: catalogPrice.terms })
      .from(catalogPrice)
      .where(
        and(eq(catalogPrice.kind, kind), eq(catalogPrice.plan, key), eq(catalogPrice.onSale, true), also),
      ),
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
): Promise<Pick<Catalog, 'version' | 'currency' | 'automaticTax' | 'limits' | 'dunning'> | undefined> {
  const [row] = await run(
    orm(database)
      .select({
        version: catalog.version,
        currency: catalog.currency,
        automaticTax: catalog.automaticTax,
        limits: catalog.limits,
        dunning: catalog.dunning,
      })
      .from(catalog),
  )
  return row
}
