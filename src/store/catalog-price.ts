/** Which Stripe price is which price of the catalogue, with the terms it was sold under. */
import type { PriceTerms } from '../domain/plan.ts'
import type { Queryable } from './connect.ts'

/** Keeps a price's terms for ever. Terms that were kept before stay: subscribers keep what they bought. */
export async function keepPrice(database: Queryable, terms: PriceTerms): Promise<void> {
  await database.query(
    `insert into catalog_price (price_id, lookup_key, plan, interval, version, terms)
     values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
    [terms.priceId, terms.lookupKey, terms.plan, terms.interval, terms.version, JSON.stringify(terms)],
  )
}

/** Makes these prices the ones on sale, and no others. What was sold before is kept, and is sold no more. */
export async function putOnSale(client: Queryable, lookupKeys: string[]): Promise<void> {
  await client.query('update catalog_price set on_sale = false where on_sale and lookup_key <> all($1)', [
    lookupKeys,
  ])
  await client.query('update catalog_price set on_sale = true where not on_sale and lookup_key = any($1)', [
    lookupKeys,
  ])
}

/** The terms of these Stripe prices; those that are none of ours are left out. */
export async function termsOf(database: Queryable, prices: string[]): Promise<Record<string, PriceTerms>> {
  if (prices.length === 0) return {}
  const { rows } = await database.query<{ price_id: string; terms: PriceTerms }>(
    'select price_id, terms from catalog_price where price_id = any($1)',
    [prices],
  )
  return Object.fromEntries(rows.map((row) => [row.price_id, row.terms]))
}

/** The terms by which a lookup key is sold; undefined when the price is not in Stripe yet. */
export async function termsByLookupKey(
  database: Queryable,
  lookupKey: string,
): Promise<PriceTerms | undefined> {
  const { rows } = await database.query<{ terms: PriceTerms }>(
    'select terms from catalog_price where lookup_key = $1',
    [lookupKey],
  )
  return rows[0]?.terms
}
