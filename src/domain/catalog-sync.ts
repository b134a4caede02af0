/**
 * How what is sold, here and in Stripe, becomes what the catalogue file says: a pure function from what was seen to a
 * list of steps, which are first shown and then carried out. What was sold with some terms is never changed.
 */
import type { Catalog } from './catalog.ts'
import { type FreeTerms, type Kept, readKept, type Terms } from './plan.ts'
import {
  differences,
  nameOf,
  type Offer,
  type PriceFacts,
  type ProductFacts,
  productIdOf,
} from './price-facts.ts'

/** What is kept under a lookup key: the terms as they were written, and whether they are on sale. */
export interface KeptPrice {
  terms: Kept
  onSale: boolean
}

/** What is known here: the rows of the file's lookup keys, whatever else is on sale, and what is in force. */
export interface Known {
  kept: Map<string, KeptPrice>
  inForce: Pick<Catalog, 'version' | 'currency' | 'automaticTax' | 'limits' | 'dunning'> | undefined
}

/** What Stripe has of it. */
export interface Seen {
  /** by id: those that are kept, and those that hold a lookup key of the file */
  prices: Map<string, PriceFacts>
  /** who holds a lookup key */
  holders: Map<string, PriceFacts>
  products: Map<string, ProductFacts>
}

export type Step =
  | { do: 'create_product'; offer: Offer }
  | { do: 'restore_product'; product: string }
  | { do: 'rename_product'; product: string; from: string; name: string }
  | { do: 'create_price'; offer: Offer; product: string }
  | { do: 'restore_price'; price: string; lookupKey: string }
  | { do: 'return_key'; price: string; lookupKey: string; holder: string | null }
  | { do: 'adopt_price'; offer: Offer; price: string }
  | { do: 'complete_terms'; terms: Terms; missing: string[] }
  | { do: 'keep_free'; terms: FreeTerms }
  | { do: 'put_on_sale'; lookupKey: string }
  | { do: 'take_off_sale'; lookupKey: string }
  | { do: 'put_in_force'; changed: string[] }

/** A difference that no step can mend: a person must decide. */
export interface Conflict {
  lookupKey: string
  why: string
}

export interface SyncPlan {
  inPlace: string[]
  steps: Step[]
  conflicts: Conflict[]
}

const RAISE = "raise the catalogue's version: what was sold keeps its terms"

/** What differs and can be seen without asking Stripe. */
export function compareHere(catalog: Catalog, { kept, inForce }: Known): SyncPlan {
  const plan: SyncPlan = { inPlace: [], steps: [], conflicts: [] }
  const mine = new Set<string>()
  for (const offer of [...catalog.prices, ...catalog.packs, ...catalog.free]) {
    const { lookupKey } = offer
    mine.add(lookupKey)
    const row = kept.get(lookupKey)
    if (row === undefined) {
      if (offer.kind === 'free') plan.steps.push({ do: 'keep_free', terms: offer })
      plan.steps.push({ do: 'put_on_sale', lookupKey })
      continue
    }
    const changed = changedTerms(row.terms, offer)
    if (changed.length > 0) {
      plan.conflicts.push({ lookupKey, why: `was sold with other terms (${changed.join(', ')}): ${RAISE}` })
      continue
    }
    const missing = Object.keys(offer).filter((name) => !(name in row.terms))
    const before = plan.steps.length
    if (missing.length > 0) {
      const terms = { ...offer, priceId: row.terms.priceId }
      plan.steps.push({ do: 'complete_terms', terms, missing })
    }
    if (!row.onSale) plan.steps.push({ do: 'put_on_sale', lookupKey })
    if (plan.steps.length === before) plan.inPlace.push(lookupKey)
  }
  for (const [lookupKey, row] of kept)
    if (row.onSale && !mine.has(lookupKey)) plan.steps.push({ do: 'take_off_sale', lookupKey })
  const changed = changedInForce(catalog, inForce)
  if (changed.length > 0) plan.steps.push({ do: 'put_in_force', changed })
  return plan
}

