import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApiKey } from '../../src/store/api-key.ts'
import { putInForce } from '../../src/store/catalog-price.ts'
import { advanceClock, assertBooks, DAY_MS, fromNow } from '../support/ledger.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

describe('goodwill and promotion', () => {
  let api: ApiUnderTest
  let account: string
  before(async () => {
    api = await startApi()
    await inForce('v1', '1000')
  })
  after(() => api.close())
  beforeEach(async () => {
    account = (await api.post('/v1/accounts', {})).body.id
  })
  afterEach(() => assertBooks(api.database))

  const inForce = (version: string, grantMax: string) =>
    putInForce(api.database.pool, {
      version,
      currency: 'usd',
      limits: {
        grantMax,
        purchaseMin: '500',
        purchaseMax: '50000',
        purchaseDayMax: '100000',
        purchaseHourMax: 10,
      },
      dunning: { reminderDays: [] },
    })
  const ask = (more: object = {}) => ({
    account,
    amount: '5',
    kind: 'goodwill',
    reason_code: 'outage',
    ...more,
  })
  const balance = async () => (await api.get(`/v1/accounts/${account}/balance`)).body.balance

  it('are given with a reason, an expiry and a place in the order of burning', async () => {
    const expires_at = await fromNow(api.database, DAY_MS)
    const request = ask({ kind: 'promotion', expires_at, priority: 7, metadata: { campaign: 'x' } })
    const { status, body } = await api.post('/v1/grants', request)
    assert.equal(status, 201)
    const { id, lot, created_at, ...rest } = body
    assert.match(id, /^pst_/)
    assert.ok(created_at < expires_at)
    assert.deepEqual(rest, {
      object: 'grant',
      account,
      amount: '5',
      kind: 'promotion',
      balance: '5',
      reason_code: 'outage',
      expires_at,
      priority: 7,
    })
    const { lots } = (await api.get(`/v1/accounts/${account}/balance`)).body
    assert.deepEqual(lots, [{ id: lot, source: 'promotion', granted: '5', remaining: '5', expires_at }])
    const { data } = (await api.get(`/v1/accounts/${account}/ledger`)).body
    assert.deepEqual([data[0].id, data[0].reason_code, data[0].metadata], [id, 'outage', { campaign: 'x' }])
    const { rows } = await api.database.owner.query(
      'select actor, subject from audit_log where account_id = $1',
      [account],
    )
    assert.deepEqual(rows, [{ actor: data[0].actor, subject: id }])
    const told = (await api.get(`/v1/notices?account=${account}`)).body.data
    assert.deepEqual(
      told.map((notice: { kind: string; data: object }) => [notice.kind, notice.data]),
      [
        [
          'credits_granted',
          { posting: id, amount: '5', balance: '5', reason: 'promotion', expires_at, subscription: null },
        ],
      ],
    )
  })

  it('are answered to a replay with the same bytes, also after they have expired', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const expires_at = await fromNow(api.database, DAY_MS)
    const first = await api.post('/v1/grants', ask({ expires_at }), headers)
    await advanceClock(api.database, 2 * DAY_MS)
    const again = await api.post('/v1/grants', ask({ expires_at, amount: '5.0' }), headers)
    assert.equal(again.text, first.text)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    assert.equal(await balance(), '0')
    for (const other of [
      { amount: '6' },
      { kind: 'promotion' },
      { reason_code: 'other' },
      { priority: 1 },
      { expires_at: undefined },
      { metadata: { a: 'b' } },
    ]) {
      const { status, body } = await api.post('/v1/grants', ask({ expires_at, ...other }), headers)
      assert.deepEqual([status, body.code], [409, 'idempotency_key_reused'], JSON.stringify(other))
    }
  })

  it('one key at the same moment gives once', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => api.post('/v1/grants', ask(), headers)),
    )
    assert.deepEqual(new Set(answers.map(({ text }) => text)).size, 1)
    assert.equal(await balance(), '5')
    assert.equal((await api.get(`/v1/notices?account=${account}`)).body.data.length, 1)
  })

  it('repay a debt first', async () => {
    await api.post(`/v1/accounts/${account}/spend`, { amount: '3', overdraft: true })
    assert.equal((await api.post('/v1/grants', ask())).body.balance, '2')
  })

  it('above the limit need the scope for it', async () => {
    const clerk = await createApiKey(api.database.owner, { name: 'clerk', scopes: ['grants'] })
    const headers = { authorization: `Bearer ${clerk}` }
    const { status, body } = await api.post('/v1/grants', ask({ amount: '1000.00000001' }), headers)
    assert.deepEqual(
      [status, body.code, body.limit, body.scope],
      [403, 'grant_limit', '1000', 'grants:large'],
    )
    assert.equal(await balance(), '0')
    assert.equal((await api.post('/v1/grants', ask({ amount: '1000' }), headers)).status, 201)
    assert.equal((await api.post('/v1/grants', ask({ amount: '1000.00000001' }))).status, 201)
    const larger = await createApiKey(api.database.owner, { name: 'larger', scopes: ['grants:large'] })
    const alone = await api.post('/v1/grants', ask(), { authorization: `Bearer ${larger}` })
    assert.deepEqual([alone.status, alone.body.scope], [403, 'grants'])
  })

  it('given before are answered as they were, also when the limit has become smaller since', async () => {
    const clerk = await createApiKey(api.database.owner, { name: 'repeats', scopes: ['grants'] })
    const headers = { authorization: `Bearer ${clerk}`, 'idempotency-key': randomUUID() }
    const first = await api.post('/v1/grants', ask({ amount: '500' }), headers)
    assert.equal(first.status, 201)
    await inForce('v2', '100')
    try {
      const again = await api.post('/v1/grants', ask({ amount: '500' }), headers)
      assert.deepEqual([again.text, again.headers['idempotent-replayed']], [first.text, 'true'])
      const other = { ...headers, 'idempotency-key': randomUUID() }
      const refused = await api.post('/v1/grants', ask({ amount: '500' }), other)
      assert.deepEqual([refused.status, refused.body.limit], [403, '100'])
      const preview = await api.post('/v1/grants?dry_run=true', ask({ amount: '500' }), headers)
      assert.deepEqual([preview.body.refusal.code, preview.body.balance.balance], ['grant_limit', '500'])
    } finally {
      await inForce('v3', '1000')
    }
    assert.equal(await balance(), '500')
    assert.equal((await api.get(`/v1/notices?account=${account}`)).body.data.length, 1)
  })

  it('refuse bad input, each with its code, and nothing is given; the key stays free', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const wrong: [what: object, status: number, code: string][] = [
      [{ amount: '-5' }, 400, 'credits_invalid'],
      [{ amount: 5 }, 400, 'request_invalid'],
      [{ kind: 'plan' }, 400, 'request_invalid'],
      [{ reason_code: undefined }, 400, 'request_invalid'],
      [{ reason_code: 'Because of Grace' }, 400, 'request_invalid'],
      [{ priority: 1001 }, 400, 'request_invalid'],
      [{ expires_at: 'tomorrow' }, 400, 'request_invalid'],
      [{ expires_at: '0000-01-01T00:00:00Z' }, 400, 'request_invalid'],
      [{ expires_at: '9999-12-31T23:59:59-12:00' }, 400, 'request_invalid'],
      [{ expires_at: await fromNow(api.database, 0) }, 400, 'expiry_past'],
      [{ account: 'acc_0' }, 404, 'account_not_found'],
      [{ account: undefined }, 400, 'request_invalid'],
      [{ balance: '5' }, 400, 'request_invalid'],
    ]
    for (const [what, status, code] of wrong) {
      const answer = await api.post('/v1/grants', ask(what), headers)
      assert.deepEqual([answer.status, answer.body.code], [status, code], JSON.stringify(what))
    }
    assert.equal(await balance(), '0')
    assert.deepEqual((await api.get(`/v1/accounts/${account}/ledger`)).body.data, [])
    assert.deepEqual((await api.get(`/v1/notices?account=${account}`)).body.data, [])
    assert.equal((await api.post('/v1/grants', ask(), headers)).status, 201)
  })
})
