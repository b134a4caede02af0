import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApiKey } from '../../src/store/api-key.ts'
import { assertBooks } from '../support/ledger.ts'
import { type ApiUnderTest, fund, startApi } from './api-under-test.ts'

describe('spends', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())
  afterEach(() => assertBooks(api.database))

  async function newAccount(credits: string): Promise<string> {
    const { body } = await api.post('/v1/accounts', {})
    await fund(api.database, body.id, credits)
    return body.id
  }

  it('spends, and answers a replay as first given', async () => {
    const account = await newAccount('100')
    const headers = { 'idempotency-key': randomUUID() }
    const first = await api.post(
      `/v1/accounts/${account}/spend`,
      { amount: '12.50', feature: 'chat' },
      headers,
    )
    assert.equal(first.status, 200)
    assert.match(first.body.id, /^spd_/)
    assert.equal(first.body.amount, '12.5')
    assert.equal(first.body.balance, '87.5')
    await api.post(`/v1/accounts/${account}/spend`, { amount: '1' })
    const replay = await api.post(
      `/v1/accounts/${account}/spend`,
      { amount: '12.5', feature: 'chat' },
      headers,
    )
    assert.equal(replay.text, first.text)
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    const other = await api.post(`/v1/accounts/${account}/spend`, { amount: '13' }, headers)
    assert.equal(other.body.code, 'idempotency_key_reused')
    assert.equal((await api.get(`/v1/accounts/${account}/balance`)).body.balance, '86.5')
  })

  it('refuses to spend what is not there, and the key stays free', async () => {
    const account = await newAccount('5')
    const headers = { 'idempotency-key': randomUUID() }
    const refused = await api.post(`/v1/accounts/${account}/spend`, { amount: '6' }, headers)
    assert.equal(refused.status, 402)
    assert.equal(refused.body.code, 'insufficient_credits')
    assert.equal(refused.body.available, '5')
    assert.match(String(refused.headers['content-type']), /^application\/problem\+json/)
    await fund(api.database, account, '1')
    assert.equal((await api.post(`/v1/accounts/${account}/spend`, { amount: '6' }, headers)).status, 200)
  })

  it('overdraws for a key with that scope only, and shows the debt', async () => {
    const account = await newAccount('5')
    const url = `/v1/accounts/${account}/spend`
    const spender = await createApiKey(api.database.owner, { name: 's', scopes: ['spend'] })
    const authorization = `Bearer ${spender}`
    const refused = await api.post(url, { amount: '6', overdraft: true }, { authorization })
    assert.deepEqual(
      [refused.status, refused.body.code, refused.body.scope],
      [403, 'scope_missing', 'overdraft'],
    )
    assert.equal((await api.post(url, { amount: '1', overdraft: false }, { authorization })).status, 200)
    assert.equal((await api.post(url, { amount: '6', overdraft: true })).body.balance, '-2')
    const { body } = await api.get(`/v1/accounts/${account}/balance`)
    assert.deepEqual([body.balance, body.available, body.debt], ['-2', '0', '2'])
    await fund(api.database, account, '10')
    assert.equal((await api.get(`/v1/accounts/${account}/balance`)).body.available, '8')
  })

  it('can be read, with the notes of the caller and what was given back', async () => {
    const account = await newAccount('10')
    const request = { amount: '4', feature: 'chat', metadata: { job: '7' } }
    const { body: spent } = await api.post(`/v1/accounts/${account}/spend`, request)
    const { body: back } = await api.post(`/v1/spends/${spent.id}/reverse`, { amount: '1.5' })
    const { status, body } = await api.get(`/v1/spends/${spent.id}`)
    assert.equal(status, 200)
    const { created_at, actor, ...rest } = body
    assert.match(actor, /^key_/)
    assert.ok(created_at <= back.created_at)
    assert.deepEqual(rest, {
      id: spent.id,
      object: 'spend',
      account,
      hold: null,
      amount: '4',
      reversed: '1.5',
      feature: 'chat',
      balance: '6',
      metadata: { job: '7' },
    })
    const entries = await api.get(`/v1/accounts/${account}/ledger`)
    assert.deepEqual(
      entries.body.data.map((entry: { metadata: object }) => entry.metadata),
      [{}, { job: '7' }, {}],
    )
  })

  it('are given back in parts and no further; a replay is answered with the same bytes', async () => {
    const account = await newAccount('10')
    const { body: spent } = await api.post(`/v1/accounts/${account}/spend`, { amount: '4' })
    const url = `/v1/spends/${spent.id}/reverse`
    const headers = { 'idempotency-key': randomUUID() }
    const request = { amount: '1', reason_code: 'duplicate', metadata: { ticket: '1' } }
    const first = await api.post(url, request, headers)
    assert.equal(first.status, 200)
    const { id, created_at, ...rest } = first.body
    assert.match(id, /^pst_/)
    assert.deepEqual(rest, {
      object: 'reversal',
      account,
      spend: spent.id,
      amount: '1',
      lapsed: '0',
      balance: '7',
      reason_code: 'duplicate',
    })
    const tooLarge = await api.post(url, { amount: '3.5' })
    assert.deepEqual(
      [tooLarge.status, tooLarge.body.code, tooLarge.body.left],
      [409, 'reversal_too_large', '3'],
    )
    assert.deepEqual((await api.post(url, {})).body.amount, '3')
    const twice = await api.post(url, {})
    assert.deepEqual([twice.status, twice.body.code, twice.body.left], [409, 'spend_reversed', '0'])
    const replay = await api.post(url, request, headers)
    assert.equal(replay.text, first.text)
    assert.equal(replay.headers['idempotent-replayed'], 'true')
    const other = await api.post(url, { ...request, amount: '2' }, headers)
    assert.deepEqual([other.status, other.body.code], [409, 'idempotency_key_reused'])
    assert.equal((await api.get(`/v1/accounts/${account}/balance`)).body.balance, '10')
    assert.ok(created_at)
  })

  it('that many wait for at once are each answered', async () => {
    const account = await newAccount('20')
    const answers = await Promise.all(
      Array.from({ length: 50 }, () => api.post(`/v1/accounts/${account}/spend`, { amount: '0.5' })),
    )
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200, 402]))
    assert.equal(answers.filter(({ status }) => status === 200).length, 40)
    assert.equal((await api.get(`/v1/accounts/${account}/balance`)).body.balance, '0')
  })

  it('more than any account can owe is refused, not broken', async () => {
    const account = await newAccount('1')
    const url = `/v1/accounts/${account}/spend`
    const most = { amount: '1000000000000000', overdraft: true }
    for (let times = 0; times < 9; times += 1) assert.equal((await api.post(url, most)).status, 200)
    const { status, body } = await api.post(url, { ...most, amount: '999999999999999' })
    assert.equal(status, 200)
    const refused = await api.post(url, most)
    assert.deepEqual([refused.status, refused.body.code], [409, 'balance_limit'])
    assert.equal((await api.get(`/v1/accounts/${account}/balance`)).body.balance, body.balance)
  })
})
