import assert from 'node:assert/strict'
import { refuseUnkeepableText } from '../../src/api/body.ts'
import { ensureApiKey, makeApiKey } from '../../src/store/api-key.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

describe('every route, at its edges', () => {
  let api: ApiUnderTest
  const keys: Record<string, string> = { read: makeApiKey(), write: makeApiKey() }
  before(async () => {
    api = await startApi()
    for (const [scope, key] of Object.entries(keys)) await ensureApiKey(api.database.ownerUrl, key, [scope])
  })
  after(() => api.close())

  it('what changes something asks for the scope write, what reads for read', async () => {
    const { body } = await api.send({ method: 'GET', url: '/openapi.json' })
    const asked: string[] = []
    for (const [path, operations] of Object.entries<Record<string, unknown>>(body.paths)) {
      if (!path.startsWith('/v1/')) continue
      for (const method of Object.keys(operations)) {
        const needed = method === 'get' ? 'read' : 'write'
        const other = keys[needed === 'read' ? 'write' : 'read']
        const answer = await api.send({
          method: method === 'get' ? 'GET' : 'POST',
          url: path.replaceAll(/\{\w+\}/g, 'acc_0'),
          headers: { authorization: `Bearer ${other}`, 'idempotency-key': 'k' },
        })
        const told = [answer.status, answer.body.code, answer.body.scope]
        assert.deepEqual(told, [403, 'scope_missing', needed], `${method} ${path}`)
        asked.push(method)
      }
    }
    assert.deepEqual(new Set(asked), new Set(['get', 'post']))
  })

  it('a text that is not UTF-8 is refused, not mended, where every character would be taken', async () => {
    const name = (...bytes: number[]) =>
      Buffer.concat([Buffer.from('{"name":"'), Buffer.from(bytes), Buffer.from('"}')])
    assert.equal((await api.post('/v1/accounts', name(0xc3, 0xbf))).body.name, 'ÿ')
    const { status, body } = await api.post('/v1/accounts', name(0xff))
    assert.deepEqual([status, body.code], [400, 'json_malformed'])
  })

  it('a body that is kept as bytes is not walked through byte by byte', async () => {
    const body = Buffer.from('{"id":"evt_1"}')
    Object.defineProperty(body, 'walked', {
      enumerable: true,
      get: () => assert.fail('somebody looks at every entry'),
    })
    await refuseUnkeepableText({ params: {}, query: {}, body } as never)
    await assert.rejects(refuseUnkeepableText({ params: {}, query: {}, body: { a: ['\0'] } } as never))
  })
})
