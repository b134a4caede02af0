/** Stripe's side of the catalogue: reads prices and products as facts, makes and mends them under keys of their own. */
import Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import { unlessMissing } from './gateway.ts'
import { nameOf, type Offer, type PriceFacts, type ProductFacts, productIdOf } from '../domain/price-facts.ts'

/** Most lookup keys of one list; Stripe's limit. */
const LOOKUP_KEYS_MAX = 10
const PAGE_MAX = 100
/** Further keys to try when Stripe only repeats an old answer; see `underKey`. */
const FURTHER_KEYS = 9

export type PriceGateway = ReturnType<typeof createPriceGateway>

export function createPriceGateway(stripe: Stripe) {
  const gateway = {
    /** The prices that hold these lookup keys, archived ones too. */
    async pricesByLookupKey(keys: string[]): Promise<PriceFacts[]> {
      const found: PriceFacts[] = []
      for (const some of chunks(keys, LOOKUP_KEYS_MAX)) {
        // Stripe lists archived prices only when asked for them
        for (const active of [true, false]) {
          const { data } = await stripe.prices.list({
            lookup_keys: some,
            active,
            limit: PAGE_MAX,
            expand: ['data.product'],
          })
          found.push(...data.map(priceFacts))
        }
      }
      return found
    },

    async price(id: string): Promise<PriceFacts | undefined> {
      const found = await unlessMissing(stripe.prices.retrieve(id, { expand: ['product'] }))
      return found && priceFacts(found)
    },

    /** The products of these ids that are there, archived ones too. */
    async products(ids: string[]): Promise<ProductFacts[]> {
      const found: ProductFacts[] = []
      for (const some of chunks(ids, PAGE_MAX)) {
        const { data } = await stripe.products.list({ ids: some, limit: PAGE_MAX })
        found.push(...data.map(productFacts))
      }
      return found
    },

    /** Makes the product of a plan or pack. Its id is ours, so that there can be no second one, ever. */
    async createProduct(offer: Offer): Promise<void> {
      const id = productIdOf(offer)
      const name = nameOf(offer)
      try {
        await underKey(stripeKey.product(id), (options) =>
          stripe.products.create({ id, name, metadata: metadataOf(offer) }, options),
        )
      } catch (error) {
        // somebody else has made it meanwhile
        if ((await gateway.products([id])).length === 0) throw error
      }
    },

    /** Sells an archived product again, or gives it its present name. */
    async mendProduct(id: string, change: { active: true } | { name: string }): Promise<void> {
      const key = stripeKey.mend(id, 'active' in change ? 'active' : 'name')
      await underKey(key, (options) => stripe.products.update(id, change, options), 'not repeated')
    },

    /** Makes a price. Its lookup key is Stripe's own guard against a second one; who is second finds the first. */
    async createPrice(offer: Offer, product: string): Promise<PriceFacts> {
      const params: Stripe.PriceCreateParams = {
        product,
        currency: offer.currency,
        unit_amount: Number.parseInt(offer.unitAmount, 10),
        lookup_key: offer.lookupKey,
        // what the catalogue says is without tax, whatever Stripe's account takes prices for
        tax_behavior: 'exclusive',
        metadata: metadataOf(offer),
        ...(offer.kind === 'plan' ? { recurring: { interval: offer.interval } } : {}),
      }
      try {
        const { id } = await underKey(stripeKey.price(offer.lookupKey), (options) =>
          stripe.prices.create(params, options),
        )
        // read again: what is answered under a key is what it was then
        const made = await gateway.price(id)
        if (made !== undefined) return made
        throw new Error(`Stripe made ${id} and does not know it`)
      } catch (error) {
        const there = (await gateway.pricesByLookupKey([offer.lookupKey]))[0]
        if (there === undefined) throw error
        return there
      }
    },

    /** Sells an archived price again, or takes its lookup key back from whatever holds it. */
    async mendPrice(id: string, change: { active: true } | { lookupKey: string }): Promise<void> {
      const [key, params] =
        'active' in change
          ? [stripeKey.mend(id, 'active'), change]
          : [stripeKey.mend(id, 'lookup_key'), { lookup_key: change.lookupKey, transfer_lookup_key: true }]
      await underKey(key, (options) => stripe.prices.update(id, params, options), 'not repeated')
    },
  }
  return gateway
}

function metadataOf(offer: Offer): Record<string, string> {
  return offer.kind === 'plan' ? { perennial_plan: offer.plan } : { perennial_pack: offer.pack }
}

/**
 * Asks under a key. Stripe repeats what it answered under a key for a day, also a failure of its own, and refuses a
 * key that it has seen with other parameters: then the next key is tried. Whoever calls must be safe without any key.
 * @param answers `not repeated`: an old success is none either, because the thing may have been changed since
 */
async function underKey<T extends { lastResponse: { headers: Record<string, string> } }>(
  key: string,
  call: (options: Stripe.RequestOptions) => Promise<T>,
  answers: 'any' | 'not repeated' = 'any',
): Promise<T> {
  for (let number = 1; ; number++) {
    const last = number > FURTHER_KEYS
    try {
      const answer = await call({ idempotencyKey: number === 1 ? key : `${key}:${number}` })
      if (last || answers === 'any' || !isRepeated(answer.lastResponse.headers)) return answer
    } catch (error) {
      const spent =
        error instanceof Stripe.errors.StripeError &&
        (isRepeated(error.headers) || error instanceof Stripe.errors.StripeIdempotencyError)
      if (last || !spent) throw error
    }
  }
}

function isRepeated(headers: Record<string, string> | undefined): boolean {
  return headers?.['idempotent-replayed'] === 'true'
}

function* chunks<T>(items: T[], size: number): Generator<T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size)
}

function priceFacts(price: Stripe.Price): PriceFacts {
  const { recurring, product } = price
  const oddities = [
    price.billing_scheme === 'tiered' && 'priced in tiers',
    recurring?.usage_type === 'metered' && 'metered',
    price.transform_quantity !== null && 'charged by packages of several',
    price.custom_unit_amount !== null && 'the customer chooses the amount',
    price.tax_behavior === 'inclusive' && 'tax is inside',
  ]
  if (typeof product === 'string') throw new Error(`the product of ${price.id} was not expanded`)
  return {
    id: price.id,
    lookupKey: price.lookup_key,
    active: price.active,
    currency: price.currency,
    unitAmount: String(price.unit_amount ?? price.unit_amount_decimal ?? 'none'),
    interval: recurring?.interval ?? null,
    intervalCount: recurring?.interval_count ?? 1,
    oddities: oddities.filter((each) => each !== false),
    product: product.deleted ? { id: product.id, name: '', active: false } : productFacts(product),
  }
}

function productFacts({ id, name, active }: Stripe.Product): ProductFacts {
  return { id, name, active }
}
