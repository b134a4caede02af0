import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type Catalog, parseCatalog } from '../../src/domain/catalog.ts'
import { compareHere, type Known, planSync, type Seen } from '../../src/domain/catalog-sync.ts'
import { inWords } from '../../src/domain/catalog-words.ts'
import { differences, drift, nameOf, type PriceFacts, productIdOf } from '../../src/domain/price-facts.ts'

const FILE = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))
const MONTH = 'tier_2_20.month.v1'
const PACK = 'pack.credits_10.v1'

// oxlint-disable-next-line typescript/no-explicit-any -- whatever shape a test makes of it
function catalogOf(change: (file: any) => void = () => {}): Catalog {
  const file = structuredClone(FILE)
  file.plans = file.plans.slice(0, 2)
  file.packs = file.packs.slice(0, 1)
  change(file)
  return parseCatalog(file)
}

/** Everything as it is once a catalogue has been synced. */
function synced(catalog: Catalog): { known: Known; seen: Seen } {
  const known: Known = { kept: new Map(), inForce: structuredClone(catalog) }
  const seen: Seen = { prices: new Map(), holders: new Map(), products: new Map() }
  for (const offer of [...catalog.prices, ...catalog.packs]) {
    const priceId = `price_${offer.lookupKey}`
    known.kept.set(offer.lookupKey, { terms: { ...offer, priceId }, onSale: true })
    const price: PriceFacts = {
      id: priceId,
      lookupKey: offer.lookupKey,
      active: true,
      currency: offer.currency,
      unitAmount: offer.unitAmount,
      interval: offer.kind === 'plan' ? offer.interval : null,
      intervalCount: 1,
      oddities: [],
      product: { id: productIdOf(offer), name: nameOf(offer), active: true },
    }
    seen.prices.set(priceId, price)
    seen.holders.set(offer.lookupKey, price)
    seen.products.set(price.product.id, price.product)
  }
  for (const free of catalog.free) known.kept.set(free.lookupKey, { terms: free, onSale: true })
  return { known, seen }
}

const NOTHING: Seen = { prices: new Map(), holders: new Map(), products: new Map() }

function planOf(catalog: Catalog, known: Known, seen: Seen) {
  const { steps, conflicts, inPlace } = planSync(catalog, known, seen)
  return {
    steps: steps.map((step) => inWords(step).join(' ')),
    conflicts: conflicts.map(({ lookupKey, why }) => `${lookupKey}: ${why}`),
    inPlace,
  }
}

