/** Ties the catalogue to Stripe's prices: finds or makes each one and keeps the terms it is sold under. */
import type { Catalog, CatalogPrice } from '../domain/catalog.ts'
import { type KeptTerms, readTerms } from '../domain/plan.ts'
import { completeTerms, keepTerms, keptPrices, putInForce, putOnSale } from '../store/catalog-price.ts'
import { type Pool, transaction } from '../store/connect.ts'
import type { Gateway } from '../stripe/gateway.ts'

/**
 * Makes sure that every price of the catalogue is in Stripe and known. Asks Stripe only for those that are not known,
 * so that a start does not depend on Stripe being up.
 * Then what the catalogue sells is on sale, and nothing else.
 * @throws Error when the terms of a price that was sold before differ: raise the catalogue's version instead
 */
export async function ensureCatalog(pool: Pool, gateway: Gateway, catalog: Catalog): Promise<void> {
  const keys = [...catalog.prices, ...catalog.free].map((each) => each.lookupKey)
  const kept = await keptPrices(pool, keys)
  for (const price of catalog.prices) {
    const before = kept.get(price.lookupKey)
    if (before === undefined) {
      await keepTerms(pool, { ...price, priceId: await gateway.ensurePrice(price) })
      continue
    }
    const sold = readTerms(before.terms as KeptTerms)
    const changed = (Object.keys(price) as (keyof CatalogPrice)[]).filter(
      (name) => name in before.terms && JSON.stringify(sold[name]) !== JSON.stringify(price[name]),
    )
    if (changed.length > 0) {
      throw new Error(
        `${price.lookupKey} was sold with other terms (${changed.join(', ')}): raise the version in the catalogue`,
      )
    }
    await completeTerms(pool, { ...price, priceId: sold.priceId })
  }
  await transaction(pool, async (client) => {
    for (const free of catalog.free) await keepTerms(client, free)
    await putOnSale(client, keys)
    await putInForce(client, catalog)
  })
}
