import assert from 'node:assert/strict'
import {
  createApiKey,
  ensureApiKey,
  isMistyped,
  listApiKeys,
  makeApiKey,
  revokeApiKey,
  type Scope,
} from '../../src/store/api-key.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

describe('API keys', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  const as = (key: string) => api.get('/v1/accounts', { authorization: `Bearer ${key}` })
  /** Asks, and says also how often Postgres was asked for it. */
  async function counted(ask: () => ReturnType<typeof as>) {
    const { pool } = api.database
    let lookUps = 0
    const count = () => (lookUps += 1)
    pool.on('acquire', count)
    try {
      return { code: (await ask()).body.code, lookUps }
    } finally {
      pool.off('acquire', count)
    }
  }
  const newKey = (...scopes: Scope[]) => createApiKey(api.database.owner, { name: 'test', scopes })

  it('are asked for on every route under /v1 and on no other', async () => {
    const { status, body, headers } = await api.send({ method: 'GET', url: '/v1/catalog' })
    assert.equal(status, 401)
    assert.equal(body.code, 'api_key_required')
    assert.equal(headers['www-authenticate'], 'Bearer')
    assert.equal((await api.send({ method: 'GET', url: '/healthz' })).status, 200)
    const { body: contract } = await api.send({ method: 'GET', url: '/openapi.json' })
    const paths = Object.entries<Record<string, unknown>>(contract.paths)
    assert.ok(paths.some(([path]) => !path.startsWith('/v1/')))
    for (const [path, operations] of paths) {
      for (const method of Object.keys(operations)) {
        const url = path.replaceAll(/\{\w+\}/g, 'acc_0')
        const asked = (await api.send({ method: method.toUpperCase(), url })).body?.code
        assert.equal(asked === 'api_key_required', path.startsWith('/v1/'), `${method} ${path}`)
      }
    }
  })

  it('are refused before anything else about a request is looked at', async () => {
    const answer = await api.send({ method: 'POST', url: '/v1/accounts', payload: 'nonsense' })
    assert.equal(answer.body.code, 'api_key_required')
  })

  it('that are mistyped are told apart without a look-up', async () => {
    const key = await newKey('read')
    const typo = key.slice(0, 30) + (key[30] === '0' ? '1' : '0') + key.slice(31)
    assert.equal(isMistyped(typo), true)
    assert.deepEqual(await counted(() => as(typo)), { code: 'api_key_mistyped', lookUps: 0 })
    assert.deepEqual(await counted(() => as(makeApiKey())), { code: 'api_key_invalid', lookUps: 1 })
    for (const authorization of ['Basic abc', 'Bearer', 'Bearer a b', `Bearer ${'x'.repeat(400)}`]) {
      assert.equal((await api.get('/v1/accounts', { authorization })).body.code, 'api_key_invalid')
    }
  })

  it('have 192 random bits and only their hash is stored', async () => {
    const key = await newKey('read')
    assert.match(key, /^prn_[0-9a-f]{16}_[0-9a-f]{56}$/)
    const { rows } = await api.database.owner.query('select count(*) from api_key t where t::text like $1', [
      `%${key.slice(21, 40)}%`,
    ])
    assert.equal(rows[0].count, '0')
  })

  it('do only what their scopes say; to change something does not imply to read', async () => {
    const reader = await newKey('read')
    const writer = await newKey('accounts')
    assert.equal((await as(reader)).status, 200)
    const refused = await api.post('/v1/accounts', {}, { authorization: `Bearer ${reader}` })
    assert.equal(refused.status, 403)
    assert.equal(refused.body.code, 'scope_missing')
    assert.equal(refused.body.scope, 'accounts')
    assert.equal((await api.post('/v1/accounts', {}, { authorization: `Bearer ${writer}` })).status, 201)
    assert.equal((await as(writer)).status, 403)
  })

  it('stop working when they are revoked, and ensuring them again does not bring them back', async () => {
    const key = await newKey('read')
    const id = `key_${key.slice(4, 20)}`
    assert.equal(await revokeApiKey(api.database.owner, id), true)
    assert.equal(await revokeApiKey(api.database.owner, id), false, 'it was revoked before')
    assert.equal(await revokeApiKey(api.database.owner, 'key_0'), false, 'there is no such key')
    await ensureApiKey(api.database.ownerUrl, key, ['read'])
    const { status, body } = await as(key)
    assert.equal(status, 401)
    assert.equal(body.code, 'api_key_revoked')
  })

  it('that were used are believed for five seconds, without a round trip', async () => {
    const key = await newKey('read')
    const clock = performance.now.bind(performance)
    const at = clock()
    // refused for its scope, so that Postgres is asked for nothing but the key
    const after = (ms: number) => {
      performance.now = () => at + ms
      return counted(() => api.post('/v1/accounts', {}, { authorization: `Bearer ${key}` }))
    }
    try {
      assert.deepEqual(await after(0), { code: 'scope_missing', lookUps: 1 })
      await revokeApiKey(api.database.owner, `key_${key.slice(4, 20)}`)
      assert.deepEqual(await after(4_999), { code: 'scope_missing', lookUps: 0 })
      assert.deepEqual(await after(5_000), { code: 'api_key_revoked', lookUps: 1 })
    } finally {
      performance.now = clock
    }
  })

  it('may be chosen by an operator', async () => {
    const chosen = 'an-operators-own-key-42'
    await ensureApiKey(api.database.ownerUrl, chosen, ['read', 'spend'])
    await ensureApiKey(api.database.ownerUrl, chosen, ['read', 'spend'])
    assert.equal((await as(chosen)).status, 200)
    await assert.rejects(ensureApiKey(api.database.ownerUrl, 'short', ['read']), /20 to 200/)
    await assert.rejects(ensureApiKey(api.database.ownerUrl, chosen, ['admin' as Scope]), /scopes/)
    await assert.rejects(newKey('write' as Scope), /scopes/)
  })

  it('are listed with what each may do, and without what would let somebody use it', async () => {
    const key = await createApiKey(api.database.owner, { name: 'till 7', scopes: ['spend', 'overdraft'] })
    const listed = await listApiKeys(api.database.owner)
    const mine = listed.find((one) => one.name === 'till 7')
    assert.deepEqual(
      [mine?.id, mine?.scopes, mine?.revokedAt],
      [`key_${key.slice(4, 20)}`, ['spend', 'overdraft'], null],
    )
    assert.doesNotMatch(JSON.stringify(listed), new RegExp(`hash|${key.slice(21, 40)}`))
  })

  it('name whoever acted in what was done', async () => {
    const id = (await api.post('/v1/accounts', {})).body.id
    await api.database.owner.query(
      `select ledger_grant($1, 'k', 'h', 'pack', 5, null, 100::smallint, null, null, null, 'system:sold', 'test', 'test', '{}')`,
      [id],
    )
    await api.post(`/v1/accounts/${id}/spend`, { amount: '1' })
    const { body } = await api.get(`/v1/accounts/${id}/ledger`)
    assert.equal(body.data[0].actor, `key_${api.key.slice(4, 20)}`)
  })
})
