import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../../src/domain/credits.ts'
import { spend } from '../../src/ledger/spend.ts'
import { createApiKey } from '../../src/store/api-key.ts'
import { assertBooks, waitsForLock } from '../support/ledger.ts'
import { type ApiUnderTest, fund, sell, startApi } from './api-under-test.ts'

describe('?dry_run=true', () => {
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

  it('shows what a spend would do, and what would be left', async () => {
    const account = await newAccount('100')
    const url = `/v1/accounts/${account}/spend`
    const headers = { 'idempotency-key': randomUUID() }
    const preview = await api.post(`${url}?dry_run=true`, { amount: '12.50', feature: 'chat' }, headers)
    assert.equal(preview.status, 200)
    const [lot] = (await api.get(`/v1/accounts/${account}/balance`)).body.lots
    assert.deepEqual(preview.body, {
      object: 'preview',
      operation: 'spend',
      at: preview.body.at,
      outcome: 'done',
      refusal: null,
      effects: {
        postings: [
          {
            kind: 'spend',
            amount: '-12.5',
            balance_after: '87.5',
            feature: 'chat',
            reason_code: 'spend',
            lots: [{ lot: lot.id, source: 'pack', amount: '-12.5', expires_at: null }],
          },
        ],
        stripe: [],
        notices: [],
        dates: [],
      },
      balance: {
        balance: '87.5',
        held: '0',
        available: '87.5',
        debt: '0',
        lots: [{ lot: lot.id, source: 'pack', remaining: '87.5', expires_at: null }],
      },
    })
    // the key is still free, for whatever comes
    const spent = await api.post(url, { amount: '1' }, headers)
    assert.equal(spent.status, 200)
    assert.equal(spent.headers['idempotent-replayed'], undefined)
    // and a preview is not answered from what it was used for
    const again = await api.post(`${url}?dry_run=true`, { amount: '2' }, headers)
    assert.equal(again.body.balance.balance, '97')
  })

  it('shows why it would be refused, and with which status', async () => {
    const account = await newAccount('5')
    const preview = await api.post(`/v1/accounts/${account}/spend?dry_run=true`, { amount: '6' })
    assert.equal(preview.status, 200)
    assert.equal(preview.body.outcome, 'refused')
    assert.deepEqual(preview.body.refusal, {
      code: 'insufficient_credits',
      status: 402,
      detail: '5 credits are available, 6 were asked for',
      available: '5',
    })
    assert.deepEqual(preview.body.effects.postings, [])
  })

  it('tells nothing that others post while it waits for the wallet', async () => {
    const account = await newAccount('100')
    const other = await api.database.owner.connect()
    try {
      await other.query('begin')
      await spend(other, { account, key: 'theirs', amount: parseCredits('10'), actor: 'test' })
      const asked = api.post(`/v1/accounts/${account}/spend?dry_run=true`, { amount: '1' })
      await waitsForLock(api.database)
      await other.query('commit')
      const { effects, balance } = (await asked).body
      assert.deepEqual(
        effects.postings.map(({ amount }: { amount: string }) => amount),
        ['-1'],
      )
      assert.equal(balance.balance, '89')
    } finally {
      other.release()
    }
  })

  it('refuses what is not valid or not allowed as without it', async () => {
    const account = await newAccount('1')
    const url = `/v1/accounts/${account}/spend?dry_run=true`
    assert.equal((await api.post(url, { amount: '0' })).body.code, 'credits_invalid')
    assert.equal((await api.post(url, { amount: 1 })).status, 400)
    assert.equal((await api.post(url, { amount: '1' }, { 'idempotency-key': '' })).status, 400)
    // whatever there is or not: this account never asked for top-up and has no card
    const settings = { pack: 'credits_25', monthly_max_minor: '10000', return_url: 'https://a.example' }
    for (const dry of ['', '?dry_run=true']) {
      const topUp = { enabled: true, threshold: '0', ...settings }
      const answer = await api.post(`/v1/accounts/${account}/top_up${dry}`, topUp)
      assert.deepEqual([answer.status, answer.body.code], [400, 'credits_invalid'], dry)
      const endpoint = await api.post(`/v1/webhook_endpoints${dry}`, { url: 'http://127.0.0.1' })
      assert.deepEqual([endpoint.status, endpoint.body.code], [400, 'endpoint_url_refused'], dry)
    }
    const key = await createApiKey(api.database.owner, { name: 'reads', scopes: ['read'] })
    assert.equal((await api.post(url, { amount: '1' }, { authorization: `Bearer ${key}` })).status, 403)
  })

  it('says that nobody can say what a workflow would do while Temporal is down, but what is refused before', async () => {
    const account = await newAccount('1')
    const body = { account, plan: 'pro', success_url: 'https://a.example', cancel_url: 'https://a.example' }
    const refused = await api.post('/v1/subscriptions?dry_run=true', body)
    assert.deepEqual([refused.status, refused.body.refusal.code], [200, 'plan_not_found'])
    await sell(api.database, 'pro')
    const { status, body: problem, headers } = await api.post('/v1/subscriptions?dry_run=true', body)
    assert.deepEqual([status, problem.code, headers['retry-after']], [503, 'unavailable', '1'])
    assert.deepEqual((await api.get(`/v1/subscriptions?account=${account}`)).body.data, [])
  })
})
