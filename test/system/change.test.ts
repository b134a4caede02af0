import assert from 'node:assert/strict'
import { createCalls } from '../../src/activities/calls.ts'
import { createChangeActivities } from '../../src/activities/change.ts'
import { insertCommand } from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createGateway, stripeClient } from '../../src/stripe/gateway.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { type Answer, balanceOf, settled, type Stack, startStack, subscribe } from '../support/stack.ts'
import { startStripeProxy } from '../support/stripe-proxy.ts'

const HOUR_MS = 3_600_000

describe('changes of plan', function () {
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

  const change = (id: string, body: object, key?: string) =>
    stack.ask('POST', `/v1/subscriptions/${id}/change`, body, key)
  const read = async (id: string) => (await stack.call('GET', `/v1/subscriptions/${id}`)).body
  const later = async (ms: number) => {
    await stack.clock.advance(stack.clock.now() + ms)
  }
  const grants = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ amount: string; reason_code: string }>(
      `select trim_scale(amount)::text as amount, reason_code from posting
        where account_id = $1 and kind = 'grant' order by seq`,
      [account],
    )
    return rows.map(({ amount, reason_code }) => `${amount} ${reason_code}`)
  }
  const notices = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ kind: string }>(
      `select kind from notice where account_id = $1 and kind not in ('credits_granted') order by recorded_at, id`,
      [account],
    )
    return rows.map(({ kind }) => kind)
  }
  const ok = ({ status, body }: Answer) => {
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }

  it('an upgrade is paid first and grants its net at once; the preview said so; the renewal is of the new plan', async () => {
    const { account, subscription } = await subscribe(stack)
    await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '15' })
    const preview = await stack.call<{
      outcome: string
      effects: { postings: { amount: string; reason_code: string }[]; stripe: object[] }
      balance: { balance: string }
    }>('POST', `/v1/subscriptions/${subscription}/change?dry_run=true`, { plan: 'tier_6_50' })
    assert.equal(preview.status, 200, JSON.stringify(preview.body))
    const body = ok(await change(subscription, { plan: 'tier_6_50' }, 'up-1'))
    assert.deepEqual([body['plan'], body['pending_change']], ['tier_6_50', null])
    await settled(stack)
    const [, second] = await grants(account)
    assert.equal(second, `${preview.body.effects.postings[0]?.amount} plan_change`)
    assert.match(second ?? '', /^(30|29\.9)/)
    assert.equal(await balanceOf(stack, account), preview.body.balance.balance)
    assert.deepEqual(await notices(account), ['plan_changed'])
    // told again, nothing is done again
    const again = await change(subscription, { plan: 'tier_6_50' }, 'up-1')
    assert.equal(again.headers.get('idempotent-replayed'), 'true')
    assert.equal((await change(subscription, { plan: 'tier_6_50' })).status, 200)
    assert.equal((await stack.stripe.invoices.list({ subscription })).data.length, 2)
    await later(32 * DAY_MS)
    assert.deepEqual((await grants(account)).at(-1), '50 renewal')
    assert.equal(await balanceOf(stack, account), '50')
  })

  it('from a month to a year and on to a higher plan: each month brings what was paid for it', async () => {
    const { account, subscription } = await subscribe(stack)
    await later(15 * DAY_MS)
    const yearly = ok(await change(subscription, { plan: 'tier_2_20', interval: 'year' }))
    assert.equal(yearly['interval'], 'year')
    await settled(stack)
    const [, first = ''] = await grants(account)
    assert.match(first, /^(9|10)(\.\d+)? entitlement_due$/)
    await later(40 * DAY_MS)
    ok(await change(subscription, { plan: 'tier_6_50' }))
    await settled(stack)
    await later(62 * DAY_MS)
    const all = (await grants(account)).slice(2)
    // the month of the upgrade is a part of one; after it, two grants make a month of the higher plan
    assert.equal(all[0], '20 entitlement_due')
    const monthly = all.slice(2).map((each) => Number(each.split(' ')[0]))
    assert.equal(monthly.length, 4)
    for (const pair of [monthly.slice(0, 2), monthly.slice(2)]) {
      assert.ok(Math.abs((pair[0] ?? 0) + (pair[1] ?? 0) - 50) < 0.1, JSON.stringify(all))
    }
  })

  it('an upgrade that cannot be paid waits and shows where to pay: withdrawn, dropped, or made when it is paid', async () => {
    const { account, subscription } = await subscribe(stack)
    const { customer } = await stack.stripe.subscriptions.retrieve(subscription)
    const card = (name: string) => stack.stripe.paymentMethods.attach(name, { customer: customer as string })
    const { id: bad } = await card('pm_card_chargeCustomerFail')
    await stack.stripe.subscriptions.update(subscription, { default_payment_method: bad })
    const path = `/v1/subscriptions/${subscription}/pending_change`
    const body = ok(await change(subscription, { plan: 'tier_6_50' }))
    const pending = body['pending_change'] as Record<string, unknown>
    assert.deepEqual(
      [body['plan'], pending['state'], pending['plan']],
      ['tier_2_20', 'awaiting_payment', 'tier_6_50'],
    )
    assert.match(String(pending['payment_url']), /^http:\/\/127\.0\.0\.1:\d+\/i\/in_/)
    // the same again changes nothing
    ok(await change(subscription, { plan: 'tier_6_50' }))
    assert.equal((await stack.stripe.invoices.list({ subscription })).data.length, 2)
    assert.equal((await stack.call('GET', path)).status, 200)
    assert.equal(ok(await stack.ask('DELETE', path))['pending_change'], null)
    for (const method of ['GET', 'DELETE']) assert.equal((await stack.call(method, path)).status, 404)

    ok(await change(subscription, { plan: 'tier_6_50' }))
    await later(24 * HOUR_MS)
    const dropped = await read(subscription)
    assert.deepEqual([dropped['plan'], dropped['pending_change']], ['tier_2_20', null])
    const withdrawn = (await notices(account)).filter((kind) => kind === 'plan_change_withdrawn')
    assert.equal(withdrawn.length, 2)

    ok(await change(subscription, { plan: 'tier_6_50' }))
    assert.deepEqual(await grants(account), ['20 first_payment'])
    const { latest_invoice } = await stack.stripe.subscriptions.retrieve(subscription)
    const good = await card('pm_card_visa')
    await stack.stripe.invoices.pay(latest_invoice as string, { payment_method: good.id })
    await settled(stack)
    const made = await read(subscription)
    assert.deepEqual([made['plan'], made['pending_change']], ['tier_6_50', null])
    assert.equal((await grants(account)).length, 2)
  })

  it('while the renewal is in draft: both invoices bring what was paid, once', async () => {
    const { account, subscription } = await subscribe(stack)
    const { items } = await stack.stripe.subscriptions.retrieve(subscription)
    const end = (items.data[0]?.current_period_end ?? 0) * 1000
    await stack.clock.advance(end + 60_000)
    assert.equal((await stack.stripe.invoices.list({ subscription, status: 'draft' })).data.length, 1)
    ok(await change(subscription, { plan: 'tier_6_50' }))
    await settled(stack)
    await later(3 * HOUR_MS)
    const [, upgrade = '', renewal] = await grants(account)
    assert.match(upgrade, /^29\.9\d* plan_change$|^30 plan_change$/)
    assert.equal(renewal, '20 renewal')
    const { balance, lots } = (
      await stack.call<{ balance: string; lots: object[] }>('GET', `/v1/accounts/${account}/balance`)
    ).body
    assert.match(balance, /^(49\.9|50)/)
    assert.equal(lots.length, 2)
  })

  it('changed in Stripe by hand: up and down and up again at once mints nothing', async () => {
    const { account, subscription } = await subscribe(stack)
    const { items } = await stack.stripe.subscriptions.retrieve(subscription)
    const [item] = items.data
    assert.ok(item)
    const priceOf = async (key: string) =>
      (await stack.stripe.prices.list({ lookup_keys: [key] })).data[0]?.id ?? ''
    const [small, big] = [await priceOf('tier_2_20.month.v1'), await priceOf('tier_6_50.month.v1')]
    for (const price of [big, small, big]) {
      await stack.stripe.subscriptions.update(subscription, {
        items: [{ id: item.id, price }],
        proration_behavior: 'always_invoice',
      })
      await settled(stack)
    }
    assert.equal((await read(subscription))['plan'], 'tier_6_50')
    const total = (await grants(account)).reduce((sum, each) => sum + Number(each.split(' ')[0]), 0)
    assert.ok(total > 49.9 && total <= 50, String(total))
  })

  it('a downgrade comes at the end of the period, and nothing is given back; another one takes its place', async () => {
    const { account, subscription } = await subscribe(stack, 'tier_6_50')
    const path = `/v1/subscriptions/${subscription}/pending_change`
    const first = ok(await change(subscription, { plan: 'tier_2_20' }))
    const { current_period_end: end } = first
    assert.deepEqual(first['pending_change'], {
      object: 'pending_change',
      state: 'scheduled',
      plan: 'tier_2_20',
      interval: 'month',
      quantity: 1,
      effective_at: end,
      expires_at: null,
      payment_url: null,
    })
    assert.equal(first['plan'], 'tier_6_50')
    // to stay withdraws it; and then it is another one
    assert.equal(ok(await change(subscription, { plan: 'tier_6_50' }))['pending_change'], null)
    ok(await change(subscription, { plan: 'tier_2_20', quantity: 2 }))
    const second = ok(await change(subscription, { plan: 'tier_2_20' }))
    assert.equal((second['pending_change'] as { quantity: number }).quantity, 1)
    assert.equal((await stack.call('GET', path)).body['plan'], 'tier_2_20')
    await later(32 * DAY_MS)
    const { plan, pending_change } = await read(subscription)
    assert.deepEqual([plan, pending_change], ['tier_2_20', null])
    assert.deepEqual(await grants(account), ['50 first_payment', '20 renewal'])
    assert.deepEqual(await notices(account), [
      'plan_change_scheduled',
      'plan_change_withdrawn',
      'plan_change_scheduled',
      'plan_change_scheduled',
      'plan_changed',
    ])
    // what it was is in nobody's way
    ok(await change(subscription, { plan: 'tier_6_50' }))
    ok(await change(subscription, { plan: 'tier_2_20' }))
    ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {}))
    const { pending_change: left, cancel_at: ends } = await read(subscription)
    assert.deepEqual([left, ends !== null], [null, true])
  })

  it('from a year to a month at the year’s end; withdrawn in Stripe by hand, it is seen', async () => {
    const { account, subscription } = await subscribe(stack, 'tier_2_20', 'year')
    ok(await change(subscription, { plan: 'tier_2_20', interval: 'month' }))
    const { schedule } = await stack.stripe.subscriptions.retrieve(subscription)
    await stack.stripe.subscriptionSchedules.release(schedule as string)
    await settled(stack)
    assert.equal((await read(subscription))['pending_change'], null)
    ok(await change(subscription, { plan: 'tier_2_20', interval: 'month' }))
    await later(368 * DAY_MS)
    assert.equal((await read(subscription))['interval'], 'month')
    const all = await grants(account)
    assert.deepEqual([all.length, all.at(-1)], [13, '20 renewal'])
    assert.equal(await balanceOf(stack, account), '20')
  })

  it('is refused while it is to end, and resumed it goes on', async () => {
    const { subscription } = await subscribe(stack)
    ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {}))
    const refused = await change(subscription, { plan: 'tier_6_50' })
    assert.deepEqual([refused.status, refused.body['code']], [409, 'subscription_cancelling'])
    const body = ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/resume`, {}))
    assert.equal(body['cancel_at'], null)
    assert.equal((await stack.stripe.subscriptions.retrieve(subscription)).cancel_at_period_end, false)
    ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/resume`, {}))
    for (const [plan, code] of [
      ['free', 'plan_is_free'],
      ['nothing', 'plan_not_found'],
    ]) {
      assert.equal((await change(subscription, { plan })).body['code'], code)
    }
  })

  it('paused in Stripe, nothing is collected and nothing granted: what it had lapses; resumed, it goes on', async () => {
    const { account, subscription } = await subscribe(stack)
    await stack.stripe.subscriptions.update(subscription, { pause_collection: { behavior: 'void' } })
    await settled(stack)
    assert.equal((await read(subscription))['paused'], true)
    const refused = await change(subscription, { plan: 'tier_6_50' })
    assert.equal(refused.body['code'], 'subscription_paused')
    await later(35 * DAY_MS)
    assert.deepEqual(await grants(account), ['20 first_payment'])
    assert.equal(await balanceOf(stack, account), '0')
    const body = ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/resume`, {}))
    assert.equal(body['paused'], false)
    assert.deepEqual(await notices(account), ['subscription_paused', 'subscription_unpaused'])
    await later(31 * DAY_MS)
    assert.deepEqual(await grants(account), ['20 first_payment', '20 renewal'])
    assert.equal(await balanceOf(stack, account), '20')
  })

  it('in Stripe’s own page, opened by a command: what is done there is seen, and what is given up there', async () => {
    const { account, subscription } = await subscribe(stack)
    const body = { account, return_url: 'https://example.com/billing' }
    const opened = await stack.ask('POST', '/v1/portal_sessions', body, 'portal-1')
    assert.equal(opened.status, 201, JSON.stringify(opened.body))
    const session = /bps_[A-Za-z0-9]+/.exec(String(opened.body['url']))?.[0]
    assert.ok(session, String(opened.body['url']))
    await stack.control(`portal/${session}/cancel`, { subscription })
    await settled(stack)
    const leaving = await read(subscription)
    assert.equal(leaving['cancel_at'], leaving['current_period_end'])
    // the portal sets a date, and it is that which is taken back
    assert.equal(
      ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/resume`, {}))['cancel_at'],
      null,
    )
    ok(await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {}))
    assert.deepEqual(await notices(account), [
      'subscription_cancelling',
      'subscription_resumed',
      'subscription_cancelling',
    ])
    const nobody = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    const refused = await stack.ask('POST', '/v1/portal_sessions', { ...body, account: nobody })
    assert.equal(refused.body['code'], 'customer_not_found')
  })

  it('whoever carries a change out may die at any call to Stripe: the next one ends it, and it is done once', async () => {
    const proxy = await startStripeProxy(stack.sandbox.url)
    try {
      const stripe = stripeClient('sk_test_perennial', proxy.url)
      const { pool } = stack.database
      const calls = createCalls(pool)
      const activities = createChangeActivities({
        pool,
        gateway: createGateway(stripe, calls),
        changes: createChangeGateway(stripe, calls),
      })
      const scenarios = [
        { before: [], plan: 'tier_6_50', became: 'changed' },
        { before: [], plan: 'tier_2_20', quantity: '1', became: 'scheduled', seats: 2 },
        { before: [{ plan: 'tier_2_20', quantity: 1 }], plan: 'tier_6_50', became: 'changed', seats: 2 },
      ]
      for (const [index, { before, plan, quantity, became, seats = 1 }] of scenarios.entries()) {
        const { account, subscription } = await subscribe(stack)
        if (seats > 1) ok(await change(subscription, { plan: 'tier_2_20', quantity: seats }))
        for (const body of before) ok(await change(subscription, body))
        const invoices = (await stack.stripe.invoices.list({ subscription })).data.length
        const command = `cmd_cut${index}`
        const input = { subscription, plan, ...(quantity === undefined ? {} : { quantity }) }
        await transaction(pool, (client) =>
          insertCommand(client, {
            id: command,
            scope: account,
            operation: 'change',
            key: command,
            content: input,
            owner: subscription,
            input,
          }),
        )
        // each call to Stripe that changes something is once lost on its way there, and once on its way back
        let answer: unknown
        const lost = new Set<string>()
        proxy.decide = ({ method, path }) => {
          for (const fate of method === 'GET' ? [] : (['cut', 'cut answer'] as const)) {
            if (lost.has(`${path} ${fate}`)) continue
            lost.add(`${path} ${fate}`)
            return fate
          }
          return 'pass'
        }
        for (let tries = 0; answer === undefined && tries < 12; tries += 1) {
          answer = await activities.changeSubscription({ subscription, command }).catch(() => undefined)
        }
        proxy.decide = () => 'pass'
        assert.deepEqual(answer, {
          state: 'done',
          statusCode: 200,
          // whoever finds it done by an earlier try counts its invoice, too
          result: { became, invoiced: became === 'changed' },
        })
        assert.ok(lost.size >= 2)
        await settled(stack)
        const more = (await stack.stripe.invoices.list({ subscription })).data.length - invoices
        assert.equal(more, became === 'changed' ? 1 : 0)
        assert.equal((await read(subscription))['plan'], became === 'changed' ? plan : 'tier_2_20')
        assert.equal((await read(subscription))['pending_change'] !== null, became === 'scheduled')
      }
    } finally {
      await proxy.close()
    }
  })

  it('more often than Stripe makes invoices it is refused before Stripe says so', async () => {
    const { subscription } = await subscribe(stack)
    ok(await change(subscription, { plan: 'tier_2_20', quantity: 2 }))
    // what was invoiced counts: nine more of it
    await stack.database.pool.query(
      `insert into command (id, scope, operation, key, request_hash, owner, input, state, status_code, result, finished_at)
       select id || 'x' || n, scope, operation, key || n, request_hash, owner, input, state, status_code, result, finished_at
         from command, generate_series(1, 9) n where owner = $1 and operation = 'change'`,
      [subscription],
    )
    const refused = await change(subscription, { plan: 'tier_2_20', quantity: 3 })
    assert.deepEqual([refused.status, refused.body['code']], [429, 'change_rate'])
    assert.equal(refused.headers.get('retry-after'), '60')
    assert.equal((await read(subscription))['quantity'], 2)
  })
})
