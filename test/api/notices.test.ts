import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApiKey } from '../../src/store/api-key.ts'
import { assertBooks } from '../support/ledger.ts'
import { tell } from '../support/outbox.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

describe('notices and webhook endpoints', () => {
  let api: ApiUnderTest
  let account: string
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())
  beforeEach(async () => {
    account = (await api.post('/v1/accounts', { email: 'ada@example.com', name: 'Ada' })).body.id
    await api.database.owner.query('truncate notice, webhook_endpoint cascade')
  })
  afterEach(() => assertBooks(api.database))

  const URL = 'https://product.example/hooks'
  const register = async (more: object = {}) =>
    (await api.post('/v1/webhook_endpoints', { url: URL, ...more })).body

  it('list by account and by kind, newest first, page by page', async () => {
    const other = (await api.post('/v1/accounts', {})).body.id
    const ids = []
    for (const cause of ['pst_1', 'pst_2', 'pst_3']) ids.unshift(await tell(api.database, account, cause))
    await tell(api.database, other)
    const first = (await api.get(`/v1/notices?account=${account}&limit=2`)).body
    const rest = (await api.get(`/v1/notices?account=${account}&limit=2&cursor=${first.next_cursor}`)).body
    const listed = [...first.data, ...rest.data].map(({ id }: { id: string }) => id)
    assert.deepEqual(listed.toSorted(), ids.toSorted())
    assert.deepEqual([first.has_more, rest.has_more], [true, false])
    assert.equal((await api.get('/v1/notices?kind=balance_low')).body.data.length, 4)
    assert.deepEqual((await api.get('/v1/notices?kind=plan_changed')).body.data, [])
    assert.equal((await api.get('/v1/notices?kind=nothing')).status, 400)
    assert.equal((await api.get('/v1/notices?account=acc_0')).status, 404)
    const { data, cause, type } = (await api.get(`/v1/notices/${ids[0]}`)).body
    assert.deepEqual(
      [type, cause, data],
      ['balance.low', { posting: 'pst_3' }, { available: '3', threshold: '5' }],
    )
  })

  it('show the e-mail as it is sent, without a mail server and without personal data', async () => {
    const { status, body } = await api.get(`/v1/notices/${await tell(api.database, account)}/preview`)
    assert.equal(status, 200)
    assert.equal(body.subject, 'You are running low on credits · Product')
    assert.match(body.text, /You have 3 credits left/)
    assert.match(body.html, /^<!doctype html>/)
    assert.doesNotMatch(JSON.stringify(body), /Ada|ada@/)
  })

  it('say what became of each delivery', async () => {
    const { id: endpoint } = await register()
    const notice = await tell(api.database, account)
    const { data } = (await api.get(`/v1/notices/${notice}/deliveries`)).body
    assert.deepEqual(
      data.map(({ channel, endpoint, state, attempts }: Record<string, unknown>) => [
        channel,
        endpoint,
        state,
        attempts,
      ]),
      [
        ['email', null, 'pending', 0],
        ['webhook', endpoint, 'pending', 0],
      ],
    )
    assert.equal((await api.get('/v1/notices/ntc_0/deliveries')).body.code, 'notice_not_found')
  })

  it('an endpoint’s secret is shown when it is made or rotated, and to nobody else', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const made = await api.post('/v1/webhook_endpoints', { url: URL, events: ['balance.low'] }, headers)
    assert.equal(made.status, 201)
    const { secret, ...endpoint } = made.body
    assert.match(secret, /^whsec_[\w+/]{32}$/)
    assert.equal(
      (await api.post('/v1/webhook_endpoints', { url: URL, events: ['balance.low'] }, headers)).text,
      made.text,
    )
    assert.deepEqual((await api.get(`/v1/webhook_endpoints/${endpoint.id}`)).body, endpoint)
    assert.deepEqual((await api.get('/v1/webhook_endpoints')).body.data, [endpoint])
    const rotated = (await api.post(`/v1/webhook_endpoints/${endpoint.id}/rotate_secret`, {})).body
    assert.notEqual(rotated.secret, secret)
    assert.ok(rotated.old_secret_until > endpoint.created_at)
    assert.ok(!api.lines.some((line) => line.includes(secret) || line.includes(rotated.secret)))
    const { rows } = await api.database.owner.query(
      `select reason_code from audit_log where subject = $1 order by id`,
      [endpoint.id],
    )
    assert.deepEqual(
      rows.map((row) => row.reason_code),
      ['registered', 'secret_rotated'],
    )
  })

  it('an endpoint is changed in what is said, and switched off and on', async () => {
    const { id } = await register({ events: ['balance.low'] })
    const change = async (body: object) => (await api.post(`/v1/webhook_endpoints/${id}`, body)).body
    assert.deepEqual((await change({ enabled: false })).events, ['balance.low'])
    assert.equal((await change({ events: null })).events, null)
    assert.equal((await change({ url: 'https://other.example/' })).url, 'https://other.example/')
    assert.equal((await api.get(`/v1/webhook_endpoints/${id}`)).body.enabled, false)
    assert.equal((await change({ enabled: true })).enabled, true)
  })

  it('a delivery is made once more when a person says so, and once for a key', async () => {
    const { id } = await register()
    await tell(api.database, account)
    await api.database.owner.query(
      `update notice_delivery set state = 'failed', finished_at = now(), attempts = 45 where target = $1`,
      [id],
    )
    const { data } = (await api.get(`/v1/webhook_endpoints/${id}/deliveries?state=failed`)).body
    const path = `/v1/webhook_endpoints/${id}/deliveries/${data[0].id}/resend`
    const headers = { 'idempotency-key': randomUUID() }
    const again = await api.post(path, {}, headers)
    assert.deepEqual([again.body.state, again.body.attempts], ['pending', 0])
    await api.database.owner.query(`update notice_delivery set attempts = 3 where target = $1`, [id])
    assert.equal((await api.post(path, {}, headers)).text, again.text)
    assert.equal((await api.get(`/v1/webhook_endpoints/${id}/deliveries`)).body.data[0].attempts, 3)
    const elsewhere = await register()
    const stray = await api.post(`/v1/webhook_endpoints/${elsewhere.id}/deliveries/${data[0].id}/resend`, {})
    assert.equal(stray.body.code, 'delivery_not_found')
  })

  it('refuse URLs that webhooks cannot go to, types that nobody sends, and whoever may not', async () => {
    for (const url of [
      'http://product.example',
      'https://ada:secret@product.example',
      'https://product.example/#here',
      'https://127.0.0.1',
      'https://0x7f.1',
      'https://[::1]/',
      'https://localhost',
      'https://metadata.google.internal',
      'https://intranet',
      'ftp://product.example',
      'product.example',
    ]) {
      const { status, body } = await api.post('/v1/webhook_endpoints', { url })
      assert.deepEqual([status, body.code], [400, 'endpoint_url_refused'], url)
    }
    const { id } = await register()
    const moved = await api.post(`/v1/webhook_endpoints/${id}`, { url: 'https://10.0.0.1' })
    assert.equal(moved.body.code, 'endpoint_url_refused')
    const unknown = await api.post('/v1/webhook_endpoints', { url: URL, events: ['moon.full'] })
    assert.equal(unknown.body.code, 'request_invalid')
    const longest = `/v1/webhook_endpoints/${'x'.repeat(9_000)}`
    for (const path of [longest, `${longest}/rotate_secret`])
      assert.equal((await api.post(path, {})).body.code, 'endpoint_not_found')
    assert.equal(
      (await api.post(`/v1/webhook_endpoints/${id}/deliveries/dlv_0/resend`, {})).body.code,
      'delivery_not_found',
    )
    const clerk = await createApiKey(api.database.owner, { name: 'clerk', scopes: ['read', 'grants'] })
    const authorization = { authorization: `Bearer ${clerk}` }
    const missing = await api.post('/v1/webhook_endpoints', { url: URL }, authorization)
    assert.deepEqual([missing.status, missing.body.scope], [403, 'webhooks'])
  })

  it('a preview registers nothing', async () => {
    const { status, body } = await api.post('/v1/webhook_endpoints?dry_run=true', { url: URL })
    assert.deepEqual([status, body.object, body.outcome], [200, 'preview', 'done'])
    assert.deepEqual((await api.get('/v1/webhook_endpoints')).body.data, [])
  })

  it('in the sandbox an endpoint may be on this machine', async () => {
    const sandbox = await startApi({ anywhere: true, beside: api })
    try {
      const { status } = await sandbox.post('/v1/webhook_endpoints', { url: 'http://127.0.0.1:4000/hooks' })
      assert.equal(status, 201)
    } finally {
      await sandbox.close()
    }
  })
})
