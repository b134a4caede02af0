import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type ApiUnderTest, fund, startApi } from './api-under-test.ts'

describe('accounts', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  async function newAccount(credits?: string): Promise<string> {
    const { body } = await api.post('/v1/accounts', {})
    if (credits !== undefined) await fund(api.database, body.id, credits)
    return body.id
  }

  const count = async (sql: string, values: unknown[] = []) =>
    Number((await api.database.owner.query(`select count(*) from ${sql}`, values)).rows[0].count)

  it('makes an account that can be read, with an empty wallet', async () => {
    const made = await api.post('/v1/accounts', {
      external_id: 'team-1',
      name: 'Ada',
      metadata: { tier: 'beta' },
    })
    assert.equal(made.status, 201)
    assert.match(made.body.id, /^acc_[0-9a-f]{32}$/)
    assert.equal(made.body.object, 'account')
    assert.deepEqual((await api.get(`/v1/accounts/${made.body.id}`)).body, made.body)
    const { body } = await api.get(`/v1/accounts/${made.body.id}/balance`)
    assert.deepEqual(body, {
      account: made.body.id,
      balance: '0',
      held: '0',
      available: '0',
      debt: '0',
      lots: [],
    })
  })

  it('answers a repeated request with the same bytes and says so', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const request = { external_id: 'repeated', metadata: { zebra: '1', a: '2' } }
    const first = await api.post('/v1/accounts', request, headers)
    const second = await api.post(
      '/v1/accounts',
      { metadata: { a: '2', zebra: '1' }, external_id: 'repeated' },
      headers,
    )
    assert.equal(second.status, 201)
    assert.equal(second.text, first.text)
    assert.equal(first.headers['idempotent-replayed'], undefined)
    assert.equal(second.headers['idempotent-replayed'], 'true')
  })

  it('refuses a key that was used for another request', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    await api.post('/v1/accounts', { name: 'one' }, headers)
    const { status, body } = await api.post('/v1/accounts', { name: 'two' }, headers)
    assert.equal(status, 409)
    assert.equal(body.code, 'idempotency_key_reused')
  })

  it('refuses a key whose first request has not been committed', async () => {
    const key = randomUUID()
    const client = await api.database.owner.connect()
    try {
      await client.query('begin')
      await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [
        JSON.stringify(['command', 'accounts', 'create', key]),
      ])
      const { status, body } = await api.post('/v1/accounts', {}, { 'idempotency-key': key })
      assert.equal(status, 409)
      assert.equal(body.code, 'idempotency_in_progress')
    } finally {
      await client.query('rollback')
      client.release()
    }
    assert.equal((await api.post('/v1/accounts', {}, { 'idempotency-key': key })).status, 201)
  })

  it('makes one account of forty requests with one key at once', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const before = await count('account')
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => api.post('/v1/accounts', { name: 'x' }, headers)),
    )
    assert.equal(await count('account'), before + 1)
    const made = new Set(answers.filter((answer) => answer.status === 201).map((answer) => answer.text))
    assert.equal(made.size, 1)
    for (const { status, body } of answers) {
      assert.ok(status === 201 || body.code === 'idempotency_in_progress', `${status} ${body.code}`)
    }
  })

  it('refuses a second account with the same external id and names the first', async () => {
    const { body: first } = await api.post('/v1/accounts', { external_id: 'taken' })
    const before = await count('account')
    const key = randomUUID()
    const { status, body } = await api.post(
      '/v1/accounts',
      { external_id: 'taken' },
      { 'idempotency-key': key },
    )
    assert.equal(status, 409)
    assert.equal(body.code, 'external_id_taken')
    assert.equal(body.account, first.id)
    assert.equal(await count('account'), before)
    assert.equal(await count('command where key = $1', [key]), 0)
  })

  it('keeps personal data in the customer table only, in notes and in what was answered', async () => {
    const email = 'grace@example.com'
    await api.post('/v1/accounts', {
      external_id: 'ext-grace',
      email,
      name: 'Grace H',
      metadata: { note: 'met-grace' },
    })
    const account = await newAccount('10')
    const metadata = { for: 'Grace' }
    const spent = await api.post(`/v1/accounts/${account}/spend`, { amount: '1', metadata })
    await api.post(`/v1/spends/${spent.body.id}/reverse`, { metadata })
    const held = await api.post(`/v1/accounts/${account}/holds`, { amount: '1', metadata })
    await api.post(`/v1/holds/${held.body.id}/capture`, { amount: '1', metadata })
    const gift = { account, amount: '1', kind: 'goodwill', reason_code: 'test', metadata }
    assert.equal((await api.post('/v1/grants', gift)).status, 201)
    assert.equal(await count(`note where metadata ->> 'for' = 'Grace'`), 5)
    const { rows } = await api.database.owner.query<{ name: string }>(
      `select table_name as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`,
    )
    for (const { name } of rows) {
      if (['customer', 'reply', 'note'].includes(name)) continue
      const found = await count(`"${name}" t where t::text ~ 'grace|Grace'`)
      assert.equal(found, 0, name)
    }
  })

  it('lists accounts newest first, page by page, and by external id', async () => {
    const made: string[] = []
    for (let index = 0; index < 5; index += 1)
      made.unshift((await api.post('/v1/accounts', { external_id: `l${index}` })).body.id)
    const seen: string[] = []
    let cursor = ''
    do {
      const { body } = await api.get(`/v1/accounts?limit=2${cursor && `&cursor=${cursor}`}`)
      seen.push(...body.data.map((account: { id: string }) => account.id))
      cursor = body.next_cursor ?? ''
      assert.equal(body.has_more, cursor !== '')
    } while (cursor !== '')
    assert.deepEqual(new Set(seen).size, seen.length)
    assert.equal(seen.length, await count('account'))
    assert.deepEqual(new Set(seen.slice(0, 5)), new Set(made))
    const { body } = await api.get('/v1/accounts?external_id=l3')
    assert.deepEqual(
      body.data.map((account: { id: string }) => account.id),
      [made[1]],
    )
  })

  it('shows the ledger newest first, page by page', async () => {
    const account = await newAccount('10')
    for (const amount of ['1', '2', '3']) await api.post(`/v1/accounts/${account}/spend`, { amount })
    const first = await api.get(`/v1/accounts/${account}/ledger?limit=3`)
    assert.deepEqual(
      first.body.data.map((entry: { amount: string; balance_after: string }) => [
        entry.amount,
        entry.balance_after,
      ]),
      [
        ['-3', '4'],
        ['-2', '7'],
        ['-1', '9'],
      ],
    )
    const second = await api.get(`/v1/accounts/${account}/ledger?limit=3&cursor=${first.body.next_cursor}`)
    assert.deepEqual(
      second.body.data.map((entry: { kind: string }) => entry.kind),
      ['grant'],
    )
    assert.equal(second.body.has_more, false)
  })
})