describe('what a sync would do', () => {
  it('everything, where there is nothing', () => {
    const catalog = catalogOf()
    assert.deepEqual(planOf(catalog, { kept: new Map(), inForce: undefined }, NOTHING), {
      steps: [
        'create product prod_perennial_plan_tier_2_20 (Starter)',
        `create price ${MONTH}: 2000 usd a month for 20 credits a month, 5 credits to try it for 7 days`,
        'create price tier_2_20.year.v1: 20400 usd a year for 20 credits a month, 5 credits to try it for 7 days',
        'create price tier_2_20.month.commit12.v1: 1700 usd a month for 20 credits a month, bound for 12 months',
        'create product prod_perennial_pack_credits_10 (10 credits)',
        `create price ${PACK}: 1000 usd for 10 credits`,
        `put on sale ${MONTH}`,
        'put on sale tier_2_20.year.v1',
        'put on sale tier_2_20.month.commit12.v1',
        `put on sale ${PACK}`,
        'add free plan free.free.v1: free: 2 credits a month',
        'put on sale free.free.v1',
        'put in force version, limits',
      ],
      conflicts: [],
      inPlace: [],
    })
  })

  it('nothing, where everything is', () => {
    const catalog = catalogOf()
    const { known, seen } = synced(catalog)
    const { steps, conflicts, inPlace } = planOf(catalog, known, seen)
    assert.deepEqual([steps, conflicts, inPlace.length], [[], [], 5])
  })

  it('reads terms in whatever order Postgres gives their fields', () => {
    const catalog = catalogOf((file) => (file.renewal = { rule: 'roll_over', limit: '5' }))
    const { known, seen } = synced(catalog)
    const row = known.kept.get(MONTH)
    assert.ok(row)
    Object.assign(row.terms, { renewal: { limit: '5', rule: 'roll_over' } })
    assert.deepEqual(planOf(catalog, known, seen).steps, [])
  })

  it('uses what is in Stripe already, and the product that a plan’s prices have', () => {
    const catalog = catalogOf()
    const { known, seen } = synced(catalog)
    for (const key of [MONTH, 'tier_2_20.month.commit12.v1']) known.kept.delete(key)
    seen.holders.delete('tier_2_20.month.commit12.v1')
    for (const price of seen.prices.values())
      if (price.interval !== null) price.product = { id: 'prod_of_old', name: 'Starter', active: true }
    const { steps, conflicts } = planOf(catalog, known, seen)
    assert.deepEqual(conflicts, [])
    assert.deepEqual(steps, [
      `use price ${MONTH}: price_${MONTH} is in Stripe already`,
      'create price tier_2_20.month.commit12.v1: 1700 usd a month for 20 credits a month, bound for 12 months',
      `put on sale ${MONTH}`,
      'put on sale tier_2_20.month.commit12.v1',
    ])
    const made = planSync(catalog, known, seen).steps.find((step) => step.do === 'create_price')
    assert.equal(made?.product, 'prod_of_old')
  })

  it('mends what was archived, renamed or lost its key in Stripe', () => {
    const catalog = catalogOf()
    const { known, seen } = synced(catalog)
    const [month, pack] = [seen.prices.get(`price_${MONTH}`), seen.prices.get(`price_${PACK}`)]
    assert.ok(month && pack)
    for (const price of seen.prices.values())
      if (price.interval !== null) price.product = { ...price.product, name: 'Beginner', active: false }
    month.active = false
    pack.lookupKey = null
    seen.holders.set(PACK, { ...pack, id: 'price_thief', lookupKey: PACK })
    const { steps, inPlace } = planOf(catalog, known, seen)
    assert.deepEqual(steps, [
      'restore product prod_perennial_plan_tier_2_20: it was archived in Stripe',
      'rename product prod_perennial_plan_tier_2_20: Beginner becomes Starter',
      `restore price ${MONTH}: price_${MONTH} was archived in Stripe`,
      `return key ${PACK}: to price_${PACK}, from price_thief`,
    ])
    assert.deepEqual(inPlace, ['free.free.v1'])
  })

  it('takes off sale what is no longer in the file, and makes the limits those of the file', () => {
    const { known, seen } = synced(catalogOf())
    const smaller = catalogOf((file) => {
      file.packs = []
      file.limits.grant_max = '7'
    })
    assert.deepEqual(planOf(smaller, known, seen).steps, [
      `take off sale ${PACK}: no longer in the file; its subscribers keep it`,
      'put in force limits',
    ])
  })

  const CHANGES: [
    what: string,
    term: string,
    change: (file: { plans: Record<string, unknown>[]; packs: Record<string, unknown>[] }) => void,
  ][] = [
    ['its credits', 'credits', ({ plans }) => Object.assign(plans[1] ?? {}, { credits: '21' })],
    [
      'its renewal rule',
      'renewal',
      ({ plans }) => Object.assign(plans[1] ?? {}, { renewal: { rule: 'keep' } }),
    ],
    ['its grace', 'graceHours', ({ plans }) => Object.assign(plans[1] ?? {}, { grace_hours: 1 })],
    ['its rank', 'tier', ({ plans }) => Object.assign(plans[1] ?? {}, { tier: 9 })],
    [
      'its trial',
      'trial',
      ({ plans }) => Object.assign(plans[1] ?? {}, { trial: { days: 9, credits: '5', card_required: true } }),
    ],
    ['a pack’s credits', 'credits', ({ packs }) => Object.assign(packs[0] ?? {}, { credits: '11' })],
  ]
  for (const [what, term, change] of CHANGES) {
    it(`refuses to change ${what} once it was sold`, () => {
      const { known, seen } = synced(catalogOf())
      const { conflicts } = planOf(catalogOf(change), known, seen)
      assert.ok(conflicts.length > 0)
      for (const conflict of conflicts)
        assert.match(
          conflict,
          new RegExp(`was sold with other terms \\(${term}\\): raise the catalogue's version`),
        )
    })
  }

  it('refuses other terms of a free plan, too', () => {
    const { known, seen } = synced(catalogOf())
    const { conflicts } = planOf(
      catalogOf((file) => (file.plans[0].credits = '3')),
      known,
      seen,
    )
    assert.match(conflicts.join(), /^free\.free\.v1: was sold with other terms \(credits\)/)
  })

  it('adds to old terms what they left open, but never a rule that they had by saying nothing', () => {
    const { known, seen } = synced(catalogOf())
    const row = known.kept.get(MONTH)
    assert.ok(row)
    for (const name of ['kind', 'tier', 'renewal', 'commitmentMonths', 'trial'])
      Reflect.deleteProperty(row.terms, name)
    assert.deepEqual(planOf(catalogOf(), known, seen).steps, [
      `complete terms ${MONTH}: kind, tier, renewal, commitmentMonths, trial`,
    ])
    const other = catalogOf((file) => (file.plans[1].renewal = { rule: 'keep' }))
    assert.match(
      planOf(other, known, seen).conflicts.join(),
      /tier_2_20\.month\.v1: was sold with other terms \(renewal\)/,
    )
  })

  it('refuses a key that has other terms in Stripe, and a price that Stripe does not know', () => {
    const catalog = catalogOf()
    const { known, seen } = synced(catalog)
    known.kept.delete(PACK)
    const pack = seen.holders.get(PACK)
    assert.ok(pack)
    Object.assign(pack, { unitAmount: '999', interval: 'month' })
    seen.prices.delete(`price_${MONTH}`)
    assert.deepEqual(planOf(catalog, known, seen).conflicts, [
      `${MONTH}: Stripe has no price_${MONTH}: is this the account of Stripe that the database belongs to?`,
      `${PACK}: price_${PACK} in Stripe differs (amount 999, not 1000; paid every month, not paid once): ` +
        "raise the catalogue's version: what was sold keeps its terms",
    ])
  })

  it('can be seen in part without Stripe', () => {
    const catalog = catalogOf()
    const { known } = synced(catalog)
    assert.deepEqual(compareHere(catalog, known).steps, [])
    known.kept.delete(MONTH)
    assert.deepEqual(compareHere(catalog, known).steps, [{ do: 'put_on_sale', lookupKey: MONTH }])
  })
})

