import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApiKey } from '../../src/store/api-key.ts'
import { advanceClock, assertBooks } from '../support/ledger.ts'
import { enableTopUp } from '../../src/store/top-up.ts'
import { eventually } from '../support/stack.ts'
import { type ApiUnderTest, fund, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

describe('holds over HTTP', () => {
  let api: ApiUnderTest
  let account: string
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())
  beforeEach(async () => {
    account = (await api.post('/v1/accounts', {})).body.id
    await fund(api.database, account, '10')
  })
  afterEach(() => assertBooks(api.database))

  const hold = async (body: object = { amount: '4' }): Promise<string> =>
    (await api.post(`/v1/accounts/${account}/holds`, body)).body.id
  const has = async () => {
    const { body } = await api.get(`/v1/accounts/${account}/balance`)
    return [body.balance, body.held, body.available, body.debt]
  }

  it('are placed for an hour and read as they are', async () => {
    const request = { amount: '4.50', feature: 'chat', metadata: { b: '1', a: '2' } }
    const { status, body } = await api.post(`/v1/accounts/${account}/holds`, request)
    assert.equal(status, 201)
    const { id, created_at, expires_at, ...rest } = body
    assert.match(id, /^hld_[0-9a-f]{32}$/)
    assert.equal(new Date(expires_at).getTime() - new Date(created_at).getTime(), 3_600_000)
    assert.deepEqual(rest, {
      object: 'hold',
      account,
      status: 'open',
      amount: '4.5',
      captured: '0',
      feature: 'chat',
      closed_at: null,
      metadata: { a: '2', b: '1' },
    })
    assert.deepEqual((await api.get(`/v1/holds/${id}`)).body, body)
    assert.deepEqual(await has(), ['10', '4.5', '5.5', '0'])
  })

  it('are answered to a replay with the same bytes, also when they are over and their notes are erased', async () => {
    const url = `/v1/accounts/${account}/holds`
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post(url, { amount: '4', metadata: { b: '1', a: '2' } }, headers)
    await api.post(`/v1/holds/${first.body.id}/capture`, { amount: '3' })
    await api.database.owner.query('delete from note where account_id = $1', [account])
    const again = await api.post(url, { metadata: { a: '2', b: '1' }, amount: '4.0' }, headers)
    assert.equal(again.text, first.text)
    assert.equal(again.status, 201)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    const other = await api.post(url, { amount: '4', expires_in: 60 }, headers)
    assert.deepEqual([other.status, other.body.code], [409, 'idempotency_key_reused'])
    const now = (await api.get(`/v1/holds/${first.body.id}`)).body
    assert.deepEqual([now.status, now.captured, now.metadata], ['captured', '3', {}])
  })

  it('are refused when too little is available', async () => {
    await hold({ amount: '8' })
    const { status, body } = await api.post(`/v1/accounts/${account}/holds`, { amount: '3' })
    assert.deepEqual([status, body.code, body.available], [402, 'insufficient_credits', '2'])
    const spend = await api.post(`/v1/accounts/${account}/spend`, { amount: '3' })
    assert.deepEqual([spend.status, spend.body.available], [402, '2'])
  })

  it('are captured; a replay is answered with the same bytes; the capture is a spend', async () => {
    const id = await hold({ amount: '4', feature: 'chat' })
    const url = `/v1/holds/${id}/capture`
    const headers = { 'idempotency-key': randomUUID() }
    const request = { amount: '1', final: false, metadata: { part: '1' } }
    const first = await api.post(url, request, headers)
    assert.equal(first.status, 200)
    const { id: spend, ...rest } = first.body
    assert.match(spend, /^spd_/)
    assert.deepEqual(rest, { hold: id, amount: '1', balance: '9', status: 'open' })
    assert.deepEqual((await api.post(url, { amount: '2' })).body.status, 'captured')
    const again = await api.post(url, request, headers)
    assert.equal(again.text, first.text)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    assert.deepEqual(await has(), ['7', '0', '7', '0'])
    const { body } = await api.get(`/v1/spends/${spend}`)
    assert.deepEqual([body.hold, body.amount, body.feature, body.metadata], [id, '1', 'chat', { part: '1' }])
    assert.equal((await api.post(`/v1/spends/${spend}/reverse`, {})).body.balance, '8')
    const closed = await api.post(url, { amount: '1' })
    assert.deepEqual(
      [closed.status, closed.body.code, closed.body.hold_status],
      [409, 'hold_closed', 'captured'],
    )
  })

  it('are captured above what they hold as far as there is, and beyond for a key that may overdraw', async () => {
    const id = await hold()
    const url = `/v1/holds/${id}/capture`
    const refused = await api.post(url, { amount: '11' })
    assert.deepEqual([refused.status, refused.body.available], [402, '10'])
    const spender = await createApiKey(api.database.owner, { name: 's', scopes: ['spend'] })
    const headers = { authorization: `Bearer ${spender}` }
    const scoped = await api.post(url, { amount: '11', overdraft: true }, headers)
    assert.deepEqual([scoped.status, scoped.body.scope], [403, 'overdraft'])
    assert.equal((await api.post(url, { amount: '11', overdraft: true })).body.balance, '-1')
    assert.deepEqual(await has(), ['-1', '0', '0', '1'])
  })

  it('are released; a replay is answered with the same bytes', async () => {
    const id = await hold()
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post(`/v1/holds/${id}/release`, {}, headers)
    assert.equal(first.status, 200)
    const { closed_at, ...rest } = first.body
    assert.deepEqual(rest, { id, object: 'hold', status: 'released', amount: '4', captured: '0' })
    const again = await api.post(`/v1/holds/${id}/release`, {}, headers)
    assert.equal(again.text, first.text)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    const twice = await api.post(`/v1/holds/${id}/release`, {})
    assert.deepEqual(
      [twice.status, twice.body.code, twice.body.hold_status],
      [409, 'hold_closed', 'released'],
    )
    assert.deepEqual(await has(), ['10', '0', '10', '0'])
    assert.equal((await api.get(`/v1/holds/${id}`)).body.closed_at, closed_at)
  })

  it('lapse at their deadline, swept or not, and are listed by what became of them', async () => {
    const short = await hold({ amount: '1', expires_in: 1 })
    const [one, two] = [await hold({ amount: '2' }), await hold({ amount: '3' })]
    await api.post(`/v1/holds/${two}/release`, {})
    await advanceClock(api.database, 2_000)
    const { body } = await api.get(`/v1/holds/${short}`)
    assert.deepEqual([body.status, body.closed_at], ['lapsed', body.expires_at])
    assert.deepEqual(await has(), ['10', '2', '8', '0'])
    const listed = async (query: string) =>
      (await api.get(`/v1/accounts/${account}/holds${query}`)).body.data.map(
        (each: { id: string }) => each.id,
      )
    assert.deepEqual(new Set(await listed('')), new Set([short, one, two]))
    assert.deepEqual(await listed('?status=open'), [one])
    assert.deepEqual(await listed('?status=lapsed'), [short])
    assert.deepEqual(await listed('?status=released'), [two])
    const first = (await api.get(`/v1/accounts/${account}/holds?limit=2`)).body
    const rest = await listed(`?limit=2&cursor=${first.next_cursor}`)
    const paged = [...first.data.map((each: { id: string }) => each.id), ...rest]
    assert.deepEqual([paged.length, new Set(paged)], [3, new Set([short, one, two])])
  })

  it('refuse bad input, each with its code, and nothing is written', async () => {
    const id = await hold()
    const before = await has()
    const place = `/v1/accounts/${account}/holds`
    const wrong: [url: string, body: object, status: number, code: string][] = [
      [place, {}, 400, 'request_invalid'],
      [place, { amount: '0' }, 400, 'credits_invalid'],
      [place, { amount: '1', expires_in: 0 }, 400, 'request_invalid'],
      [place, { amount: '1', expires_in: 30 * 86_400 + 1 }, 400, 'request_invalid'],
      [place, { amount: '1', expires_in: 1.5 }, 400, 'request_invalid'],
      [place, { amount: '1', expires_in: '60' }, 400, 'request_invalid'],
      [place, { amount: '1', feature: 'Chat' }, 400, 'request_invalid'],
      [place, { amount: '1', metadata: { a: 1 } }, 400, 'request_invalid'],
      [place, { amount: '1', overdraft: true }, 400, 'request_invalid'],
      ['/v1/accounts/acc_0/holds', { amount: '1' }, 404, 'account_not_found'],
      [`/v1/holds/${id}/capture`, { amount: '0.000000001' }, 400, 'credits_invalid'],
      [`/v1/holds/${id}/capture`, { amount: '1', final: 'yes' }, 400, 'request_invalid'],
      ['/v1/holds/hld_0/capture', { amount: '1' }, 404, 'hold_not_found'],
      ["/v1/holds/'--/capture", { amount: '1' }, 404, 'hold_not_found'],
      ['/v1/holds/hld_0/release', {}, 404, 'hold_not_found'],
      [`/v1/holds/${id}/release`, { why: 'x' }, 400, 'request_invalid'],
    ]
    for (const [url, body, status, code] of wrong) {
      const answer = await api.post(url, body)
      assert.deepEqual([answer.status, answer.body.code], [status, code], `${url} ${JSON.stringify(body)}`)
    }
    for (const [url, status, code] of [
      ['/v1/holds/hld_0', 404, 'hold_not_found'],
      ['/v1/accounts/acc_0/holds', 404, 'account_not_found'],
      [`/v1/accounts/${account}/holds?status=gone`, 400, 'request_invalid'],
      [`/v1/accounts/${account}/holds?cursor=x`, 400, 'cursor_invalid'],
    ] as const) {
      const answer = await api.get(url)
      assert.deepEqual([answer.status, answer.body.code], [status, code], url)
    }
    assert.deepEqual(await has(), before)
  })

  it('that leave little wake the top-up of the account, and so do those that are refused, and captures', async () => {
    const workflows = new Workflows()
    workflows.answer = async () => ({ state: 'done', statusCode: 200, result: {} })
    const amounts = { held: '6', refused: '0.5', captured: '1' }
    const accounts = new Map<string, string>()
    for (const [how, amount] of Object.entries(amounts)) {
      account = (await api.post('/v1/accounts', {})).body.id
      accounts.set(how, account)
      await fund(api.database, account, how === 'refused' ? '1' : '10')
      await enableTopUp(api.database.pool, account, {
        pack: 'credits_10',
        threshold: how === 'captured' ? '9' : '5',
        monthlyMaxMinor: '1000',
        currency: 'usd',
        returnUrl: 'https://example.com',
      })
      if (how !== 'refused') await hold({ amount })
    }
    const held = await hold({ amount: '0.5' })
    // it has read no threshold yet when it starts
    const watching = await startApi({ beside: api, reach: workflows.reach })
    try {
      await eventually('each is woken', async () => {
        for (const [how, each] of accounts) {
          if (how === 'held') await watching.post(`/v1/accounts/${each}/holds`, { amount: '0.01' })
          if (how === 'refused') await watching.post(`/v1/accounts/${each}/holds`, { amount: '2' })
          if (how === 'captured')
            await watching.post(`/v1/holds/${held}/capture`, { amount: '0.6', final: false })
        }
        return workflows.woken.length === 3
      })
      const owners = [...accounts.values()].map((each) => `topup/${each}`)
      assert.deepEqual(workflows.woken.sort(), owners.sort())
    } finally {
      await watching.close()
    }
  })
})
