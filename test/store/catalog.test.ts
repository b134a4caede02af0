import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import type { Catalog } from '../../src/domain/catalog.ts'
import type { PackTerms, PriceTerms } from '../../src/domain/plan.ts'
import {
  completeTerms,
  keepTerms,
  keptPrices,
  putInForce,
  putOnSale,
  termsOf,
} from '../../src/store/catalog-price.ts'
import { entitlementsOf, writeEntitlements } from '../../src/store/entitlement.ts'
import {
  catalogInForce,
  freePlanOnSale,
  freeTermsOf,
  listOnSale,
  packOnSale,
  priceOnSale,
} from '../../src/store/price-list.ts'
import { openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { FREE_TERMS } from '../support/terms.ts'

const MONTH: PriceTerms = {
  ...FREE_TERMS,
  kind: 'plan',
  priceId: 'price_1',
  lookupKey: 'pro.month.v1',
  plan: 'pro',
  credits: '20',
  interval: 'month',
  unitAmount: '2000',
  currency: 'usd',
  discountRule: 'full',
  commitmentMonths: null,
  trial: { days: 7, credits: '5', cardRequired: true },
}
const BOUND: PriceTerms = {
  ...MONTH,
  priceId: 'price_2',
  lookupKey: 'pro.month.commit12.v1',
  unitAmount: '1700',
  commitmentMonths: 12,
  trial: null,
}
const PACK: PackTerms = {
  kind: 'pack',
  priceId: 'price_3',
  lookupKey: 'pack.pro.v1',
  pack: 'pro',
  packName: '10 credits',
  version: 'v1',
  credits: '10',
  unitAmount: '1000',
  currency: 'usd',
}
const LIMITS: Catalog['limits'] = {
  grantMax: '500',
  purchaseMin: '500',
  purchaseMax: '9',
  purchaseDayMax: '9',
  purchaseHourMax: 9,
}

describe('what the catalogue sells', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
    for (const terms of [MONTH, BOUND, PACK, FREE_TERMS]) await keepTerms(database.pool, terms)
  })
  afterEach(() => database.drop())

  const ALL = [MONTH, BOUND, PACK, FREE_TERMS].map(({ lookupKey }) => lookupKey)

  it('is on sale side by side: a price, its commitment, a pack and a free plan', async () => {
    await putOnSale(database.pool, ALL)
    assert.deepEqual(await listOnSale(database.pool), [FREE_TERMS, PACK, MONTH, BOUND])
    assert.deepEqual(await freePlanOnSale(database.pool, 'free'), FREE_TERMS)
    assert.deepEqual(await packOnSale(database.pool, 'pro'), PACK)
  })

  it('is on sale in several currencies side by side, the catalogue’s unless told otherwise', async () => {
    const euro = { ...MONTH, priceId: 'price_e', lookupKey: 'pro.month.eur.v1', currency: 'eur' }
    const pack = { ...PACK, priceId: 'price_p', lookupKey: 'pack.pro.eur.v1', currency: 'eur' }
    for (const terms of [euro, pack]) await keepTerms(database.pool, terms)
    await putInForce(database.pool, {
      version: 'v1',
      currency: 'usd',
      limits: LIMITS,
    })
    await putOnSale(database.pool, [...ALL, euro.lookupKey, pack.lookupKey])
    assert.deepEqual(await priceOnSale(database.pool, 'pro', 'month'), MONTH)
    assert.deepEqual(await priceOnSale(database.pool, 'pro', 'month', 'eur'), euro)
    assert.deepEqual(await packOnSale(database.pool, 'pro'), PACK)
    assert.deepEqual(await packOnSale(database.pool, 'pro', 'eur'), pack)
    assert.equal(await packOnSale(database.pool, 'pro', 'gbp'), undefined)
    const again = { ...euro, priceId: 'price_f', lookupKey: 'pro.month.eur.v2' }
    await keepTerms(database.pool, again)
    const both = [...ALL, euro.lookupKey, pack.lookupKey, again.lookupKey]
    await assert.rejects(putOnSale(database.pool, both), { constraint: 'catalog_price_on_sale' })
  })

  it('finds the price without commitment of a plan, and neither a free plan nor a pack', async () => {
    await putOnSale(database.pool, ALL)
    assert.deepEqual(await priceOnSale(database.pool, 'pro', 'month'), MONTH)
    assert.equal(await priceOnSale(database.pool, 'pro', 'year'), undefined)
    assert.equal(await priceOnSale(database.pool, 'free', 'month'), undefined)
    assert.equal(await freePlanOnSale(database.pool, 'pro'), undefined)
    await putOnSale(database.pool, [BOUND.lookupKey])
    assert.equal(await priceOnSale(database.pool, 'pro', 'month'), undefined)
  })

  it('has one price on sale for a plan, interval and commitment; one pack; one free plan of a name', async () => {
    await putOnSale(database.pool, ALL)
    const successors = [
      { ...MONTH, priceId: 'price_4', lookupKey: 'pro.month.v2', version: 'v2' },
      { ...BOUND, priceId: 'price_5', lookupKey: 'pro.month.commit12.v2', version: 'v2' },
      { ...PACK, priceId: 'price_6', lookupKey: 'pack.pro.v2', version: 'v2' },
      { ...FREE_TERMS, priceId: 'free.free.v2', lookupKey: 'free.free.v2', version: 'v2' },
    ]
    for (const terms of successors) {
      await keepTerms(database.pool, terms)
      await assert.rejects(putOnSale(database.pool, [...ALL, terms.lookupKey]), {
        code: '23505',
        constraint: 'catalog_price_on_sale',
      })
    }
    await putOnSale(
      database.pool,
      successors.map(({ lookupKey }) => lookupKey),
    )
    assert.equal((await listOnSale(database.pool)).length, 4)
    assert.equal((await priceOnSale(database.pool, 'pro', 'month'))?.version, 'v2')
    assert.deepEqual(
      (await termsOf(database.pool, ['price_1']))['price_1'],
      MONTH,
      'kept for its subscribers',
    )
    assert.deepEqual(await freeTermsOf(database.pool, 'free.free.v1'), FREE_TERMS)
  })

  it('is what it was: nothing is kept a second time, and completing changes nothing that was said', async () => {
    await keepTerms(database.pool, { ...MONTH, credits: '999' })
    await completeTerms(database.pool, { ...MONTH, credits: '999', trial: null })
    assert.deepEqual((await termsOf(database.pool, ['price_1']))['price_1'], MONTH)
  })

  it('tells only prices of plans to whoever reads a subscription', async () => {
    assert.deepEqual(Object.keys(await termsOf(database.pool, ['price_1', 'price_3', 'free.free.v1', 'x'])), [
      'price_1',
    ])
  })

  it('tells a sync what it asks for and whatever else is on sale', async () => {
    await putOnSale(database.pool, [PACK.lookupKey])
    const kept = await keptPrices(database.pool, [MONTH.lookupKey, 'nothing'])
    assert.deepEqual(
      [...kept].map(([key, { onSale }]) => [key, onSale]),
      [
        [PACK.lookupKey, true],
        [MONTH.lookupKey, false],
      ],
    )
  })

  it('has limits and reminders once a catalogue is in force', async () => {
    assert.equal(await catalogInForce(database.pool), undefined)
    const first = { version: 'v1', currency: 'usd', limits: LIMITS, dunning: { reminderDays: [] } }
    const second = {
      version: 'v2',
      currency: 'usd',
      automaticTax: false,
      limits: { ...LIMITS, grantMax: '7' },
      dunning: { reminderDays: [1, 3] },
    }
    await putInForce(database.pool, first)
    await putInForce(database.pool, second)
    assert.deepEqual(await catalogInForce(database.pool), second)
    await assert.rejects(database.owner.query(`insert into catalog values (false, 'v3', 'usd', '{}')`), {
      code: '23514',
    })
  })

  it('keeps how much of a paid year’s months rolls over, and that some never lapse', async () => {
    const account = await openAccount(database)
    const at = '2027-01-31T10:00:00.000Z'
    const month = { amount: '20', dueAt: at, periodEnd: at, payment: 'pi_1', source: {} }
    const months = [
      { ...month, key: 'k:0', expiresAt: at, carry: '0' },
      { ...month, key: 'k:1', expiresAt: at, carry: '100.5' },
      { ...month, key: 'k:2', expiresAt: null, carry: 'Infinity' },
    ]
    const old = { ...month, key: 'k:3', expiresAt: at }
    await writeEntitlements(database.pool, account, 'sub_1', [...months, old])
    const { pending } = await entitlementsOf(database.pool, 'sub_1')
    assert.deepEqual(
      pending.sort((a, b) => (a.key < b.key ? -1 : 1)),
      [...months, { ...old, carry: '0' }],
    )
  })
})

