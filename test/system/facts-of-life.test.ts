import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import {
  balanceOf,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
} from '../support/stack.ts'

describe('facts of life in Stripe', function () {
  this.timeout(120_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(async () => {
    await assertBooks(stack.database)
    // what lives on would be billed all through the next test, too
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    await settled(stack)
  })

  const customerOf = async (subscription: string) =>
    (await stack.stripe.subscriptions.retrieve(subscription)).customer as string
  const alerts = async (kind: string) =>
    (
      await stack.database.pool.query<{ subject: string }>(
        'select subject from alert where kind = $1 and resolved_at is null order by subject',
        [kind],
      )
    ).rows.map(({ subject }) => subject)
  const again = (account: string) =>
    stack.ask<{ checkout: { id: string } }>('POST', '/v1/subscriptions', {
      account,
      plan: 'tier_2_20',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
  /** Another program's subscription on our price. */
  const foreign = async (metadata: Record<string, string>) => {
    const customer = await stack.stripe.customers.create({ metadata: { theirs: 'yes' } })
    const method = await stack.stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })
    const price = (await stack.stripe.prices.list({ lookup_keys: ['tier_2_20.month.v1'] })).data[0]
    assert.ok(price)
    const { id } = await stack.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      default_payment_method: method.id,
      metadata,
    })
    await settled(stack)
    return id
  }
  const strays = async (id: string) =>
    (await stack.database.pool.query('select kind, standing, named from stray_object where id = $1', [id]))
      .rows

  it('a customer that was deleted: what was paid for stays, a person is told, the next order makes a new one', async () => {
    const { account, subscription } = await subscribe(stack)
    const first = await customerOf(subscription)
    await stack.stripe.customers.del(first)
    await settled(stack)
    assert.equal(await balanceOf(stack, account), '20')
    assert.deepEqual(await alerts('customer_deleted'), [first])
    const { body } = await again(account)
    await stack.control(`checkout/${body.checkout.id}/pay`, {})
    await settled(stack)
    assert.equal(await balanceOf(stack, account), '40')
    const { rows } = await stack.database.pool.query(
      'select ordinal, deleted_at is null as live from stripe_customer where account_id = $1 order by ordinal',
      [account],
    )
    assert.deepEqual(rows, [
      { ordinal: 1, live: false },
      { ordinal: 2, live: true },
    ])
  })

  it('a customer that was deleted without a word is found out by the next order', async () => {
    const { account, session } = await openCheckout(stack)
    const customer = (await stack.stripe.checkout.sessions.retrieve(session)).customer as string
    await stack.stripe.checkout.sessions.expire(session)
    await settled(stack)
    await stack.control('webhooks', { drop: {} })
    await stack.stripe.customers.del(customer)
    await settled(stack)
    await stack.control('webhooks', { drop: false })
    assert.ok(!(await alerts('customer_deleted')).includes(customer))
    const { status, body } = await again(account)
    assert.equal(status, 201)
    const page = await stack.stripe.checkout.sessions.retrieve(body.checkout.id)
    assert.notEqual(page.customer, customer)
    assert.ok((await alerts('customer_deleted')).includes(customer))
  })

  it('what names nobody of ours is written down as foreign, and nobody is alarmed', async () => {
    const id = await foreign({})
    assert.deepEqual(await strays(id), [{ kind: 'subscription', standing: 'foreign', named: null }])
    assert.ok(!(await alerts('orphan_object')).includes(id))
  })

  it('what names an account that is not here is a discrepancy', async () => {
    const id = await foreign({ perennial_account: 'acc_gone' })
    assert.deepEqual(await strays(id), [{ kind: 'subscription', standing: 'orphan', named: 'acc_gone' }])
    assert.ok((await alerts('orphan_object')).includes(id))
  })

  it('is a discrepancy no longer when its account is there', async () => {
    const id = await foreign({ perennial_account: 'acc_late' })
    assert.ok((await alerts('orphan_object')).includes(id))
    await stack.database.owner.query(`insert into account (id) values ('acc_late')`)
    await stack.stripe.subscriptions.update(id, { metadata: { touched: 'yes' } })
    await settled(stack)
    assert.deepEqual(await strays(id), [])
    assert.ok(!(await alerts('orphan_object')).includes(id))
    assert.equal(await balanceOf(stack, 'acc_late'), '20')
  })

  it('a page whose order is not here is a discrepancy, and its events are done with', async () => {
    const price = (await stack.stripe.prices.list({ lookup_keys: ['tier_2_20.month.v1'] })).data[0]
    assert.ok(price)
    const session = await stack.stripe.checkout.sessions.create({
      mode: 'subscription',
      line_items: [{ price: price.id, quantity: 1 }],
      success_url: 'https://example.com/ok',
      metadata: { perennial_order: 'ord_gone' },
    })
    await stack.stripe.checkout.sessions.expire(session.id)
    await eventually('the events are settled', async () => {
      await settled(stack)
      const { rows } = await stack.database.pool.query(
        `select 1 from processed_webhook_events where owner = 'checkout/ord_gone' and settled_at is null`,
      )
      return rows.length === 0
    })
    assert.deepEqual(await strays('ord_gone'), [{ kind: 'checkout', standing: 'orphan', named: 'ord_gone' }])
  })

  const grants = async (account: string) =>
    (
      await stack.database.pool.query<{ amount: string; payment: string }>(
        `select trim_scale(granted)::text as amount, payment_id as payment from lot where account_id = $1 order by granted_at, id`,
        [account],
      )
    ).rows
  const setTax = (on: boolean) => stack.database.owner.query('update catalog set automatic_tax = $1', [on])
  const buy = async (account: string, more: object = {}) => {
    const { status, body } = await stack.ask<{ id: string; checkout: { id: string }; code?: string }>(
      'POST',
      '/v1/purchases',
      {
        account,
        pack: 'credits_10',
        success_url: 'https://example.com/ok',
        cancel_url: 'https://example.com/no',
        ...more,
      },
    )
    return { status, code: body.code, order: body.id, session: body.checkout?.id }
  }
  const pay = async (session: string) => {
    await stack.control(`checkout/${session}/pay`, {})
    await settled(stack)
    return await stack.stripe.checkout.sessions.retrieve(session)
  }

  for (const inclusive of [false, true])
    it(`tax, where Stripe takes prices for ${inclusive ? 'with' : 'without'} it: paid on top, and never granted`, async () => {
      await setTax(true)
      await stack.control('tax', { percentage: 20, inclusive })
      const { account } = await subscribe(stack)
      const { session } = await buy(account)
      assert.equal((await pay(session ?? '')).amount_total, 1200)
      await setTax(false)
      assert.deepEqual(
        (await grants(account)).map(({ amount }) => amount),
        ['20', '10'],
      )
      await stack.control('tax', { percentage: 10, inclusive: false })
    })

  it('a credit balance of the customer pays a renewal: granted once, and no payment intent is made up', async () => {
    const { account, subscription } = await subscribe(stack)
    const customer = await customerOf(subscription)
    await stack.stripe.customers.createBalanceTransaction(customer, { amount: -5000, currency: 'usd' })
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    const lots = await grants(account)
    assert.deepEqual(
      lots.map(({ amount, payment }) => [amount, payment.slice(0, 3)]),
      [
        ['20', 'pi_'],
        ['20', 'in_'],
      ],
    )
  })

  it('an invoice that was marked paid out of band is paid', async () => {
    const { account, subscription } = await subscribe(stack)
    const declined = await stack.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
      customer: await customerOf(subscription),
    })
    await stack.stripe.subscriptions.update(subscription, { default_payment_method: declined.id })
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    assert.equal((await grants(account)).length, 1)
    const [open] = (await stack.stripe.invoices.list({ subscription, status: 'open' })).data
    assert.ok(open)
    await stack.stripe.invoices.pay(open.id, { paid_out_of_band: true })
    await settled(stack)
    assert.deepEqual(
      (await grants(account)).map(({ payment }) => payment.slice(0, 3)),
      ['pi_', 'in_'],
    )
  })

  it('a pack that is sold in euros is granted as in dollars, within limits of its own', async () => {
    await stack.database.owner.query(
      `update catalog set limits = limits || '{"currencies": {"eur": {"purchaseMin": "1", "purchaseMax": "1000", "purchaseDayMax": "1500"}}}'`,
    )
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    assert.deepEqual(await buy(account, { currency: 'eur' }), {
      status: 404,
      code: 'pack_not_found',
      order: undefined,
      session: undefined,
    })
    const price = await stack.stripe.prices.create({
      currency: 'eur',
      unit_amount: 950,
      product: 'prod_perennial_pack_credits_10',
    })
    await stack.database.owner.query(
      `insert into catalog_price (price_id, lookup_key, kind, plan, version, terms, on_sale)
       select $1::text, 'pack.credits_10.eur.v1', kind, plan, version,
              terms || jsonb_build_object('priceId', $1::text, 'lookupKey', 'pack.credits_10.eur.v1', 'currency', 'eur', 'unitAmount', '950'), true
         from catalog_price where lookup_key = 'pack.credits_10.v1'`,
      [price.id],
    )
    const { session } = await buy(account, { currency: 'eur' })
    assert.equal((await pay(session ?? '')).currency, 'eur')
    assert.equal((await buy(account, { currency: 'eur' })).code, 'purchase_day_limit')
    assert.deepEqual(
      (await grants(account)).map(({ amount }) => amount),
      ['10'],
    )
  })
})
