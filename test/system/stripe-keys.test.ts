import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import type { CatalogPrice } from '../../src/domain/catalog.ts'
import { productIdOf } from '../../src/domain/price-facts.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createGateway, type Gateway, stripeClient } from '../../src/stripe/gateway.ts'
import { createPriceGateway, type PriceGateway } from '../../src/stripe/price.ts'

const PRICE: CatalogPrice = {
  kind: 'plan',
  tier: 1,
  renewal: { rule: 'replace' },
  commitmentMonths: null,
  trial: null,
  lookupKey: 'tier_2_20.month.v1',
  plan: 'tier_2_20',
  planName: 'Starter',
  group: 'default',
  interval: 'month',
  version: 'v1',
  credits: '20',
  unitAmount: '2000',
  currency: 'usd',
  graceHours: 72,
  discountRule: 'proportional',
}

describe('law 2: a call to Stripe that is made again makes nothing again', () => {
  let sandbox: StripeSandbox
  let stripe: Stripe
  let gateway: Gateway
  let prices: PriceGateway
  before(async () => {
    sandbox = await startStripeSandbox({ port: 0 })
    stripe = stripeClient('sk_test_perennial', sandbox.url)
    gateway = createGateway(stripe)
    prices = createPriceGateway(stripe)
  })
  after(() => sandbox?.close())

  const nobody = { email: null, name: null }

  it('an account has one customer', async () => {
    const first = await gateway.createCustomer('acc_1', 1, nobody)
    assert.equal(await gateway.createCustomer('acc_1', 1, nobody), first)
    assert.notEqual(await gateway.createCustomer('acc_2', 1, nobody), first)
    assert.equal((await stripe.customers.list()).data.length, 2)
  })

  async function makePrice(by = prices): Promise<string> {
    await by.createProduct(PRICE)
    return (await by.createPrice(PRICE, productIdOf(PRICE))).id
  }

  it('a price of the catalogue and its product are one, also when two make them at once', async () => {
    const [first, second] = await Promise.all([makePrice(), makePrice()])
    assert.equal(second, first)
    assert.equal((await stripe.products.list()).data.length, 1)
    assert.equal((await stripe.prices.list()).data.length, 1)
  })

  it('an order has one page', async () => {
    const order = {
      order: 'ord_1',
      account: 'acc_3',
      customer: await gateway.createCustomer('acc_3', 1, nobody),
      price: await makePrice(),
      automaticTax: false,
      successUrl: 'https://example.com/ok',
      cancelUrl: 'https://example.com/no',
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    }
    const first = await gateway.openCheckout(order)
    assert.deepEqual(await gateway.openCheckout(order), first)
    assert.equal((await stripe.checkout.sessions.list({ customer: order.customer })).data.length, 1)
  })

  it('a command cancels once: its retry does not undo what a person did since', async () => {
    const customer = await gateway.createCustomer('acc_4', 1, nobody)
    const method = await stripe.paymentMethods.attach('pm_card_visa', { customer })
    const { id } = await stripe.subscriptions.create({
      customer,
      items: [{ price: await makePrice() }],
      default_payment_method: method.id,
    })
    const resumed = async () => !(await stripe.subscriptions.retrieve(id)).cancel_at_period_end
    const cancel = (command: string) => createChangeGateway(stripe).take(id, { do: 'cancel' }, command)
    await cancel('cmd_1')
    assert.equal(await resumed(), false)
    await stripe.subscriptions.update(id, { cancel_at_period_end: false })
    await cancel('cmd_1')
    assert.equal(await resumed(), true)
    await cancel('cmd_2')
    assert.equal(await resumed(), false)
  })
})