describe('a database of the first version', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('goes on with its prices: what their terms do not say was not offered', async () => {
    const folder = new URL('../../migrations/', import.meta.url)
    const files = (await readdir(folder)).sort()
    const apply = async (some: string[]) => {
      for (const name of some) await database.owner.query(await readFile(new URL(name, folder), 'utf8'))
    }
    await database.owner.query('drop schema public cascade; create schema public')
    await apply(files.filter((name) => name < '0003'))
    const { kind: _1, tier: _2, renewal: _3, commitmentMonths: _4, trial: _5, ...terms } = MONTH
    await database.owner.query(
      `insert into catalog_price values ('price_1', 'pro.month.v1', 'pro', 'month', 'v1', $1, true)`,
      [JSON.stringify(terms)],
    )
    await database.owner.query(`insert into account (id) values ('acc_1')`)
    await database.owner.query(
      `insert into entitlement (key, account_id, subscription_id, payment_id, amount, due_at, period_end, expires_at, source)
       values ('k', 'acc_1', 'sub_1', 'pi_1', 1, now(), now(), now(), '{}')`,
    )
    await apply(files.filter((name) => name >= '0003'))

    const read = {
      ...terms,
      kind: 'plan',
      tier: null,
      renewal: { rule: 'replace' },
      commitmentMonths: null,
      trial: null,
    }
    assert.deepEqual(await listOnSale(database.pool), [read])
    assert.deepEqual(await priceOnSale(database.pool, 'pro', 'month'), read)
    assert.deepEqual(await termsOf(database.pool, ['price_1']), { price_1: read })
    assert.equal((await entitlementsOf(database.pool, 'sub_1')).pending[0]?.carry, '0')
    await completeTerms(database.pool, MONTH)
    assert.deepEqual(await priceOnSale(database.pool, 'pro', 'month'), MONTH)
  })
})
