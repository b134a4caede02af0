import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { ensureCatalog, readCatalog } from '../../src/activities/catalog.ts'
import { observePurchase } from '../../src/activities/purchase.ts'
import { followPurchase } from '../../src/domain/purchase.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { transaction } from '../../src/store/connect.ts'
import { packOnSale } from '../../src/store/price-list.ts'
import { insertPurchase } from '../../src/store/purchase.ts'
import { stripeClient } from '../../src/stripe/gateway.ts'
import { createPriceGateway } from '../../src/stripe/price.ts'
import { createPurchaseGateway } from '../../src/stripe/purchase.ts'
import { openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('a payment of packs whose page is not written down', function () {
  this.timeout(60_000)
  let database: TestDatabase
  let sandbox: StripeSandbox
  let stripe: Stripe
  before(async () => {
    database = await createDatabase()
    sandbox = await startStripeSandbox({ port: 0, now: Date.now })
    stripe = stripeClient('sk_test_perennial', sandbox.url)
    await ensureCatalog(database.pool, createPriceGateway(stripe), await readCatalog(undefined))
  })
  after(async () => {
    await sandbox?.close()
    await database?.drop()
  })

  it('is granted without its tax: the page is found by the payment', async () => {
    const { pool } = database
    const purchases = createPurchaseGateway(stripe)
    const account = await openAccount(database)
    const terms = await packOnSale(pool, 'credits_10')
    assert.ok(terms)
    const order = 'ord_taxed'
    const urls = { successUrl: 'https://example.com/ok', cancelUrl: 'https://example.com/no' }
    await transaction(pool, (client) =>
      insertPurchase(client, {
        id: order,
        accountId: account,
        quantity: 1,
        savesMethod: false,
        ...urls,
        order: { terms, amountMinor: terms.unitAmount, credits: terms.credits },
      }),
    )
    const { id: customer } = await stripe.customers.create({
      address: { country: 'US', postal_code: '10001' },
    })
    const page = await purchases.openPage({
      order,
      account,
      customer,
      price: terms.priceId,
      quantity: 1,
      savesMethod: false,
      automaticTax: true,
      ...urls,
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    })
    const coupon = await stripe.coupons.create({ percent_off: 50, duration: 'once' })
    const promotion = { type: 'coupon' as const, coupon: coupon.id }
    await stripe.promotionCodes.create({ promotion, code: 'HALF' })
    const paid = await fetch(`${sandbox.url}/_sandbox/checkout/${page.id}/pay`, {
      method: 'POST',
      body: JSON.stringify({ promotion_code: 'HALF' }),
    })
    assert.equal(paid.status, 200, await paid.text())
    const { payment_intent: intent } = await stripe.checkout.sessions.retrieve(page.id)
    const seen = await observePurchase({ pool, purchases }, order, [intent as string])
    assert.ok(seen)
    assert.equal(seen.payment?.received, '550')
    assert.equal(followPurchase(seen).settlement?.credits, '5')
  })
})
