import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import {
  checkCatalog,
  ensureCatalog,
  inConflict,
  planCatalog,
  readCatalog,
  stepsInStripe,
  takeStep,
  writeDown,
} from '../../src/activities/catalog.ts'
import { createDriftActivities } from '../../src/activities/drift.ts'
import type { Catalog } from '../../src/domain/catalog.ts'
import { inWords } from '../../src/domain/catalog-words.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { listOnSale, priceOnSale } from '../../src/store/price-list.ts'
import { stripeClient } from '../../src/stripe/gateway.ts'
import { createPriceGateway, type PriceGateway } from '../../src/stripe/price.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

const KEY = 'sk_test_perennial'
const MONTH = 'tier_2_20.month.v1'

describe('the catalogue and Stripe', () => {
  let database: TestDatabase
  let sandbox: StripeSandbox
  let proxy: StripeProxy
  let stripe: Stripe
  let prices: PriceGateway
  let file: Catalog
  beforeEach(async () => {
    database = await createDatabase()
    sandbox = await startStripeSandbox({ port: 0 })
    proxy = await startStripeProxy(sandbox.url)
    stripe = stripeClient(KEY, sandbox.url)
    prices = createPriceGateway(stripeClient(KEY, proxy.url))
    file = await readCatalog(undefined)
  })
  afterEach(async () => {
    await proxy.close()
    await sandbox.close()
    await database.drop()
  })

  const plan = (catalog = file) => planCatalog(database.pool, prices, catalog)
  async function sync(catalog = file, gateway = prices): Promise<string[]> {
    const made = await planCatalog(database.pool, gateway, catalog)
    assert.equal(inConflict(made), '')
    for (const step of stepsInStripe(made)) await takeStep(database.pool, gateway, step)
    await writeDown(database.pool, catalog, made, 'test')
    return made.steps.map((step) => inWords(step).join(' '))
  }
  const everyPrice = async () => [
    ...(await all(stripe.prices.list({ active: true }))),
    ...(await all(stripe.prices.list({ active: false }))),
  ]
  async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
    const found: T[] = []
    for await (const one of list) found.push(one)
    return found
  }
  const onSale = async () => (await listOnSale(database.pool)).map(({ lookupKey }) => lookupKey).sort()
  const keysOf = (catalog: Catalog) =>
    [...catalog.prices, ...catalog.packs, ...catalog.free].map(({ lookupKey }) => lookupKey).sort()
  const priceOf = async (key: string) => {
    const [found] = await prices.pricesByLookupKey([key])
    assert.ok(found)
    return found
  }
  const alerts = async () =>
    (
      await database.pool.query<{ kind: string; subject: string; detail: string }>(
        'select kind, subject, detail from alert where resolved_at is null order by subject',
      )
    ).rows
  /** The same catalogue with other versions, or with other things sold. */
  function version(name: string, change: (price: Catalog['prices'][number]) => void = () => {}): Catalog {
    const next = structuredClone(file)
    next.version = name
    for (const each of [...next.prices, ...next.packs, ...next.free]) {
      each.version = name
      each.lookupKey = each.lookupKey.replace(/v1$/, name)
      if (each.kind === 'free') each.priceId = each.lookupKey
      if (each.kind === 'plan') change(each)
    }
    return next
  }

  it('a first sync makes every product and price; a second one finds nothing to do', async () => {
    await sync()
    const made = await everyPrice()
    assert.deepEqual(
      made.map((price) => price.lookup_key ?? '').sort(),
      [...file.prices, ...file.packs].map(({ lookupKey }) => lookupKey).sort(),
    )
    assert.equal((await all(stripe.products.list())).length, 7 + 6)
    assert.equal(made.filter(({ type }) => type === 'one_time').length, 6)
    assert.deepEqual(await onSale(), keysOf(file))
    proxy.seen.length = 0
    assert.deepEqual(await sync(), [])
    assert.deepEqual(
      proxy.seen.filter(({ method }) => method !== 'GET'),
      [],
    )
    const { rows } = await database.pool.query(
      `select actor, subject from audit_log where action = 'catalog'`,
    )
    assert.deepEqual(rows, [{ actor: 'test', subject: 'v1' }])
  })

  it('law 2: each thing is made under a key of its own', async () => {
    await sync()
    const keys = proxy.seen.filter(({ method }) => method === 'POST').map(({ key }) => key)
    assert.equal(new Set(keys).size, keys.length)
    assert.ok(keys.includes(`perennial:price:${MONTH}`))
    assert.ok(keys.includes('perennial:product:prod_perennial_pack_credits_10'))
    assert.ok(keys.every((key) => key?.startsWith('perennial:')))
  })

  it('two syncs at once make one price of each', async () => {
    const others = createPriceGateway(stripeClient(KEY, sandbox.url))
    await Promise.all([sync(), sync(file, others)])
    const made = await everyPrice()
    assert.equal(made.length, file.prices.length + file.packs.length)
    assert.equal((await all(stripe.products.list())).length, 13)
    assert.deepEqual(await onSale(), keysOf(file))
  })

  it('two that both saw nothing make one price, also when Stripe has forgotten the first one’s keys', async () => {
    const [first, second] = [await plan(), await plan()]
    for (const step of stepsInStripe(first)) await takeStep(database.pool, prices, step)
    for (const step of stepsInStripe(second)) await takeStep(database.pool, forgetful(), step)
    assert.equal((await everyPrice()).length, file.prices.length + file.packs.length)
    assert.equal((await all(stripe.products.list())).length, 13)
  })

  /** A client whose keys are other ones: Stripe keeps them for a day only. */
  function forgetful(): PriceGateway {
    const client = stripeClient(KEY, sandbox.url)
    const [createPrice, createProduct] = [
      client.prices.create.bind(client.prices),
      client.products.create.bind(client.products),
    ]
    client.prices.create = (params, options) =>
      createPrice(params, {
        ...options,
        idempotencyKey: `late:${(options as { idempotencyKey: string }).idempotencyKey}`,
      })
    client.products.create = (params, options) =>
      createProduct(params, {
        ...options,
        idempotencyKey: `late:${(options as { idempotencyKey: string }).idempotencyKey}`,
      })
    return createPriceGateway(client)
  }

  for (const fate of ['cut', { status: 500 }] as const) {
    it(`Stripe goes down in the middle (${JSON.stringify(fate)}): nothing is on sale, and a second sync finishes`, async () => {
      let posts = 0
      proxy.decide = ({ method }) => (method === 'POST' && ++posts > 9 ? fate : 'pass')
      await assert.rejects(sync())
      assert.deepEqual(await onSale(), [])
      assert.ok((await everyPrice()).length < file.prices.length)
      proxy.decide = () => 'pass'
      await sync()
      assert.equal((await everyPrice()).length, file.prices.length + file.packs.length)
      assert.equal((await all(stripe.products.list())).length, 13)
      assert.deepEqual(await onSale(), keysOf(file))
    })
  }

  it('an answer that is lost is none: what was made is found', async () => {
    // the client itself asks a second time: that is lost, too
    const asked = new Map<string, number>()
    proxy.decide = ({ path, method }) => {
      asked.set(`${method} ${path}`, (asked.get(`${method} ${path}`) ?? 0) + 1)
      return method === 'POST' && (asked.get(`${method} ${path}`) ?? 0) <= 2 ? 'cut answer' : 'pass'
    }
    await sync()
    assert.equal((await everyPrice()).length, file.prices.length + file.packs.length)
    assert.deepEqual(await onSale(), keysOf(file))
  })

  it('a failure that Stripe repeats under its key for a day does not stop the next sync', async () => {
    const failed = new Set<string>()
    proxy.decide = ({ method, key = '' }) => {
      if (method !== 'POST' || key.endsWith(':2')) return 'pass'
      const before = failed.has(key)
      failed.add(key)
      return { status: 500, headers: before ? { 'idempotent-replayed': 'true' } : {} }
    }
    for (
      let tries = 0;
      tries < 60 &&
      (await sync().then(
        () => false,
        () => true,
      ));
      tries++
    );
    assert.deepEqual(await onSale(), keysOf(file))
    assert.equal((await everyPrice()).length, file.prices.length + file.packs.length)
  })

  it('a key that exists in Stripe with other terms is for a person: nothing at all is done', async () => {
    const product = await stripe.products.create({ name: 'By hand' })
    await stripe.prices.create({
      product: product.id,
      currency: 'usd',
      unit_amount: 1900,
      recurring: { interval: 'month' },
      lookup_key: MONTH,
    })
    assert.match(
      inConflict(await plan()),
      /^tier_2_20\.month\.v1: price_\w+ in Stripe differs \(amount 1900, not 2000\)/,
    )
    await assert.rejects(ensureCatalog(database.pool, prices, file), /amount 1900, not 2000/)
    assert.equal((await everyPrice()).length, 1)
    assert.deepEqual(await onSale(), [])
  })

  it('a key that exists in Stripe with the same terms is used, archived or not', async () => {
    const product = await stripe.products.create({ name: 'By hand', active: false })
    const { id } = await stripe.prices.create({
      product: product.id,
      currency: 'usd',
      unit_amount: 2000,
      recurring: { interval: 'month' },
      lookup_key: MONTH,
      active: false,
    })
    await sync()
    assert.equal((await priceOnSale(database.pool, 'tier_2_20', 'month'))?.priceId, id)
    const { active, product: used } = await priceOf(MONTH)
    assert.deepEqual([active, used], [true, { id: product.id, name: 'Starter', active: true }])
  })

  it('what was archived is sold again, and a key comes back; again and again within a day', async () => {
    await sync()
    for (let round = 0; round < 3; round++) {
      const { id, product } = await priceOf(MONTH)
      await stripe.prices.update(id, { active: false, lookup_key: '' })
      await stripe.products.update(product.id, { active: false, name: `Name ${round}` })
      const thief = await stripe.prices.create({
        product: product.id,
        currency: 'usd',
        unit_amount: 1,
        recurring: { interval: 'month' },
        lookup_key: MONTH,
        transfer_lookup_key: true,
      })
      assert.deepEqual(await sync(), [
        `restore product ${product.id}: it was archived in Stripe`,
        `rename product ${product.id}: Name ${round} becomes Starter`,
        `restore price ${MONTH}: ${id} was archived in Stripe`,
        `return key ${MONTH}: to ${id}, from ${thief.id}`,
      ])
      assert.deepEqual(await sync(), [])
    }
  })

  it('a new version is sold beside the old one, which its subscribers keep', async () => {
    await sync()
    const old = await priceOnSale(database.pool, 'tier_2_20', 'month')
    const second = version('v2', (price) => {
      if (price.plan === 'tier_2_20') price.credits = '25'
    })
    const steps = await sync(second)
    assert.equal(steps.filter((step) => step.startsWith('create product')).length, 0)
    assert.ok(steps.includes(`take off sale ${MONTH}: no longer in the file; its subscribers keep it`))
    assert.deepEqual(await onSale(), keysOf(second))
    const now = await priceOnSale(database.pool, 'tier_2_20', 'month')
    assert.deepEqual([now?.credits, now?.version], ['25', 'v2'])
    assert.notEqual(now?.priceId, old?.priceId)
    assert.equal((await priceOf(MONTH)).active, true, 'whoever has it may go on changing seats')
    // and back again: nothing has to be made
    assert.ok((await sync(file)).every((step) => !step.startsWith('create')))
    assert.deepEqual(await priceOnSale(database.pool, 'tier_2_20', 'month'), old)
  })

  it('of two files of one version, synced at once, the first is sold and the second told so', async () => {
    const other = structuredClone(file)
    for (const price of other.prices) if (price.lookupKey === MONTH) price.credits = '21'
    const late = await plan(other)
    await sync()
    for (const step of stepsInStripe(late)) await takeStep(database.pool, prices, step)
    await assert.rejects(writeDown(database.pool, other, late, 'test'), /sold with other terms \(credits\)/)
    assert.equal((await priceOnSale(database.pool, 'tier_2_20', 'month'))?.credits, '20')
    assert.equal(await checkCatalog(database.pool, file), true)
  })

  it('an installation of the first version keeps its prices and products', async () => {
    const product = await stripe.products.create({
      name: 'Starter',
      metadata: { perennial_plan: 'tier_2_20' },
    })
    const [offer] = file.prices
    assert.ok(offer?.lookupKey === MONTH)
    const price = await stripe.prices.create({
      product: product.id,
      currency: 'usd',
      unit_amount: 2000,
      recurring: { interval: 'month' },
      lookup_key: MONTH,
    })
    const { kind: _1, tier: _2, renewal: _3, commitmentMonths: _4, trial: _5, ...terms } = offer
    await database.owner.query(
      `insert into catalog_price (price_id, lookup_key, plan, interval, version, terms, on_sale)
       values ($1, $2, 'tier_2_20', 'month', 'v1', $3, true)`,
      [price.id, MONTH, JSON.stringify({ ...terms, priceId: price.id })],
    )
    const steps = await sync()
    assert.ok(steps.includes(`complete terms ${MONTH}: kind, tier, renewal, commitmentMonths, trial`))
    assert.deepEqual(await priceOnSale(database.pool, 'tier_2_20', 'month'), { ...offer, priceId: price.id })
    const starter = (await everyPrice()).filter((each) => each.product === product.id)
    assert.equal(starter.length, 3, 'month, year and commitment are prices of its product')
  })

  it('a start against the sandbox makes what is missing, and asks nothing when nothing is', async () => {
    await ensureCatalog(database.pool, prices, file)
    assert.deepEqual(await onSale(), keysOf(file))
    proxy.decide = () => 'cut'
    await ensureCatalog(database.pool, prices, file)
  })

  it('a start against the real Stripe changes nothing, and tells until it is synced', async () => {
    assert.equal(await checkCatalog(database.pool, file), false)
    assert.deepEqual([await onSale(), await everyPrice()], [[], []])
    const [alert, ...others] = await alerts()
    assert.deepEqual(others, [])
    assert.deepEqual([alert?.kind, alert?.subject], ['catalog_unsynced', 'catalog'])
    assert.match(alert?.detail ?? '', /tier_2_20\.month\.v1.*run perennial catalog sync$/)
    await sync()
    assert.deepEqual(await alerts(), [])
    assert.equal(await checkCatalog(database.pool, file), true)
    // a new file that nobody has synced: what is sold stays sold
    assert.equal(await checkCatalog(database.pool, version('v2')), false)
    assert.deepEqual(await onSale(), keysOf(file))
    assert.equal((await alerts()).length, 1)
    assert.equal(await checkCatalog(database.pool, file), true)
    assert.deepEqual(await alerts(), [])
  })

  describe('drift', () => {
    const drift = () => createDriftActivities({ pool: database.pool, prices }).drift()

    it('is told until it is gone, by lookup key, and recorded as a duty', async () => {
      await sync()
      assert.deepEqual(await drift(), { prices: 23, adrift: 0 })
      const { id, product } = await priceOf(MONTH)
      const pack = await priceOf('pack.credits_10.v1')
      await stripe.prices.update(id, { active: false })
      await stripe.prices.update(pack.id, { lookup_key: '' })
      assert.deepEqual(await drift(), { prices: 23, adrift: 2 })
      assert.deepEqual(await alerts(), [
        {
          kind: 'catalog_drift',
          subject: 'pack.credits_10.v1',
          detail: `${pack.id} in Stripe: no lookup key`,
        },
        { kind: 'catalog_drift', subject: MONTH, detail: `${id} in Stripe: archived` },
      ])
      await stripe.prices.update(id, { active: true })
      await stripe.products.update(product.id, { active: false })
      await drift()
      const told = (await alerts()).map(({ subject, detail }) => [subject, detail])
      assert.equal(told.length, 4, 'the product’s other prices, too')
      assert.deepEqual(told.at(-2), [MONTH, `${id} in Stripe: its product ${product.id} is archived`])
      await sync()
      assert.deepEqual(await drift(), { prices: 23, adrift: 0 })
      assert.deepEqual(await alerts(), [])
      const { rows } = await database.pool.query(
        `select count(*)::int as runs, count(finished_at)::int as finished from duty_run where duty = 'drift'`,
      )
      assert.deepEqual(rows, [{ runs: 4, finished: 4 }])
    })

    it('of what is no longer on sale is nobody’s concern', async () => {
      await sync()
      await stripe.prices.update((await priceOf(MONTH)).id, { active: false })
      await drift()
      assert.equal((await alerts()).length, 1)
      await sync(version('v2'))
      await drift()
      assert.deepEqual(await alerts(), [])
    })

    it('is not concluded from a Stripe that does not answer', async () => {
      await sync()
      proxy.decide = () => ({ status: 500 })
      await assert.rejects(drift())
      assert.deepEqual(await alerts(), [])
    })
  })
})
