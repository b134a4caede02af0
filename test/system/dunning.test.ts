import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, settled, type Stack, startStack, subscribe } from '../support/stack.ts'

const HOUR_MS = 3_600_000

describe('failed payments and pauses', function () {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(async () => {
    await assertBooks(stack.database)
    // what lives on, or waits to be paid, would be looked at all through the next test, too
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    for await (const { id } of stack.stripe.invoices.list({ status: 'open' }))
      await stack.stripe.invoices.voidInvoice(id)
    await settled(stack)
  })

  const read = async (id: string) => (await stack.call('GET', `/v1/subscriptions/${id}`)).body
  const grantDays = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ day: string; expires: Date }>(
      `select to_char(occurred_at, 'MM-DD') as day from posting where account_id = $1 and kind = 'grant' order by seq`,
      [account],
    )
    return rows.map(({ day }) => day)
  }
  const told = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ kind: string; data: Record<string, string> }>(
      `select kind, data from notice where account_id = $1 and kind like 'payment%' order by recorded_at, id`,
      [account],
    )
    return rows
  }
  async function withCard(card: string) {
    const subscriber = await subscribe(stack)
    const { customer } = await stack.stripe.subscriptions.retrieve(subscriber.subscription)
    const method = await stack.stripe.paymentMethods.attach(card, { customer: customer as string })
    await stack.stripe.subscriptions.update(subscriber.subscription, { default_payment_method: method.id })
    await settled(stack)
    const { items } = await stack.stripe.subscriptions.retrieve(subscriber.subscription)
    return { ...subscriber, end: (items.data[0]?.current_period_end ?? 0) * 1000 }
  }

  it('a renewal that fails grants nothing, is told and reminded of, and is granted for its own period when paid', async () => {
    const { account, subscription, end } = await withCard('pm_card_chargeCustomerFail')
    await stack.clock.advance(end + 2 * HOUR_MS)
    const failed = await read(subscription)
    const payment = failed['payment'] as Record<string, unknown>
    assert.deepEqual([failed['status'], payment['status'], payment['attempts']], ['past_due', 'failed', 1])
    assert.match(String(payment['url']), /\/i\/in_/)
    // the catalogue's grace: three days after the period
    const lasts = new Date(end + 3 * DAY_MS).toISOString()
    assert.equal((await told(account))[0]?.data['graceEndsAt'], lasts)
    assert.ok(Date.parse(String(payment['next_attempt_at'])) > end + 2 * DAY_MS)
    await stack.clock.advance(end + 5 * DAY_MS)
    assert.equal((await grantDays(account)).length, 1)
    assert.equal(await balanceOf(stack, account), '0', 'the grace is over')
    const kinds = (await told(account)).map(({ kind }) => kind)
    assert.deepEqual(kinds, ['payment_failed', 'payment_reminder', 'payment_failed', 'payment_reminder'])
    const refused = await stack.ask('POST', `/v1/subscriptions/${subscription}/change`, {
      plan: 'tier_6_50',
    })
    assert.deepEqual([refused.status, refused.body['code']], [409, 'payment_overdue'])

    const open = (await stack.stripe.invoices.list({ subscription, status: 'open' })).data[0]
    await stack.control(`invoices/${open?.id}/pay`, { payment_method: 'pm_card_visa' })
    await settled(stack)
    const { status, payment: owed } = await read(subscription)
    assert.deepEqual([status, owed], ['active', null])
    assert.equal(await balanceOf(stack, account), '20')
    assert.equal((await told(account)).at(-1)?.kind, 'payment_recovered')
    const { lots } = (
      await stack.call<{ lots: { expires_at: string }[] }>('GET', `/v1/accounts/${account}/balance`)
    ).body
    assert.equal(lots.length, 1)
    assert.ok(
      Date.parse(lots[0]?.expires_at ?? '') < end + 36 * DAY_MS,
      'until its own period’s end and the grace',
    )
  })

  it('never paid, it ends as Stripe is set to end it, and is told; nobody waits for ever, and a late payment counts', async () => {
    await stack.control('dunning', { retries: [1, 1], after: 'cancel' })
    const { account, subscription, end } = await withCard('pm_card_chargeCustomerFail')
    await stack.clock.advance(end + 3 * DAY_MS)
    assert.equal((await read(subscription))['status'], 'canceled')
    assert.equal((await grantDays(account)).length, 1)
    const { rowCount } = await stack.database.pool.query(
      `select 1 from notice where account_id = $1 and kind = 'subscription_ended'`,
      [account],
    )
    assert.equal(rowCount, 1)
    const failures = (await told(account)).filter(({ kind }) => kind === 'payment_failed')
    assert.deepEqual(
      failures.map(({ data }) => data['attempt']),
      ['1', '2', '3'],
    )
    const workflow = stack.temporal.workflow.getHandle(subscription)
    const isOver = () =>
      eventually('its workflow is over', async () => (await workflow.describe()).status.name === 'COMPLETED')
    const before = (await told(account)).length
    assert.equal((await workflow.describe()).status.name, 'RUNNING')
    await stack.clock.advance(end + 40 * DAY_MS)
    await isOver()
    assert.equal((await told(account)).length, before, 'who was told that it has ended is not reminded')
    const { rows } = await stack.database.pool.query(
      'select deadline_at, payment from subscription where id = $1',
      [subscription],
    )
    const [open] = (await stack.stripe.invoices.list({ subscription, status: 'open' })).data
    assert.deepEqual([rows[0].deadline_at, rows[0].payment.invoice], [null, open?.id])

    await stack.control(`invoices/${open?.id}/pay`, { payment_method: 'pm_card_visa' })
    await settled(stack)
    const { payment, status } = await read(subscription)
    assert.deepEqual([payment, status], [null, 'canceled'])
    assert.equal((await grantDays(account)).length, 2)
    assert.equal((await told(account)).at(-1)?.kind, 'payment_recovered')
    await isOver()
  })

  it('a payment that its customer has to confirm says so, and grants nothing until he has', async () => {
    const { account, subscription, end } = await withCard('pm_card_authenticationRequired')
    await stack.clock.advance(end + 2 * HOUR_MS)
    const payment = (await read(subscription))['payment'] as Record<string, unknown>
    assert.equal((await grantDays(account)).length, 1)
    assert.equal(payment['status'], 'action_required')
    const [asked, ...others] = await told(account)
    assert.deepEqual(
      [asked?.kind, asked?.data['payUrl'], others],
      ['payment_action_required', payment['url'], []],
    )
    assert.match(String(payment['url']), /\/i\/in_/)
    const open = (await stack.stripe.invoices.list({ subscription, status: 'open' })).data[0]
    await stack.control(`invoices/${open?.id}/pay`, { payment_method: 'pm_card_authenticationRequired' })
    await stack.control(`invoices/${open?.id}/authenticate`, {})
    await settled(stack)
    assert.equal((await grantDays(account)).length, 2)
    assert.equal((await read(subscription))['payment'], null)
    // paid on its page after one failure, it was tried once as Stripe counts; its arrival is told all the same
    assert.equal((await stack.stripe.invoices.retrieve(open?.id ?? '')).attempt_count, 1)
    assert.equal((await told(account)).at(-1)?.kind, 'payment_recovered')
  })

  it('paused in Stripe, whole, it costs and brings nothing; resumed by a command it begins a period that is paid and granted', async () => {
    const { account, subscription, end } = await withCard('pm_card_visa')
    await stack.clock.advance(end - 10 * DAY_MS)
    await stack.stripe.subscriptions.pause(subscription, {
      bill_for: { unused_time_from: { type: 'none' } },
    })
    await settled(stack)
    const paused = await read(subscription)
    assert.deepEqual([paused['status'], paused['paused']], ['paused', true])
    await stack.clock.advance(end + 20 * DAY_MS)
    assert.deepEqual([(await grantDays(account)).length, await balanceOf(stack, account)], [1, '0'])
    const resumed = await stack.ask('POST', `/v1/subscriptions/${subscription}/resume`, {})
    assert.equal(resumed.status, 200, JSON.stringify(resumed.body))
    assert.deepEqual([resumed.body['status'], resumed.body['paused']], ['active', false])
    await settled(stack)
    assert.deepEqual([(await grantDays(account)).length, await balanceOf(stack, account)], [2, '20'])
    const next = Date.parse(String((await read(subscription))['current_period_end']))
    assert.ok(next > stack.clock.now() + 27 * DAY_MS)
    await stack.clock.advance(next + 2 * HOUR_MS)
    assert.equal((await grantDays(account)).length, 3)
    const { rows } = await stack.database.pool.query<{ kind: string }>(
      `select kind from notice where account_id = $1 and kind like 'subscription%' order by recorded_at`,
      [account],
    )
    assert.deepEqual(
      rows.map(({ kind }) => kind),
      ['subscription_paused', 'subscription_unpaused'],
    )
  })
})
