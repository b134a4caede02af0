import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect as connectSocket } from 'node:net'
import { type ApiUnderTest, fund, startApi } from './api-under-test.ts'

describe('bad input', () => {
  let api: ApiUnderTest
  let account: string
  /** the query of every table's rows */
  let content: string
  before(async () => {
    api = await startApi()
    const { rows: tables } = await api.database.owner.query<{ name: string }>(
      `select quote_ident(relname) as name from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1`,
    )
    for (const known of ['command', 'posting', 'reply', 'wallet'])
      assert.ok(tables.some(({ name }) => name === known))
    const rows = tables.map(
      ({ name }) =>
        `(select coalesce(jsonb_agg(to_jsonb(t) order by t::text), '[]') from ${name} t) as ${name}`,
    )
    content = `select ${rows.join(', ')}`
    account = (await api.post('/v1/accounts', {})).body.id
    await fund(api.database, account, '100')
  })
  after(() => api.close())

  const spend = (body: unknown, headers = {}) => api.post(`/v1/accounts/${account}/spend`, body, headers)

  /** All that is stored, each table by its rows. */
  async function everything(): Promise<Record<string, unknown>> {
    const { rows } = await api.database.owner.query(content)
    return rows[0]
  }

  /** Asks, and checks that the refusal is a whole problem and nothing was stored. */
  async function refused(ask: () => ReturnType<ApiUnderTest['get']>, status: number, code: string) {
    const before = await everything()
    const answer = await ask()
    assert.equal(answer.status, status, answer.text)
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/)
    assert.equal(answer.body.code, code)
    assert.equal(answer.body.status, status)
    assert.equal(answer.body.type, `urn:perennial:problem:${code}`)
    assert.equal(answer.body.request_id, answer.headers['request-id'])
    for (const field of ['title', 'detail']) assert.equal(typeof answer.body[field], 'string')
    assert.deepEqual(await everything(), before)
    return answer.body
  }

  const amounts: [what: string, amount: unknown, code: string][] = [
    ['zero', '0', 'credits_invalid'],
    ['zero with places', '0.00000000', 'credits_invalid'],
    ['negative', '-1', 'credits_invalid'],
    ['negative zero', '-0', 'credits_invalid'],
    ['with a plus', '+1', 'credits_invalid'],
    ['beyond the maximum', '1000000000000000.00000001', 'credits_invalid'],
    ['huge', '9'.repeat(400), 'credits_invalid'],
    ['with nine places', '0.000000001', 'credits_invalid'],
    ['with an exponent', '1e3', 'credits_invalid'],
    ['hexadecimal', '0x10', 'credits_invalid'],
    ['with separators', '1,000', 'credits_invalid'],
    ['with leading zeros', '007', 'credits_invalid'],
    ['without digits before the point', '.5', 'credits_invalid'],
    ['with spaces', ' 1', 'credits_invalid'],
    ['in other digits', '١٢', 'credits_invalid'],
    ['not a number', 'NaN', 'credits_invalid'],
    ['infinite', 'Infinity', 'credits_invalid'],
    ['empty', '', 'credits_invalid'],
    ['a JSON number', 5, 'request_invalid'],
    ['a JSON number with places', 0.1, 'request_invalid'],
    ['null', null, 'request_invalid'],
    ['a list', ['5'], 'request_invalid'],
    ['missing', undefined, 'request_invalid'],
  ]
  for (const [what, amount, code] of amounts) {
    it(`refuses an amount that is ${what}`, async () => {
      await refused(() => spend({ amount }), 400, code)
    })
  }

  it('tells whoever sends a number to send a text', async () => {
    const body = await refused(() => spend({ amount: 12.5 }), 400, 'request_invalid')
    assert.match(body.detail, /body\/amount: send an amount as a string/)
  })

  const bodies: [what: string, body: string | Buffer, status: number, code: string][] = [
    ['that ends too early', '{"amount": "1"', 400, 'json_malformed'],
    ['that is no JSON', 'amount=1', 400, 'json_malformed'],
    ['that is not UTF-8', Buffer.from('{"amount":"1","feature":"\xff"}', 'latin1'), 400, 'json_malformed'],
    ['that is empty', '', 400, 'request_invalid'],
    ['that is null', 'null', 400, 'request_invalid'],
    ['that is a list', '[]', 400, 'request_invalid'],
    ['that is a text', '"amount"', 400, 'request_invalid'],
    ['that nests without end', '['.repeat(30_000), 400, 'json_malformed'],
    ['that nests very deeply', `${'['.repeat(30_000)}${']'.repeat(30_000)}`, 400, 'request_invalid'],
    ['with a key twice', '{"amount":"1","amount":"2"}', 400, 'json_malformed'],
    ['with a key twice in two spellings', '{"amount":"1","\\u0061mount" : "2"}', 400, 'json_malformed'],
    ['with a key twice deep inside', '{"amount":"1","x":[{"\\"":1,"\\"":2}]}', 400, 'json_malformed'],
    ['that changes a prototype', '{"amount":"1","__proto__":{"x":1}}', 400, 'json_malformed'],
    ['with a field nobody knows', '{"amount":"1","overdraw":true}', 400, 'request_invalid'],
    ['with a flag that is a text', '{"amount":"1","overdraft":"true"}', 400, 'request_invalid'],
    ['with metadata that is a text', '{"amount":"1","metadata":"x"}', 400, 'request_invalid'],
    ['with NUL', '{"amount":"1","feature":"a\\u0000"}', 400, 'text_invalid'],
    ['with half a surrogate pair', '{"amount":"1","feature":"\\ud800"}', 400, 'text_invalid'],
    ['with a feature that is no slug', '{"amount":"1","feature":"Über uns"}', 400, 'request_invalid'],
    ['over the limit', JSON.stringify({ amount: '1', feature: 'x'.repeat(70_000) }), 413, 'body_too_large'],
  ]
  for (const [what, body, status, code] of bodies) {
    it(`refuses a body ${what}`, async () => {
      await refused(() => spend(body), status, code)
    })
  }

  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'nonsense']) {
    it(`refuses a body of type ${type}`, async () => {
      await refused(() => spend('{"amount":"1"}', { 'content-type': type }), 415, 'media_type_unsupported')
    })
  }

  const keys: [what: string, key: string, code: string][] = [
    ['no key', '', 'idempotency_key_required'],
    ['a key with a space', 'a b', 'idempotency_key_invalid'],
    ['a key that is too long', 'k'.repeat(256), 'idempotency_key_invalid'],
    ['a key that is not ASCII', 'schlüssel', 'idempotency_key_invalid'],
  ]
  for (const [what, key, code] of keys) {
    it(`refuses a POST with ${what}`, async () => {
      await refused(() => spend({ amount: '1' }, { 'idempotency-key': key }), 400, code)
      await refused(() => api.post('/v1/accounts', {}, { 'idempotency-key': key }), 400, code)
    })
  }

  it('takes the longest key', async () => {
    assert.equal((await spend({ amount: '1' }, { 'idempotency-key': 'k'.repeat(255) })).status, 200)
  })

  it('refuses accounts that are not there, on every route', async () => {
    for (const id of [
      'acc_0123456789',
      'acc_',
      'someone',
      `acc_${'0'.repeat(80)}`,
      'x'.repeat(9_000),
      '%20',
      "acc_'--",
    ]) {
      const path = `/v1/accounts/${id}`
      await refused(() => api.get(path), 404, 'account_not_found')
      await refused(() => api.get(`${path}/balance`), 404, 'account_not_found')
      await refused(() => api.get(`${path}/ledger`), 404, 'account_not_found')
      await refused(() => api.post(`${path}/spend`, { amount: '1' }), 404, 'account_not_found')
    }
    const long = 'x'.repeat(9_000)
    await refused(() => api.get(`/v1/subscriptions/${long}`), 404, 'subscription_not_found')
    await refused(() => api.post(`/v1/subscriptions/${long}/cancel`, {}), 404, 'subscription_not_found')
    await refused(() => api.get(`/v1/commands/${long}`), 404, 'command_not_found')
    await refused(() => api.get(`/v1/subscriptions?account=${long}`), 400, 'request_invalid')
    await refused(() => api.get('/v1/subscriptions?account=acc_0'), 404, 'account_not_found')
    await refused(() => api.get('/v1/subscriptions/ord_0'), 404, 'subscription_not_found')
    await refused(() => api.get('/v1/subscriptions/sub_0'), 404, 'subscription_not_found')
    await refused(() => api.post('/v1/subscriptions/sub_0/cancel', {}), 404, 'subscription_not_found')
    await refused(() => api.get('/v1/commands/cmd_0'), 404, 'command_not_found')
  })

  it('refuses a NUL in a path or a query', async () => {
    await refused(() => api.get('/v1/accounts/acc_%00/balance'), 400, 'text_invalid')
    await refused(() => api.get('/v1/accounts?external_id=%00'), 400, 'text_invalid')
  })

  it('refuses a path that cannot be decoded', async () => {
    const answer = await api.get('/v1/accounts/%zz')
    assert.equal(answer.status, 400)
    assert.equal(answer.body.code, 'url_malformed')
    assert.equal(answer.headers['request-id'], answer.body.request_id)
  })

  const cursors = [
    'x',
    '%22',
    'W10',
    Buffer.from('["accounts","2026-13-45T00:00:00.000Z","acc_1"]').toString('base64url'),
  ]
  for (const cursor of cursors) {
    it(`refuses the cursor ${cursor.slice(0, 12)}`, async () => {
      await refused(() => api.get(`/v1/accounts?cursor=${cursor}`), 400, 'cursor_invalid')
      await refused(() => api.get(`/v1/accounts/${account}/ledger?cursor=${cursor}`), 400, 'cursor_invalid')
      await refused(
        () => api.get(`/v1/subscriptions?account=${account}&cursor=${cursor}`),
        400,
        'cursor_invalid',
      )
    })
  }

  it('refuses the cursor of another list', async () => {
    await spend({ amount: '1' })
    const { body } = await api.get(`/v1/accounts/${account}/ledger?limit=1`)
    const other = (await api.post('/v1/accounts', {})).body.id
    await refused(
      () => api.get(`/v1/accounts/${other}/ledger?cursor=${body.next_cursor}`),
      400,
      'cursor_invalid',
    )
  })

  for (const query of [
    'limit=0',
    'limit=101',
    'limit=-1',
    'limit=x',
    'limit=1.5',
    'limit=1&limit=2',
    'page=2',
  ]) {
    it(`refuses the query ${query}`, async () => {
      await refused(() => api.get(`/v1/accounts?${query}`), 400, 'request_invalid')
    })
  }

  for (const query of ['dryrun=true', 'dry_run', 'dry_run=1', 'dry_run=TRUE', 'dry_run=true&dry_run=false']) {
    it(`refuses ${query}, an option it does not know, rather than acting without it`, async () => {
      await refused(
        () => api.post(`/v1/accounts/${account}/spend?${query}`, { amount: '1' }),
        400,
        'request_invalid',
      )
    })
  }

  const accounts: [what: string, body: Record<string, unknown>][] = [
    ['an empty external id', { external_id: '' }],
    ['a long external id', { external_id: 'x'.repeat(256) }],
    ['an e-mail that is none', { email: 'nobody' }],
    ['a name that is a number', { name: 5 }],
    ['metadata that is a list', { metadata: ['a'] }],
    ['metadata with a number', { metadata: { a: 1 } }],
    ['metadata with an object', { metadata: { a: {} } }],
    ['metadata with a long key', { metadata: { ['k'.repeat(41)]: 'v' } }],
    ['metadata with a long value', { metadata: { k: 'v'.repeat(501) } }],
    [
      'metadata with 51 keys',
      { metadata: Object.fromEntries(Array.from({ length: 51 }, (_, n) => [`k${n}`, 'v'])) },
    ],
    ['an id of its own', { id: 'acc_mine' }],
    ['a balance of its own', { balance: '100' }],
  ]
  for (const [what, body] of accounts) {
    it(`refuses an account with ${what}`, async () => {
      await refused(() => api.post('/v1/accounts', body), 400, 'request_invalid')
    })
  }

  it('keeps metadata whose keys are names of the prototype as they are', async () => {
    const metadata = { constructor: 'c', toString: 't', hasOwnProperty: 'h', valueOf: 'v' }
    const made = await api.post('/v1/accounts', { metadata })
    assert.equal(made.status, 201)
    const { body } = await api.get(`/v1/accounts/${made.body.id}`)
    assert.deepEqual({ ...body.metadata }, metadata)
    await refused(() => api.post('/v1/accounts', '{"metadata":{"__proto__":"p"}}'), 400, 'json_malformed')
  })

  it('tells a wrong path from a wrong method', async () => {
    await refused(() => api.get('/v1/nothing'), 404, 'not_found')
    await refused(() => api.get('/'), 404, 'not_found')
    const answer = await api.send({ method: 'DELETE', url: `/v1/accounts/${account}` })
    assert.equal(answer.status, 405)
    assert.equal(answer.headers['allow'], 'GET')
    assert.equal(answer.body.code, 'method_not_allowed')
    // whatever is sent with it
    for (const type of ['text/plain', 'application/json']) {
      const headers = { authorization: `Bearer ${api.key}`, 'content-type': type }
      const more = { url: '/v1/catalog', headers, payload: '{' }
      await refused(() => api.send({ method: 'PUT', ...more }), 405, 'method_not_allowed')
      await refused(() => api.send({ method: 'PUT', ...more, url: '/v1/x' }), 404, 'not_found')
    }
  })

  it('answers what is no HTTP with a problem, too', async () => {
    await api.app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = api.app.server.address() as { port: number }
    const ask = (text: string) =>
      new Promise<string>((resolve, reject) => {
        let got = ''
        const socket = connectSocket(port, '127.0.0.1', () => socket.write(text))
        socket.on('data', (bytes) => (got += String(bytes)))
        socket.on('close', () => resolve(got))
        socket.on('error', reject)
      })
    assert.match(
      await ask('NONSENSE\r\n\r\n'),
      /^HTTP\/1\.1 400 [^]*application\/problem\+json[^]*request_invalid/,
    )
    const long = `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`
    assert.match(await ask(long), /^HTTP\/1\.1 431 [^]*application\/problem\+json/)
  })

  it('says that it is unavailable, and that a retry may help, when Postgres cannot be reached', async () => {
    const lonely = await startApi()
    const id = (await lonely.post('/v1/accounts', {})).body.id
    await lonely.database.pool.end()
    const answer = await lonely.post(`/v1/accounts/${id}/spend`, { amount: '1' })
    assert.equal(answer.status, 503)
    assert.equal(answer.body.code, 'unavailable')
    assert.equal(answer.headers['retry-after'], '1')
    assert.equal((await lonely.get('/readyz')).status, 503)
    assert.equal((await lonely.get('/healthz')).status, 200)
    await lonely.close()
  })

  it('knows a key by its operation: another may use the same', async () => {
    const key = randomUUID()
    const made = await api.post('/v1/accounts', {}, { 'idempotency-key': key })
    const spent = await spend({ amount: '1' }, { 'idempotency-key': key })
    assert.deepEqual([made.status, spent.status], [201, 200])
  })
})
