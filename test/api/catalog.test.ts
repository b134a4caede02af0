import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { parseCatalog } from '../../src/domain/catalog.ts'
import { keepTerms, putInForce, putOnSale } from '../../src/store/catalog-price.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

const FILE = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))

describe('GET /v1/catalog', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  it('is empty before a catalogue is in force', async () => {
    const { status, body } = await api.get('/v1/catalog')
    assert.equal(status, 200)
    assert.deepEqual(body, {
      data: [],
      has_more: false,
      next_cursor: null,
      version: null,
      packs: [],
      limits: null,
    })
  })

  it('shows what a pricing page needs', async () => {
    FILE.plans[2].renewal = { rule: 'roll_over', limit: '100' }
    FILE.plans[3].renewal = { rule: 'keep' }
    const catalog = parseCatalog(FILE)
    const { pool } = api.database
    for (const terms of catalog.free) await keepTerms(pool, terms)
    for (const offer of [...catalog.prices, ...catalog.packs])
      await keepTerms(pool, { ...offer, priceId: `price_${offer.lookupKey}` })
    await putOnSale(
      pool,
      [...catalog.prices, ...catalog.packs, ...catalog.free].map(({ lookupKey }) => lookupKey),
    )
    await putInForce(pool, catalog)

    const { body } = await api.get('/v1/catalog')
    assert.equal(body.version, 'v1')
    assert.deepEqual(
      body.data.map(({ id, tier, free }: Record<string, unknown>) => [id, tier, free]),
      [
        ['free', 0, true],
        ['tier_2_20', 1, false],
        ['tier_6_50', 2, false],
        ['tier_12_100', 3, false],
        ['tier_25_200', 4, false],
        ['tier_50_400', 5, false],
        ['tier_125_800', 6, false],
        ['tier_200_1000', 7, false],
      ],
    )
    const [free, starter, rolling, keeping] = body.data
    assert.deepEqual(free, {
      id: 'free',
      object: 'plan',
      name: 'Free',
      group: 'default',
      tier: 0,
      free: true,
      credits: '2',
      renewal: { rule: 'replace', limit: null },
      trial: null,
      prices: [],
    })
    assert.deepEqual(starter.trial, { days: 7, credits: '5', card_required: true })
    assert.deepEqual(
      starter.prices.map((price: Record<string, unknown>) => [
        price['id'],
        price['interval'],
        price['unit_amount'],
        price['commitment_months'],
      ]),
      [
        ['price_tier_2_20.month.v1', 'month', '2000', null],
        ['price_tier_2_20.month.commit12.v1', 'month', '1700', 12],
        ['price_tier_2_20.year.v1', 'year', '20400', null],
      ],
    )
    assert.deepEqual(rolling.renewal, { rule: 'roll_over', limit: '100' })
    assert.deepEqual(keeping.renewal, { rule: 'keep', limit: null })
    assert.equal(body.packs.length, 6)
    assert.deepEqual(body.packs[0], {
      id: 'credits_10',
      object: 'pack',
      name: '10 credits',
      credits: '10',
      unit_amount: '1000',
      currency: 'usd',
      price: 'price_pack.credits_10.v1',
      version: 'v1',
    })
    assert.deepEqual(body.limits, {
      grant_max: '500',
      purchase_min: '500',
      purchase_max: '100000',
      purchase_day_max: '200000',
      currencies: {},
      purchase_hour_max: 10,
      currency: 'usd',
    })
  })
})