describe('how a price in Stripe drifts', () => {
  const { known, seen } = synced(catalogOf())
  const price = seen.prices.get(`price_${MONTH}`)
  const terms = known.kept.get(MONTH)?.terms
  assert.ok(price && terms?.kind === 'plan')

  it('not, while it is the same', () => assert.deepEqual(drift(terms as never, price, price), []))

  const DRIFTS: [change: Partial<PriceFacts>, told: string][] = [
    [{ unitAmount: '2500' }, 'amount 2500, not 2000'],
    [{ unitAmount: '2000.5' }, 'amount 2000.5, not 2000'],
    [{ currency: 'eur' }, 'currency eur, not usd'],
    [{ interval: 'year' }, 'paid every year, not paid every month'],
    [{ interval: null }, 'paid once, not paid every month'],
    [{ intervalCount: 3 }, 'paid every 3 month, not paid every month'],
    [{ oddities: ['metered'] }, 'metered'],
    [{ active: false }, 'archived'],
    [{ product: { id: 'prod_1', name: 'Other', active: false } }, 'its product prod_1 is archived'],
    [{ lookupKey: null }, 'no lookup key'],
    [{ lookupKey: 'mine' }, 'the lookup key mine'],
  ]
  for (const [change, told] of DRIFTS) {
    it(`says ${told}`, () =>
      assert.deepEqual(drift(terms as never, { ...price, ...change }, undefined), [told]))
  }

  it('says when it is gone, and who has its key', () => {
    assert.deepEqual(drift(terms as never, undefined, undefined), [`Stripe has no price_${MONTH}`])
    const thief = { ...price, id: 'price_thief' }
    assert.deepEqual(drift(terms as never, price, thief), ['its lookup key is on price_thief'])
  })

  it('in what cannot be changed, is what a sync refuses', () => {
    const offer = catalogOf().prices[0]
    assert.ok(offer)
    assert.deepEqual(differences(offer, { ...price, active: false, lookupKey: null }), [])
  })
})