/** Everything that differs, here and in Stripe, and what makes it equal. */
export function planSync(catalog: Catalog, known: Known, seen: Seen): SyncPlan {
  const here = compareHere(catalog, known)
  const homes = productsInUse(known, seen)
  const steps: Step[] = []
  const conflicts = [...here.conflicts]
  const touched = new Set(conflicts.map(({ lookupKey }) => lookupKey))
  const products = new Set<string>()
  for (const offer of [...catalog.prices, ...catalog.packs]) {
    if (touched.has(offer.lookupKey)) continue
    const product = homes.get(productIdOf(offer)) ?? seen.products.get(productIdOf(offer))
    const found = compareInStripe(offer, known.kept.get(offer.lookupKey)?.terms.priceId, seen, product)
    if (typeof found === 'string') conflicts.push({ lookupKey: offer.lookupKey, why: found })
    else {
      // several prices may have one product
      steps.push(...(products.has(found.product) ? found.price : [...found.mend, ...found.price]))
      products.add(found.product)
    }
    if (typeof found === 'string' || found.mend.length + found.price.length > 0) touched.add(offer.lookupKey)
  }
  return {
    inPlace: here.inPlace.filter((key) => !touched.has(key)),
    // Stripe first, so that nothing is on sale here that Stripe does not sell
    steps: [...steps, ...here.steps],
    conflicts,
  }
}

/**
 * One price: the steps of its product and its own, or why a person must decide.
 * @param priceId by which it is known here; undefined: not yet
 * @param home the product of its plan or pack, as far as there is one
 */
function compareInStripe(
  offer: Offer,
  priceId: string | undefined,
  { prices, holders }: Seen,
  home: ProductFacts | undefined,
): { product: string; mend: Step[]; price: Step[] } | string {
  const { lookupKey } = offer
  const holder = holders.get(lookupKey)
  const price = priceId === undefined ? holder : prices.get(priceId)
  if (price === undefined && priceId !== undefined)
    return `Stripe has no ${priceId}: is this the account of Stripe that the database belongs to?`
  const product = price?.product ?? home
  const at = product?.id ?? productIdOf(offer)
  const mend = mendProduct(offer, product)
  if (price === undefined) return { product: at, mend, price: [{ do: 'create_price', offer, product: at }] }
  const other = differences(offer, price)
  if (other.length > 0) return `${price.id} in Stripe differs (${other.join('; ')}): ${RAISE}`
  const steps: Step[] = []
  if (!price.active) steps.push({ do: 'restore_price', price: price.id, lookupKey })
  if (price.lookupKey !== lookupKey)
    steps.push({ do: 'return_key', price: price.id, lookupKey, holder: holder?.id ?? null })
  if (priceId === undefined) steps.push({ do: 'adopt_price', offer, price: price.id })
  return { product: at, mend, price: steps }
}

function mendProduct(offer: Offer, product: ProductFacts | undefined): Step[] {
  const name = nameOf(offer)
  if (product === undefined) return [{ do: 'create_product', offer }]
  return [
    ...(product.active ? [] : [{ do: 'restore_product' as const, product: product.id }]),
    ...(product.name === name
      ? []
      : [{ do: 'rename_product' as const, product: product.id, from: product.name, name }]),
  ]
}

/** The products that prices of a plan or pack belong to already: installations older than our own ids have others. */
function productsInUse({ kept }: Known, { prices }: Seen): Map<string, ProductFacts> {
  const found = new Map<string, ProductFacts>()
  for (const { terms } of kept.values()) {
    const read = readKept(terms)
    const price = prices.get(terms.priceId)
    if (read.kind !== 'free' && price !== undefined) found.set(productIdOf(read), price.product)
  }
  return found
}

/** Which terms differ from those that were sold. What was not said then is no difference, but that nothing was kept. */
function changedTerms(kept: Kept, offer: Offer | FreeTerms): string[] {
  const sold: Record<string, unknown> = { ...readKept(kept) }
  return Object.entries(offer)
    .filter(
      ([name, value]) =>
        !(LEFT_OPEN.has(name) && !(name in kept)) && canonical(sold[name]) !== canonical(value),
    )
    .map(([name]) => name)
}

/** Terms that bind nobody who bought before they were written down: they may be added, once. */
const LEFT_OPEN = new Set(['tier', 'trial'])

function changedInForce(catalog: Catalog, inForce: Known['inForce']): string[] {
  if (inForce === undefined) return ['version', 'limits']
  return (['version', 'currency', 'automaticTax', 'limits', 'dunning'] as const).filter(
    (name) => canonical(catalog[name]) !== canonical(inForce[name]),
  )
}

/** Equal for equal values, in whatever order Postgres gives their fields back. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? ''
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(fields.map(([name, each]) => [name, canonical(each)]))
}
