import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Limits } from '../../src/domain/catalog.ts'
import type { FreeTerms } from '../../src/domain/plan.ts'
import { keepTerms, putInForce } from '../../src/store/catalog-price.ts'
import { finishCommand } from '../../src/store/command.ts'
import type { CommandAnswer } from '../../src/workflows/message.ts'
import { type ApiUnderTest, mirror, sell, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

const LIMITS: Limits = {
  grantMax: '1',
  purchaseMin: '1',
  purchaseMax: '1',
  purchaseDayMax: '1',
  purchaseHourMax: 1,
}

describe('free plans', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  before(async () => {
    api = await startApi({ reach: workflows.reach })
    await sell(api.database, 'pro')
    await offer('free')
    await offer('basic')
    await offer('gift', 'addons')
    await putInForce(api.database.owner, {
      version: 'v1',
      currency: 'usd',
      limits: LIMITS,
    })
  })
  after(() => api.close())
  beforeEach(() => {
    workflows.sent = []
    workflows.answer = (command) =>
      finishCommand(api.database.pool, command, { state: 'done', statusCode: 201, result: {} })
  })

  async function offer(plan: string, group = 'default'): Promise<void> {
    const key = `free.${plan}.v1`
    const terms: FreeTerms = {
      kind: 'free',
      priceId: key,
      lookupKey: key,
      plan,
      planName: plan,
      group,
      tier: 0,
      version: 'v1',
      credits: '2',
      graceHours: 72,
      renewal: { rule: 'replace' },
    }
    await keepTerms(api.database.owner, terms)
    await api.database.owner.query('update catalog_price set on_sale = true where lookup_key = $1', [key])
  }
  const newAccount = async (): Promise<string> => (await api.post('/v1/accounts', {})).body.id
  const enrol = (account: string, more: Record<string, unknown> = {}, headers = {}) =>
    api.post('/v1/subscriptions', { account, plan: 'free', ...more }, headers)
  const count = async (table: string) =>
    Number((await api.database.owner.query(`select count(*) from ${table}`)).rows[0].count)

  it('begin at once, without a checkout and without Stripe', async () => {
    const account = await newAccount()
    const { status, body } = await enrol(account, { metadata: { seat: '7' } })
    assert.equal(status, 201)
    const { id, current_period_start: start, current_period_end: end, created_at, ...rest } = body
    assert.match(id, /^free_[0-9a-f]{32}$/)
    assert.equal(start, created_at)
    assert.ok(end > start)
    assert.deepEqual(rest, {
      object: 'subscription',
      status: 'active',
      paused: false,
      pending_change: null,
      payment: null,
      account,
      plan: 'free',
      interval: 'month',
      quantity: 1,
      stripe_id: null,
      checkout: null,
      cancel_at: null,
      ended_at: null,
      metadata: { seat: '7' },
    })
    const sent = workflows.sent.map(({ owner, operation }) => [owner, operation])
    assert.deepEqual(sent, [[id, 'open']])
    assert.deepEqual((await api.get(`/v1/subscriptions/${id}`)).body, body)
    assert.deepEqual((await api.get(`/v1/subscriptions?account=${account}`)).body.data, [body])
  })

  it('answer a repeated request the same bytes, also when the plan is offered no more', async () => {
    const account = await newAccount()
    const headers = { 'idempotency-key': randomUUID() }
    const first = await enrol(account, {}, headers)
    const offered = (on: boolean) =>
      api.database.owner.query(`update catalog_price set on_sale = ${on} where lookup_key = 'free.free.v1'`)
    await offered(false)
    try {
      await api.database.owner.query('update subscription set cancel_at = now() where id = $1', [
        first.body.id,
      ])
      const again = await enrol(account, {}, headers)
      assert.deepEqual([again.status, again.text], [201, first.text])
      assert.equal(again.headers['idempotent-replayed'], 'true')
      assert.equal((await enrol(await newAccount())).body.code, 'plan_not_found')
    } finally {
      await offered(true)
    }
    const other = await enrol(account, { plan: 'gift' }, headers)
    assert.deepEqual([other.status, other.body.code], [409, 'idempotency_key_reused'])
    assert.equal(workflows.sent.length, 1)
  })

  it('answer 202 while Temporal is down, and the same key joins it', async () => {
    const account = await newAccount()
    const headers = { 'idempotency-key': randomUUID() }
    workflows.answer = undefined
    const taken = await enrol(account, {}, headers)
    assert.deepEqual([taken.status, taken.body.operation], [202, 'open'])
    assert.equal((await api.get(`/v1/subscriptions/${taken.body.subject}`)).body.status, 'active')
    workflows.answer = (command) =>
      finishCommand(api.database.pool, command, { state: 'done', statusCode: 201, result: {} })
    const joined = await enrol(account, {}, headers)
    assert.deepEqual([joined.status, joined.body.id], [201, taken.body.subject])
  })

  it('are one a group: another is refused and names the first, and takes no key', async () => {
    const account = await newAccount()
    const { body: first } = await enrol(account)
    const commands = await count('command')
    for (const plan of ['free', 'basic']) {
      const { status, body } = await enrol(account, { plan })
      assert.deepEqual([status, body.code, body.subscription], [409, 'subscription_exists', first.id])
    }
    assert.equal(await count('command'), commands)
    assert.equal((await enrol(account, { plan: 'gift' })).status, 201)
  })

  it('go beside what is paid for, whichever is first', async () => {
    const account = await newAccount()
    await mirror(api.database, { id: 'sub_first', account })
    assert.equal((await enrol(account)).status, 201)
    const second = await newAccount()
    assert.equal((await enrol(second)).status, 201)
    const urls = { success_url: 'https://product.example/a', cancel_url: 'https://product.example/b' }
    assert.equal((await enrol(second, { plan: 'pro', ...urls })).status, 201)
  })

  it('are cancelled by a command to their workflow', async () => {
    const { body } = await enrol(await newAccount())
    workflows.answer = async (command, owner): Promise<CommandAnswer> => {
      await api.database.pool.query('update subscription set cancel_at = current_period_end where id = $1', [
        owner,
      ])
      return finishCommand(api.database.pool, command, { state: 'done', statusCode: 200, result: {} })
    }
    const cancelled = await api.post(`/v1/subscriptions/${body.id}/cancel`, {})
    assert.deepEqual([cancelled.status, cancelled.body.cancel_at], [200, body.current_period_end])
    assert.deepEqual(workflows.sent.map(({ owner, operation }) => [owner, operation]).at(-1), [
      body.id,
      'cancel',
    ])
    await api.database.owner.query(
      `update subscription set status = 'canceled', ended_at = now() where id = $1`,
      [body.id],
    )
    const late = await api.post(`/v1/subscriptions/${body.id}/cancel`, {})
    assert.deepEqual([late.status, late.body.code], [409, 'subscription_ended'])
  })

  const url = 'https://product.example/plans'
  const wrong: [
    what: string,
    more: Record<string, unknown>,
    status: number,
    code: string,
    names: string[],
  ][] = [
    ['an unknown plan', { plan: 'nothing' }, 404, 'plan_not_found', []],
    ['a free plan by the year', { interval: 'year' }, 404, 'plan_not_found', []],
    ['an unknown account', { account: 'acc_0' }, 404, 'account_not_found', []],
    ['a free plan with a page', { success_url: url }, 400, 'request_invalid', ['body/success_url']],
    [
      'a free plan with both pages',
      { success_url: url, cancel_url: url },
      400,
      'request_invalid',
      ['body/success_url', 'body/cancel_url'],
    ],
    [
      'a paid plan without pages',
      { plan: 'pro' },
      400,
      'request_invalid',
      ['body/success_url', 'body/cancel_url'],
    ],
    [
      'a paid plan without one',
      { plan: 'pro', success_url: url },
      400,
      'request_invalid',
      ['body/cancel_url'],
    ],
    ['an empty page', { success_url: '' }, 400, 'request_invalid', ['body/success_url']],
  ]
  for (const [what, more, status, code, names] of wrong) {
    it(`refuse ${what}, and nothing is stored`, async () => {
      const account = await newAccount()
      const before = [await count('command'), await count('checkout'), await count('subscription')]
      const answer = await enrol(account, more)
      assert.deepEqual([answer.status, answer.body.code], [status, code])
      const errors: { path: string }[] = answer.body.errors ?? []
      assert.deepEqual(
        errors.map(({ path }) => path),
        names,
      )
      assert.deepEqual([await count('command'), await count('checkout'), await count('subscription')], before)
      assert.equal(workflows.sent.length, 0)
    })
  }
})
