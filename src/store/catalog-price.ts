/** What the catalogue sells and has sold: which Stripe price is what, with the terms it was sold under. */
import type { Catalog } from '../domain/catalog.ts'
import type { KeptPrice } from '../domain/catalog-sync.ts'
import { type Kept, type KeptTerms, type PriceTerms, readTerms, type Terms } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'

/** Keeps terms for ever. Terms that were kept before stay: subscribers keep what they bought. */
export async function keepTerms(database: Queryable, terms: Terms): Promise<void> {
  await database.query(
    `insert into catalog_price (price_id, lookup_key, kind, plan, interval, commitment_months, version, terms)
     values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing`,
    [
      terms.priceId,
      terms.lookupKey,
      terms.kind,
      terms.kind === 'pack' ? terms.pack : terms.plan,
      terms.kind === 'pack' ? null : terms.kind === 'free' ? 'month' : terms.interval,
      terms.kind === 'plan' ? terms.commitmentMonths : null,
      terms.version,
      JSON.stringify(terms),
    ],
  )
}

/** Adds to kept terms what they do not say yet. What they say stays as it is. */
export async function completeTerms(database: Queryable, terms: Terms): Promise<void> {
  await database.query('update catalog_price set terms = $2::jsonb || terms where price_id = $1', [
    terms.priceId,
    JSON.stringify(terms),
  ])
}

/** Makes these the ones on sale, and no others. What was sold before is kept, and is sold no more. */
export async function putOnSale(client: Queryable, lookupKeys: string[]): Promise<void> {
  await client.query('update catalog_price set on_sale = false where on_sale and lookup_key <> all($1)', [
    lookupKeys,
  ])
  await client.query('update catalog_price set on_sale = true where not on_sale and lookup_key = any($1)', [
    lookupKeys,
  ])
}

/** Writes down which catalogue is in force, its limits and its reminders. */
export async function putInForce(
  client: Queryable,
  {
    version,
    currency,
    automaticTax = false,
    limits,
    dunning = { reminderDays: [] },
  }: Pick<Catalog, 'version' | 'currency' | 'limits'> & Partial<Pick<Catalog, 'automaticTax' | 'dunning'>>,
): Promise<void> {
  await client.query(
    `insert into catalog (version, currency, limits, automatic_tax, dunning) values ($1, $2, $3, $4, $5)
     on conflict (only_row)
       do update set version = $1, currency = $2, limits = $3, automatic_tax = $4, dunning = $5`,
    [version, currency, JSON.stringify(limits), automaticTax, JSON.stringify(dunning)],
  )
}

/** The terms of these prices of plans; those that are none of ours, or no plan's, are left out. */
export async function termsOf(database: Queryable, prices: string[]): Promise<Record<string, PriceTerms>> {
  if (prices.length === 0) return {}
  const { rows } = await database.query<{ price_id: string; terms: KeptTerms }>(
    `select price_id, terms from catalog_price where price_id = any($1) and kind = 'plan'`,
    [prices],
  )
  return Object.fromEntries(rows.map((row) => [row.price_id, readTerms(row.terms)]))
}

/** What is kept under these lookup keys, and whatever else is on sale. */
export async function keptPrices(database: Queryable, lookupKeys: string[]): Promise<Map<string, KeptPrice>> {
  const { rows } = await database.query<{ lookup_key: string; terms: Kept; on_sale: boolean }>(
    'select lookup_key, terms, on_sale from catalog_price where on_sale or lookup_key = any($1) order by lookup_key',
    [lookupKeys],
  )
  return new Map(rows.map((row) => [row.lookup_key, { terms: row.terms, onSale: row.on_sale }]))
}
