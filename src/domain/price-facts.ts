/** What Stripe says of a price, and how that differs from the terms we sell it under. Pure. */
import type { CatalogPack, CatalogPrice } from './catalog.ts'
import { productId } from './id.ts'
import type { PackTerms, PriceTerms } from './plan.ts'

/** Stripe's price, as far as it decides what a customer is charged, with its product. */
export interface PriceFacts {
  id: string
  lookupKey: string | null
  active: boolean
  currency: string
  /** minor units; a decimal when Stripe charges parts of one */
  unitAmount: string
  /** null: paid once */
  interval: string | null
  intervalCount: number
  /** whatever makes it other than so much a seat, without tax, in words */
  oddities: string[]
  product: ProductFacts
}

export interface ProductFacts {
  id: string
  name: string
  active: boolean
}

/** What is sold through a price in Stripe. */
export type Offer = CatalogPrice | CatalogPack

/** The id of the product that a plan's prices, or a pack's, belong to. */
export function productIdOf(offer: Offer): string {
  return offer.kind === 'plan' ? productId.plan(offer.plan) : productId.pack(offer.pack)
}

export function nameOf(offer: Offer): string {
  return offer.kind === 'plan' ? offer.planName : offer.packName
}

/** How a price in Stripe differs from its terms in what can never be changed; empty when it is the same. */
export function differences(terms: Offer | PriceTerms | PackTerms, price: PriceFacts): string[] {
  const interval = terms.kind === 'plan' ? terms.interval : null
  const told = (every: string | null, count = 1) =>
    every === null ? 'paid once' : `paid every ${count === 1 ? '' : `${count} `}${every}`
  return [
    ...(price.unitAmount === terms.unitAmount ? [] : [`amount ${price.unitAmount}, not ${terms.unitAmount}`]),
    ...(price.currency === terms.currency ? [] : [`currency ${price.currency}, not ${terms.currency}`]),
    ...(price.interval === interval && price.intervalCount === 1
      ? []
      : [`${told(price.interval, price.intervalCount)}, not ${told(interval)}`]),
    ...price.oddities,
  ]
}

/**
 * What a person should know of a price that is on sale: how Stripe's differs from the terms it is sold under.
 * @param price undefined: Stripe has none of that id
 * @param holder the price that has the lookup key in Stripe
 */
export function drift(
  terms: PriceTerms | PackTerms,
  price: PriceFacts | undefined,
  holder: PriceFacts | undefined,
): string[] {
  if (price === undefined) return [`Stripe has no ${terms.priceId}`]
  const key = price.lookupKey === null ? 'no lookup key' : `the lookup key ${price.lookupKey}`
  const found = [
    ...differences(terms, price),
    ...(price.active ? [] : ['archived']),
    ...(price.product.active ? [] : [`its product ${price.product.id} is archived`]),
    ...(price.lookupKey === terms.lookupKey ? [] : [key]),
    ...(holder === undefined || holder.id === price.id ? [] : [`its lookup key is on ${holder.id}`]),
  ]
  return found
}
