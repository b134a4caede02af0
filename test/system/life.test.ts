import assert from 'node:assert/strict'
import { CHECKOUT_OPEN_MS } from '../../src/domain/checkout.ts'
import { assertBooks, commonYearAfter, DAY_MS } from '../support/ledger.ts'
import {
  balanceOf,
  describeBoth,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
} from '../support/stack.ts'

interface Entry {
  kind: string
  amount: string
  reason_code: string
  occurred_at: string
}

describeBoth('the life of a subscription, by the sandbox’s clock', function (apis) {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack({ apis })
  })
  after(() => stack?.stop())
  afterEach(async () => {
    await assertBooks(stack.database)
    // what lives on would be billed all through the next test, too
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    await settled(stack)
  })

  const ledger = async (account: string) =>
    (
      await stack.call<{ data: Entry[] }>('GET', `/v1/accounts/${account}/ledger?limit=100`)
    ).body.data.reverse()
  const grantDays = async (account: string) =>
    (await ledger(account))
      .filter(({ kind }) => kind === 'grant')
      .map(({ occurred_at }) => occurred_at.slice(0, 10))
  const to = (day: string) => stack.clock.advance(Date.parse(`${day}T12:00:00Z`))

  // the calendar is the same however many APIs there are: the longest runs once
  const once = apis === 1 ? it : () => {}
  once('a year of a monthly and of a yearly plan, both begun on 31 January', async () => {
    const year = commonYearAfter(stack.clock.now())
    await to(`${year}-01-31`)
    const monthly = await subscribe(stack, 'tier_2_20', 'month')
    const yearly = await subscribe(stack, 'tier_6_50', 'year')
    assert.equal(await balanceOf(stack, monthly.account), '20')
    assert.equal(await balanceOf(stack, yearly.account), '50')
    await stack.call('POST', `/v1/accounts/${yearly.account}/spend`, { amount: '49.5' })
    await to(`${year + 1}-02-01`)

    const months = [
      '02-28',
      '03-31',
      '04-30',
      '05-31',
      '06-30',
      '07-31',
      '08-31',
      '09-30',
      '10-31',
      '11-30',
      '12-31',
    ]
    const days = [`${year}-01-31`, ...months.map((day) => `${year}-${day}`), `${year + 1}-01-31`]
    assert.deepEqual(await grantDays(monthly.account), days)
    // the second year's first month is granted when its renewal is paid, the others when they are due
    assert.deepEqual(await grantDays(yearly.account), days)
    const grants = (await ledger(yearly.account)).filter(({ kind }) => kind === 'grant')
    assert.deepEqual(new Set(grants.map(({ amount }) => amount)), new Set(['50']))
    assert.equal(await balanceOf(stack, monthly.account), '20')
    assert.equal(await balanceOf(stack, yearly.account), '50')
    for (const { account } of [monthly, yearly]) {
      const lapses = (await ledger(account)).filter(({ kind }) => kind === 'lapse')
      assert.deepEqual(new Set(lapses.map(({ reason_code }) => reason_code)), new Set(['succeeded']))
    }
    // what Stripe was paid is what was granted: the oracle counts invoices, not our rows
    const { customer } = await stack.stripe.subscriptions.retrieve(monthly.subscription)
    const oracle = await stack.control<{ paid: unknown[] }>(`oracle/${customer as string}`)
    assert.equal(oracle.paid.length, days.length)
  })

  it('is cancelled at the period’s end by its owner: used until then and the grace, then gone', async () => {
    const { account, subscription } = await subscribe(stack)
    const answer = await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {}, 'cancel-1')
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    assert.equal(answer.body['cancel_at'], answer.body['current_period_end'])
    const again = await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {}, 'cancel-1')
    assert.equal(again.headers.get('idempotent-replayed'), 'true')
    const end = Date.parse(String(answer.body['current_period_end']))

    await stack.clock.advance(end + DAY_MS)
    const { body } = await stack.call('GET', `/v1/subscriptions/${subscription}`)
    assert.equal(body['status'], 'canceled')
    assert.equal(await balanceOf(stack, account), '20')
    await stack.clock.advance(end + 3 * DAY_MS + 60_000)
    assert.equal(await balanceOf(stack, account), '0')
    assert.equal((await grantDays(account)).length, 1)
    const refused = await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {})
    assert.equal(refused.status, 409)
    assert.equal(refused.body['code'], 'subscription_ended')
    await eventually('the workflow has ended', async () => {
      const { status } = await stack.temporal.workflow.getHandle(subscription).describe()
      return status.name === 'COMPLETED'
    })
  })

  it('is cancelled in Stripe by a date (cancel_at), as the portal does', async () => {
    const { account, subscription } = await subscribe(stack)
    const { items } = await stack.stripe.subscriptions.update(subscription, { cancel_at: 'max_period_end' })
    await settled(stack)
    const end = (items.data[0]?.current_period_end ?? 0) * 1000
    const { body } = await stack.call('GET', `/v1/subscriptions/${subscription}`)
    assert.equal(body['cancel_at'], new Date(end).toISOString())
    await stack.clock.advance(end + 4 * DAY_MS)
    assert.equal((await stack.call('GET', `/v1/subscriptions/${subscription}`)).body['status'], 'canceled')
    assert.equal((await grantDays(account)).length, 1)
    assert.equal(await balanceOf(stack, account), '0')
  })

  it('keeps the months of a paid year coming after it has ended, until the twelfth', async () => {
    const { account, subscription } = await subscribe(stack, 'tier_2_20', 'year')
    await stack.stripe.subscriptions.cancel(subscription)
    await settled(stack)
    assert.equal((await stack.call('GET', `/v1/subscriptions/${subscription}`)).body['status'], 'canceled')
    await stack.clock.advance(stack.clock.now() + 400 * DAY_MS)
    assert.equal((await grantDays(account)).length, 12)
    assert.equal(await balanceOf(stack, account), '0')
  })

  it('grants nothing for a renewal that fails, and grants it when it is paid late', async () => {
    const { account, subscription } = await subscribe(stack)
    const { customer } = await stack.stripe.subscriptions.retrieve(subscription)
    const bad = await stack.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
      customer: customer as string,
    })
    await stack.stripe.subscriptions.update(subscription, { default_payment_method: bad.id })
    await stack.stripe.customers.update(customer as string, {
      invoice_settings: { default_payment_method: bad.id },
    })
    await settled(stack)
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    assert.equal((await stack.call('GET', `/v1/subscriptions/${subscription}`)).body['status'], 'past_due')
    assert.equal((await grantDays(account)).length, 1)
    const open = (await stack.stripe.invoices.list({ subscription, status: 'open' })).data[0]
    assert.ok(open)
    const good = await stack.stripe.paymentMethods.attach('pm_card_visa', { customer: customer as string })
    await stack.stripe.invoices.pay(open.id, { payment_method: good.id })
    await settled(stack)
    assert.equal((await grantDays(account)).length, 2)
    assert.equal(await balanceOf(stack, account), '20')
  })

  it('stores a second live subscription as a duplicate, grants it, and asks for a person', async () => {
    const { account, subscription } = await subscribe(stack)
    const first = await stack.stripe.subscriptions.retrieve(subscription)
    const item = first.items.data[0]
    assert.ok(item)
    const second = await stack.stripe.subscriptions.create({
      customer: first.customer as string,
      items: [{ price: item.price.id }],
      default_payment_method: first.default_payment_method as string,
    })
    await settled(stack)
    assert.equal(await balanceOf(stack, account), '40')
    const { rows } = await stack.database.pool.query(
      'select role, attention from subscription where id = $1',
      [second.id],
    )
    assert.deepEqual(rows, [{ role: 'duplicate', attention: 'duplicate_subscription' }])
  })

  // the workflow is the same however many APIs there are
  for (const left of ['by the customer', 'until Stripe closes it, and nobody tells']) {
    once(`a checkout that is left ${left} is over, and its group is free for another`, async () => {
      const { account, order, session } = await openCheckout(stack)
      const another = () =>
        stack.ask('POST', '/v1/subscriptions', {
          account,
          plan: 'tier_6_50',
          success_url: 'https://example.com/ok',
          cancel_url: 'https://example.com/no',
        })
      assert.equal((await another()).body['code'], 'checkout_open')
      if (left === 'by the customer') await stack.control(`checkout/${session}/abandon`, {})
      else {
        await stack.control('webhooks', { drop: true })
        await stack.clock.advance(stack.clock.now() + CHECKOUT_OPEN_MS + 120_000)
        await stack.control('webhooks', { drop: false })
      }
      await settled(stack)
      assert.equal((await stack.call('GET', `/v1/subscriptions/${order}`)).body['status'], 'abandoned')
      await eventually('its workflow is over', async () => {
        const { status } = await stack.temporal.workflow.getHandle(`checkout/${order}`).describe()
        return status.name === 'COMPLETED'
      })
      const { rows } = await stack.database.pool.query('select deadline_at from checkout where id = $1', [
        order,
      ])
      assert.deepEqual(rows, [{ deadline_at: null }])
      assert.equal((await another()).status, 201)
    })
  }

  it('leaves alone what is in Stripe and none of ours', async () => {
    const customer = await stack.stripe.customers.create({ metadata: { theirs: 'yes' } })
    await stack.stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })
    const price = (await stack.stripe.prices.list({ type: 'recurring', limit: 1 })).data[0]
    assert.ok(price)
    const method = (await stack.stripe.customers.listPaymentMethods(customer.id)).data[0]
    assert.ok(method)
    const { id } = await stack.stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      default_payment_method: method.id,
    })
    await settled(stack)
    const { rowCount } = await stack.database.pool.query('select 1 from subscription where id = $1', [id])
    assert.equal(rowCount, 0)
  })
})
