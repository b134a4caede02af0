/** Ties the catalogue to Stripe's prices: finds or makes each one and keeps the terms it is sold under. */
import type { CatalogPrice } from '../domain/catalog.ts'
import { keepPrice, putOnSale, termsByLookupKey } from '../store/catalog-price.ts'
import { type Pool, transaction } from '../store/connect.ts'
import type { Gateway } from '../stripe/gateway.ts'

/**
 * Makes sure that every price of the catalogue is in Stripe and known. Asks Stripe only for those that are not known,
 * so that a start does not depend on Stripe being up.
 * Then the catalogue's prices are on sale, and no others.
 * @throws Error when the terms of a price that was sold before differ: raise the catalogue's version instead
 */
export async function ensureCatalog(pool: Pool, gateway: Gateway, prices: CatalogPrice[]): Promise<void> {
  for (const price of prices) {
    const kept = await termsByLookupKey(pool, price.lookupKey)
    if (kept === undefined) {
      await keepPrice(pool, { ...price, priceId: await gateway.ensurePrice(price) })
      continue
    }
    const changed = (Object.keys(price) as (keyof CatalogPrice)[]).filter(
      (name) => kept[name] !== price[name],
    )
    if (changed.length > 0) {
      throw new Error(
        `${price.lookupKey} was sold with other terms (${changed.join(', ')}): raise the version in the catalogue`,
      )
    }
  }
  await transaction(pool, (client) =>
    putOnSale(
      client,
      prices.map((price) => price.lookupKey),
    ),
  )
}
