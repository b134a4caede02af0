import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { finishCommand } from '../../src/store/command.ts'
import type { CommandAnswer } from '../../src/workflows/message.ts'
import { type ApiUnderTest, mirror, sell, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

describe('subscriptions', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  before(async () => {
    api = await startApi({ reach: workflows.reach })
    await sell(api.database, 'pro')
    await sell(api.database, 'team')
    await sell(api.database, 'extra', 'addons')
  })
  after(() => api.close())
  beforeEach(() => {
    workflows.sent = []
    workflows.answer = opens
  })

  /** What a checkout's workflow does: opens the page and writes the answer into the row. */
  async function opens(command: string, owner: string): Promise<CommandAnswer> {
    const order = owner.slice('checkout/'.length)
    const checkout = {
      id: `cs_test_${order}`,
      url: 'https://pay.example/1',
      expires_at: '2027-01-01T00:00:00.000Z',
    }
    await api.database.pool.query(
      `update checkout set state = 'open', session_id = $2, url = $3, expires_at = $4 where id = $1`,
      [order, checkout.id, checkout.url, checkout.expires_at],
    )
    return finishCommand(api.database.pool, command, { state: 'done', statusCode: 201, result: { checkout } })
  }

  const newAccount = async (): Promise<string> => (await api.post('/v1/accounts', {})).body.id
  const order = (account: string, more: Record<string, unknown> = {}) => ({
    account,
    plan: 'pro',
    success_url: 'https://product.example/thanks?session={CHECKOUT_SESSION_ID}',
    cancel_url: 'http://localhost:3000/plans',
    ...more,
  })
  const count = async (table: string) =>
    Number((await api.database.owner.query(`select count(*) from ${table}`)).rows[0].count)

  it('begin with a hosted checkout', async () => {
    const account = await newAccount()
    const { status, body } = await api.post('/v1/subscriptions', order(account, { metadata: { seat: '7' } }))
    assert.equal(status, 201)
    assert.match(body.id, /^ord_/)
    assert.deepEqual(
      [body.object, body.status, body.account, body.plan, body.interval, body.metadata, body.stripe_id],
      ['subscription', 'opening', account, 'pro', 'month', { seat: '7' }, null],
    )
    assert.deepEqual(body.checkout, {
      id: `cs_test_${body.id}`,
      url: 'https://pay.example/1',
      expires_at: '2027-01-01T00:00:00.000Z',
    })
    const [sent] = workflows.sent
    assert.equal(sent?.owner, `checkout/${body.id}`)
    assert.equal(sent?.operation, 'open')
    assert.deepEqual((await api.get(`/v1/subscriptions/${body.id}`)).body, body)
  })

  it('answer a repeated request as first given, also when the order has gone on', async () => {
    const account = await newAccount()
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post('/v1/subscriptions', order(account), headers)
    await api.database.owner.query(
      `update checkout set state = 'paid', subscription_id = 'sub_gone_on' where id = $1`,
      [first.body.id],
    )
    await mirror(api.database, { id: 'sub_gone_on', account, order: first.body.id })
    const second = await api.post('/v1/subscriptions', order(account, { interval: 'month' }), headers)
    assert.equal(second.text, first.text)
    assert.equal(second.headers['idempotent-replayed'], 'true')
    assert.equal(workflows.sent.length, 1)
    const other = await api.post('/v1/subscriptions', order(account, { plan: 'team' }), headers)
    assert.equal(other.body.code, 'idempotency_key_reused')
  })

  it('refuse a second checkout of the same group and name the first', async () => {
    const account = await newAccount()
    const { body: first } = await api.post('/v1/subscriptions', order(account))
    const commands = await count('command')
    const { status, body } = await api.post('/v1/subscriptions', order(account, { plan: 'team' }))
    assert.equal(status, 409)
    assert.equal(body.code, 'checkout_open')
    assert.equal(body.subscription, first.id)
    assert.equal(await count('command'), commands)
    assert.equal((await api.post('/v1/subscriptions', order(account, { plan: 'extra' }))).status, 201)
  })

  it('open one checkout of twenty requests with different keys at once', async () => {
    const account = await newAccount()
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => api.post('/v1/subscriptions', order(account))),
    )
    assert.equal(answers.filter((answer) => answer.status === 201).length, 1)
    assert.deepEqual(
      [...new Set(answers.filter((answer) => answer.status !== 201).map((answer) => answer.body.code))],
      ['checkout_open'],
    )
  })

  it('open one checkout of twenty requests with one key at once', async () => {
    const account = await newAccount()
    const headers = { 'idempotency-key': randomUUID() }
    const before = await count('checkout')
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => api.post('/v1/subscriptions', order(account), headers)),
    )
    assert.equal(await count('checkout'), before + 1)
    assert.equal(
      new Set(answers.filter((answer) => answer.status === 201).map((answer) => answer.body.id)).size,
      1,
    )
    for (const { status, body } of answers)
      assert.ok(status === 201 || body.code === 'idempotency_in_progress')
  })

  it('refuse what an account has already, until it has ended', async () => {
    const account = await newAccount()
    await mirror(api.database, { id: 'sub_live1', account })
    const { status, body } = await api.post('/v1/subscriptions', order(account))
    assert.equal(status, 409)
    assert.equal(body.code, 'subscription_exists')
    assert.equal(body.subscription, 'sub_live1')
    await api.database.owner.query(`update subscription set status = 'canceled' where id = 'sub_live1'`)
    assert.equal((await api.post('/v1/subscriptions', order(account))).status, 201)
  })

  it('answer 202 while Temporal is down; the command then has the answer, and the same key joins it', async () => {
    const account = await newAccount()
    const headers = { 'idempotency-key': randomUUID() }
    workflows.answer = undefined
    const taken = await api.post('/v1/subscriptions', order(account), headers)
    assert.equal(taken.status, 202)
    assert.match(taken.body.id, /^cmd_/)
    assert.equal(taken.body.state, 'pending')
    assert.equal(taken.headers['location'], `/v1/commands/${taken.body.id}`)
    assert.match(taken.body.subject, /^ord_/)
    assert.equal((await api.get(`/v1/commands/${taken.body.id}`)).body.state, 'pending')
    assert.equal((await api.get(`/v1/subscriptions/${taken.body.subject}`)).body.status, 'opening')

    workflows.answer = opens
    const joined = await api.post('/v1/subscriptions', order(account), headers)
    assert.equal(joined.status, 201)
    assert.equal(joined.body.id, taken.body.subject)
    const { body } = await api.get(`/v1/commands/${taken.body.id}`)
    assert.deepEqual(
      [body.state, body.status_code, body.result.checkout.id],
      ['done', 201, joined.body.checkout.id],
    )
  })

  it('answer what their workflow refused as a problem', async () => {
    const account = await newAccount()
    workflows.answer = (command) =>
      finishCommand(api.database.pool, command, {
        state: 'refused',
        statusCode: 404,
        result: { code: 'plan_not_found', detail: 'the plan is not on sale', price: 'price_1' },
      })
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post('/v1/subscriptions', order(account), headers)
    const second = await api.post('/v1/subscriptions', order(account), headers)
    assert.deepEqual([first.status, first.body.code, first.body.price], [404, 'plan_not_found', 'price_1'])
    assert.match(String(second.headers['content-type']), /^application\/problem\+json/)
    assert.deepEqual([second.status, second.text], [first.status, first.text])
  })

  const wrong: [what: string, more: Record<string, unknown>, status: number, code: string][] = [
    ['an unknown plan', { plan: 'nothing' }, 404, 'plan_not_found'],
    ['an unknown interval', { interval: 'week' }, 400, 'request_invalid'],
    ['an unknown account', { account: 'acc_0' }, 404, 'account_not_found'],
    ['a URL that runs code', { success_url: 'javascript:alert(1)' }, 400, 'request_invalid'],
    ['a URL of a file', { cancel_url: 'file:///etc/passwd' }, 400, 'request_invalid'],
    ['no URL', { cancel_url: undefined }, 400, 'request_invalid'],
    ['a price of its own', { price: 'price_cheap' }, 400, 'request_invalid'],
  ]
  for (const [what, more, status, code] of wrong) {
    it(`refuse ${what}, and nothing is stored`, async () => {
      const before = [await count('command'), await count('checkout')]
      const account = await newAccount()
      const answer = await api.post('/v1/subscriptions', order(account, more))
      assert.deepEqual([answer.status, answer.body.code], [status, code])
      assert.deepEqual([(await count('command')) - 1, await count('checkout')], before)
    })
  }

  it('are found by the order and by Stripe’s id', async () => {
    const account = await newAccount()
    const { body: opened } = await api.post('/v1/subscriptions', order(account))
    await api.database.owner.query(
      `update checkout set state = 'paid', subscription_id = 'sub_two' where id = $1`,
      [opened.id],
    )
    assert.equal((await api.get(`/v1/subscriptions/${opened.id}`)).body.status, 'opening')
    await mirror(api.database, { id: 'sub_two', account, order: opened.id })
    const byOrder = await api.get(`/v1/subscriptions/${opened.id}`)
    const byStripe = await api.get('/v1/subscriptions/sub_two')
    assert.deepEqual(byStripe.body, byOrder.body)
    assert.deepEqual(
      [byOrder.body.id, byOrder.body.stripe_id, byOrder.body.status, byOrder.body.checkout],
      [opened.id, 'sub_two', 'active', null],
    )
    const { body } = await api.get(`/v1/subscriptions?account=${account}`)
    assert.deepEqual(body.data, [byOrder.body])
  })

  it('are listed newest first, page by page, with those that no order of ours began', async () => {
    const account = await newAccount()
    const { body: opened } = await api.post('/v1/subscriptions', order(account, { plan: 'extra' }))
    await mirror(api.database, { id: 'sub_foreign', account })
    const first = await api.get(`/v1/subscriptions?account=${account}&limit=1`)
    const second = await api.get(
      `/v1/subscriptions?account=${account}&limit=1&cursor=${first.body.next_cursor}`,
    )
    const seen = [...first.body.data, ...second.body.data].map((one: { id: string }) => one.id)
    assert.deepEqual(new Set(seen), new Set([opened.id, 'sub_foreign']))
    assert.equal(seen.length, 2)
    assert.equal(second.body.has_more, false)
  })

  it('are cancelled by a command to their workflow, under either id', async () => {
    const account = await newAccount()
    await mirror(api.database, { id: 'sub_cancel', account })
    workflows.answer = async (command, owner) => {
      await api.database.pool.query(`update subscription set cancel_at = current_period_end where id = $1`, [
        owner,
      ])
      return finishCommand(api.database.pool, command, { state: 'done', statusCode: 200, result: {} })
    }
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post('/v1/subscriptions/sub_cancel/cancel', {}, headers)
    assert.equal(first.status, 200)
    assert.equal(first.body.cancel_at, first.body.current_period_end)
    assert.deepEqual(
      workflows.sent.map(({ owner, operation }) => [owner, operation]),
      [['sub_cancel', 'cancel']],
    )
    await api.database.owner.query(`update subscription set status = 'canceled' where id = 'sub_cancel'`)
    const replay = await api.send({
      method: 'POST',
      url: '/v1/subscriptions/sub_cancel/cancel',
      headers: { authorization: `Bearer ${api.key}`, ...headers },
    })
    assert.equal(replay.status, 200, replay.text)
    assert.equal(replay.text, first.text, 'as first given, also after the end')
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    const late = await api.post('/v1/subscriptions/sub_cancel/cancel', {})
    assert.deepEqual([late.status, late.body.code], [409, 'subscription_ended'])
  })

  it('that have not begun cannot be cancelled', async () => {
    const { body: opened } = await api.post('/v1/subscriptions', order(await newAccount()))
    const { status, body } = await api.post(`/v1/subscriptions/${opened.id}/cancel`, {})
    assert.deepEqual([status, body.code], [409, 'subscription_not_started'])
  })

  it('are sold from the catalogue', async () => {
    const { body } = await api.get('/v1/catalog')
    assert.deepEqual(
      body.data.map((plan: { id: string }) => plan.id),
      ['extra', 'pro', 'team'],
    )
    assert.deepEqual(body.data[1].prices[0], {
      id: 'price_pro_month',
      object: 'price',
      interval: 'month',
      credits: '1000',
      unit_amount: '2000',
      currency: 'usd',
      version: 'v1',
      grace_hours: 72,
      discount_rule: 'full',
    })
  })
})
