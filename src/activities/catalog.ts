/** Makes what is sold, here and in Stripe, what the catalogue file says; the file is the only one that decides it. */
import { readFile } from 'node:fs/promises'
import { type Catalog, parseCatalog } from '../domain/catalog.ts'
import { compareHere, type Known, planSync, type Step, type SyncPlan } from '../domain/catalog-sync.ts'
import { inWords } from '../domain/catalog-words.ts'
import { differences, type Offer, type PriceFacts, productIdOf } from '../domain/price-facts.ts'
import { raiseAlert, resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { completeTerms, keepTerms, keptPrices, putInForce, putOnSale } from '../store/catalog-price.ts'
import { type Pool, type Queryable, transaction } from '../store/connect.ts'
import { catalogInForce } from '../store/price-list.ts'
import type { PriceGateway } from '../stripe/price.ts'

const BUILT_IN = new URL('../../catalog.json', import.meta.url)

/** The one alert that says: the file and what is sold differ. */
const UNSYNCED = { kind: 'catalog_unsynced', subject: 'catalog' }

/** @throws Error that names the file, when it is not there or not valid */
export async function readCatalog(file: string | undefined): Promise<Catalog> {
  const path = file ?? BUILT_IN
  try {
    return parseCatalog(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    throw new Error(`${file ?? 'catalog.json'}: ${(error as Error).message}`, { cause: error })
  }
}

/** Looks at what is known here and at what Stripe has, and says what would have to be done. Changes nothing. */
export async function planCatalog(pool: Pool, stripe: PriceGateway, catalog: Catalog): Promise<SyncPlan> {
  const known = await readKnown(pool, catalog)
  const sold = [...known.kept.values()].map(({ terms }) => terms).filter((terms) => terms.kind !== 'free')
  const offers: Offer[] = [...catalog.prices, ...catalog.packs]
  const keys = new Set([...offers, ...sold].map(({ lookupKey }) => lookupKey))
  const { prices, holders } = await lookAt(
    stripe,
    [...keys],
    sold.map(({ priceId }) => priceId),
  )
  const products = await stripe.products([...new Set(offers.map(productIdOf))])
  return planSync(catalog, known, {
    prices,
    holders,
    products: new Map(products.map((product) => [product.id, product])),
  })
}

/** Stripe's prices by id and by lookup key; those whose key has gone elsewhere are found by id. */
export async function lookAt(
  stripe: PriceGateway,
  lookupKeys: string[],
  ids: string[],
): Promise<{ prices: Map<string, PriceFacts>; holders: Map<string, PriceFacts> }> {
  const found = await stripe.pricesByLookupKey(lookupKeys)
  const prices = new Map(found.map((price) => [price.id, price]))
  for (const id of ids) {
    const price = prices.get(id) ?? (await stripe.price(id))
    if (price !== undefined) prices.set(id, price)
  }
  return { prices, holders: new Map(found.map((price) => [price.lookupKey ?? '', price])) }
}

/** The steps that are Stripe's, one by one; the others are `writeDown`. */
export function stepsInStripe(plan: SyncPlan): Step[] {
  return plan.steps.filter((step) => IN_STRIPE.has(step.do))
}

const IN_STRIPE = new Set<Step['do']>([
  'create_product',
  'restore_product',
  'rename_product',
  'create_price',
  'restore_price',
  'return_key',
  'adopt_price',
])

/** Takes one step in Stripe. Safe to take again, and by two at once: who is second finds what the first has made. */
export async function takeStep(pool: Pool, stripe: PriceGateway, step: Step): Promise<void> {
  switch (step.do) {
    case 'create_product':
      return await stripe.createProduct(step.offer)
    case 'restore_product':
      return await stripe.mendProduct(step.product, { active: true })
    case 'rename_product':
      return await stripe.mendProduct(step.product, { name: step.name })
    case 'restore_price':
      return await stripe.mendPrice(step.price, { active: true })
    case 'return_key':
      return await stripe.mendPrice(step.price, { lookupKey: step.lookupKey })
    case 'create_price': {
      const made = await stripe.createPrice(step.offer, step.product)
      const other = differences(step.offer, made)
      if (other.length > 0)
        throw new Error(`${made.id}, just made by somebody else, differs: ${other.join('; ')}`)
      return await keepTerms(pool, { ...step.offer, priceId: made.id })
    }
    case 'adopt_price':
      return await keepTerms(pool, { ...step.offer, priceId: step.price })
    default:
  }
}

/**
 * Writes down, in one transaction, what is sold from now on; once everything is in Stripe.
 * @throws Error when it would not be what the file says: somebody synced another file at the same time
 */
export async function writeDown(pool: Pool, catalog: Catalog, plan: SyncPlan, actor: string): Promise<void> {
  const keys = [...catalog.prices, ...catalog.packs, ...catalog.free].map(({ lookupKey }) => lookupKey)
  await transaction(pool, async (client) => {
    // its one row is locked first: two that write at once take turns
    await putInForce(client, catalog)
    for (const free of catalog.free) await keepTerms(client, free)
    for (const step of plan.steps) if (step.do === 'complete_terms') await completeTerms(client, step.terms)
    await putOnSale(client, keys)
    const left = compareHere(catalog, await readKnown(client, catalog))
    if (left.steps.length > 0 || left.conflicts.length > 0) {
      const what = [...left.steps.map((step) => inWords(step).join(' ')), inConflict(left)].join('\n')
      throw new Error(`something else was done meanwhile; sync again:\n${what}`)
    }
    await resolveAlert(client, UNSYNCED.kind, UNSYNCED.subject)
    if (plan.steps.length === 0) return
    await recordAudit(client, {
      account: null,
      actor,
      action: 'catalog',
      subject: catalog.version,
      reasonCode: 'synced',
      detail: { steps: plan.steps.map((step) => inWords(step).join(' ')) },
    })
  })
}

/**
 * For a start against the sandbox: makes what is missing. Asks Stripe only when something is missing here, so that a
 * start does not depend on Stripe being up.
 * @throws Error that lists what nobody but a person can settle, such as other terms for what was sold
 */
export async function ensureCatalog(pool: Pool, stripe: PriceGateway, catalog: Catalog): Promise<void> {
  const here = compareHere(catalog, await readKnown(pool, catalog))
  if (here.steps.length === 0 && here.conflicts.length === 0) return
  const plan = await planCatalog(pool, stripe, catalog)
  if (plan.conflicts.length > 0) throw new Error(inConflict(plan))
  for (const step of stepsInStripe(plan)) await takeStep(pool, stripe, step)
  await writeDown(pool, catalog, plan, 'system')
}

/**
 * For a start against the real Stripe: touches neither Stripe nor what is on sale. A file that differs from what is
 * sold raises an alert that names the command; until then everything goes on as it was.
 */
export async function checkCatalog(pool: Pool, catalog: Catalog): Promise<boolean> {
  const { steps, conflicts } = compareHere(catalog, await readKnown(pool, catalog))
  const open = steps.length + conflicts.length
  if (open === 0) await resolveAlert(pool, UNSYNCED.kind, UNSYNCED.subject)
  else {
    const what = [...conflicts.map(({ lookupKey }) => lookupKey), ...steps.map(subjectOf)]
    const detail = `the catalogue file ${catalog.version} is not what is sold (${[...new Set(what)].join(', ')}): run perennial catalog sync`
    await raiseAlert(pool, UNSYNCED.kind, UNSYNCED.subject, detail)
  }
  return open === 0
}

export function inConflict({ conflicts }: SyncPlan): string {
  return conflicts.map(({ lookupKey, why }) => `${lookupKey}: ${why}`).join('\n')
}

function subjectOf(step: Step): string {
  if ('lookupKey' in step) return step.lookupKey
  if ('terms' in step) return step.terms.lookupKey
  return step.do === 'put_in_force' ? step.changed.join(' and ') : step.do
}

async function readKnown(database: Queryable, catalog: Catalog): Promise<Known> {
  const keys = [...catalog.prices, ...catalog.packs, ...catalog.free].map(({ lookupKey }) => lookupKey)
  return { kept: await keptPrices(database, keys), inForce: await catalogInForce(database) }
}
