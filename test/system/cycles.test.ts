/** Many changes through the sandbox's own arithmetic and the real ledger; the passes are made here, without workflows. */
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { ensureCatalog, readCatalog } from '../../src/activities/catalog.ts'
import { createSubscriptionActivities } from '../../src/activities/subscription.ts'
import { Exact } from '../../src/domain/credits.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { tieCustomer } from '../../src/store/stripe-customer.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createCollectionGateway } from '../../src/stripe/collection.ts'
import { createGateway, stripeClient } from '../../src/stripe/gateway.ts'
import { createPriceGateway } from '../../src/stripe/price.ts'
import { assertBooks, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('cycles through the sandbox and the ledger mint nothing', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let sandbox: StripeSandbox
  let stripe: Stripe
  let activities: ReturnType<typeof createSubscriptionActivities>
  let small: string
  let big: string
  before(async () => {
    database = await createDatabase()
    sandbox = await startStripeSandbox({ port: 0, now: () => Date.now() })
    stripe = stripeClient('sk_test_perennial', sandbox.url)
    const { pool } = database
    await ensureCatalog(pool, createPriceGateway(stripe), await readCatalog(undefined))
    activities = createSubscriptionActivities({
      pool,
      gateway: createGateway(stripe),
      collection: createCollectionGateway(stripe),
      changes: createChangeGateway(stripe),
      reach: {} as never,
    })
    const priceOf = async (key: string) =>
      (await stripe.prices.list({ lookup_keys: [key] })).data[0]?.id ?? ''
    ;[small, big] = [await priceOf('tier_2_20.month.v1'), await priceOf('tier_6_50.month.v1')]
  })
  after(async () => {
    await sandbox?.close()
    await database?.drop()
  })
  afterEach(() => assertBooks(database))

  async function customerOf(account: string): Promise<string> {
    const { id } = await stripe.customers.create({})
    const card = await stripe.paymentMethods.attach('pm_card_visa', { customer: id })
    await stripe.customers.update(id, { invoice_settings: { default_payment_method: card.id } })
    return await tieCustomer(database.pool, account, { customer: id, ordinal: 1 })
  }
  const subscribe = async (customer: string, discounts: { coupon: string }[] = []) => {
    const { id, items } = await stripe.subscriptions.create({ customer, items: [{ price: big }], discounts })
    await pass(id)
    return { id, item: items.data[0]?.id ?? '' }
  }
  /** What the workflow does when it is woken. */
  const pass = async (subscription: string) => {
    const { observation, events } = await activities.observeSubscription({ subscription })
    const plan = observation === null ? undefined : decideSubscription(observation)
    assert.ok(plan)
    assert.ok(!('stale' in (await activities.applySubscription({ plan, events }))))
  }
  const change = async (id: string, item: string, price: string) => {
    await stripe.subscriptions.update(id, {
      items: [{ id: item, price }],
      proration_behavior: 'always_invoice',
    })
    await pass(id)
  }
  const sums = async (account: string, customer: string) => {
    const { rows } = await database.pool.query<{ granted: string }>(
      `select coalesce(sum(amount), 0)::text as granted from posting where account_id = $1 and kind = 'grant'`,
      [account],
    )
    let charged = 0
    for await (const { amount, status } of stripe.charges.list({ customer, limit: 100 })) {
      if (status === 'succeeded') charged += amount
    }
    return { granted: new Exact(rows[0]?.granted ?? '0'), charged: new Exact(charged).dividedBy(100) }
  }

  it('fifty times up and down in one subscription: its customer pays once and is granted once', async () => {
    const account = await openAccount(database)
    const customer = await customerOf(account)
    const { id, item } = await subscribe(customer)
    for (let cycle = 0; cycle < 50; cycle += 1) {
      await change(id, item, small)
      await change(id, item, big)
    }
    const { granted, charged } = await sums(account, customer)
    assert.ok(charged.gte(50) && charged.lt('50.1'), charged.toFixed())
    assert.ok(granted.lte(charged) && granted.gt('49.9'), `${granted.toFixed()} for $${charged.toFixed()}`)
  })

  it('given up with the money back and ordered again: what the balance pays for was granted before', async () => {
    const account = await openAccount(database)
    const customer = await customerOf(account)
    for (let cycle = 0; cycle < 16; cycle += 1) {
      const { id, item } = await subscribe(customer)
      if (cycle % 2 === 0) await change(id, item, small)
      await stripe.subscriptions.cancel(id, { prorate: true, invoice_now: true })
      await pass(id)
    }
    await subscribe(customer)
    const { granted, charged } = await sums(account, customer)
    assert.ok(charged.gte(50) && charged.lt('50.1'), charged.toFixed())
    assert.ok(granted.lte(charged) && granted.gt('49.9'), `${granted.toFixed()} for $${charged.toFixed()}`)
  })

  it('under half a coupon that takes no credits: twice as many for the money, and once', async () => {
    await database.owner.query(
      `update catalog_price set terms = jsonb_set(terms, '{discountRule}', '"full"') where terms ? 'discountRule'`,
    )
    const { id: coupon } = await stripe.coupons.create({ percent_off: 50, duration: 'forever' })
    const account = await openAccount(database)
    const customer = await customerOf(account)
    for (let cycle = 0; cycle < 6; cycle += 1) {
      const { id, item } = await subscribe(customer, [{ coupon }])
      if (cycle % 2 === 0) await change(id, item, small)
      await stripe.subscriptions.cancel(id, { prorate: true, invoice_now: true })
      await pass(id)
    }
    await subscribe(customer, [{ coupon }])
    const { granted, charged } = await sums(account, customer)
    assert.ok(charged.gte(25) && charged.lt('25.1'), charged.toFixed())
    assert.ok(
      granted.lte(charged.times(2)) && granted.gt('49.9'),
      `${granted.toFixed()} for $${charged.toFixed()}`,
    )
  })
})
