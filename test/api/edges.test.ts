import assert from 'node:assert/strict'
import { refuseUnkeepableText } from '../../src/api/body.ts'
import { Problem } from '../../src/api/problem.ts'
import { createApiKey, type Scope, SCOPES } from '../../src/store/api-key.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

/** Every route that needs a key, and what the key must be allowed to do. */
const NEEDED: Record<string, Scope> = {
  'delete /v1/subscriptions/{id}/pending_change': 'subscriptions',
  'get /v1/accounts': 'read',
  'get /v1/accounts/{account}': 'read',
  'get /v1/accounts/{account}/balance': 'read',
  'get /v1/accounts/{account}/holds': 'read',
  'get /v1/accounts/{account}/ledger': 'read',
  'get /v1/accounts/{account}/top_up': 'read',
  'get /v1/accounts/{account}/usage': 'read',
  'get /v1/approvals': 'read',
  'get /v1/approvals/{id}': 'read',
  'get /v1/catalog': 'read',
  'get /v1/commands/{id}': 'read',
  'get /v1/holds/{hold}': 'read',
  'get /v1/notices': 'read',
  'get /v1/notices/{notice}': 'read',
  'get /v1/notices/{notice}/deliveries': 'read',
  'get /v1/notices/{notice}/preview': 'read',
  'get /v1/purchases': 'read',
  'get /v1/purchases/{id}': 'read',
  'get /v1/spends/{spend}': 'read',
  'get /v1/subscriptions': 'read',
  'get /v1/subscriptions/{id}': 'read',
  'get /v1/subscriptions/{id}/pending_change': 'read',
  'get /v1/webhook_endpoints': 'read',
  'get /v1/webhook_endpoints/{endpoint}': 'read',
  'get /v1/webhook_endpoints/{endpoint}/deliveries': 'read',
  'post /v1/accounts': 'accounts',
  'post /v1/accounts/{account}/holds': 'spend',
  'post /v1/accounts/{account}/spend': 'spend',
  'post /v1/accounts/{account}/top_up': 'purchases',
  'post /v1/adjustments': 'adjustments',
  'post /v1/approvals/{id}/approve': 'approvals',
  'post /v1/approvals/{id}/reject': 'approvals',
  'post /v1/grants': 'grants',
  'post /v1/holds/{hold}/capture': 'spend',
  'post /v1/holds/{hold}/release': 'spend',
  'post /v1/portal_sessions': 'subscriptions',
  'post /v1/purchases': 'purchases',
  'post /v1/spends/{spend}/reverse': 'reverse',
  'post /v1/subscriptions': 'subscriptions',
  'post /v1/subscriptions/{id}/cancel': 'subscriptions',
  'post /v1/subscriptions/{id}/change': 'subscriptions',
  'post /v1/subscriptions/{id}/resume': 'subscriptions',
  'post /v1/webhook_endpoints': 'webhooks',
  'post /v1/webhook_endpoints/{endpoint}': 'webhooks',
  'post /v1/webhook_endpoints/{endpoint}/deliveries/{delivery}/resend': 'webhooks',
  'post /v1/webhook_endpoints/{endpoint}/rotate_secret': 'webhooks',
}

describe('every route, at its edges', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  it('is done for a key with its scope and refused to a key with any other, on every route', async () => {
    const { body } = await api.send({ method: 'GET', url: '/openapi.json' })
    const routes = Object.entries<Record<string, unknown>>(body.paths)
      .filter(([path]) => path.startsWith('/v1/'))
      .flatMap(([path, operations]) =>
        (Object.keys(operations) as ('get' | 'post' | 'delete')[]).map((method) => [method, path] as const),
      )
    assert.deepEqual(routes.map((route) => route.join(' ')).sort(), Object.keys(NEEDED))
    const keys = new Map<Scope, string>()
    for (const scope of SCOPES) {
      keys.set(scope, await createApiKey(api.database.owner, { name: scope, scopes: [scope] }))
    }
    for (const [method, path] of routes) {
      const needed = NEEDED[`${method} ${path}`]
      for (const [scope, key] of keys) {
        const answer = await api.send({
          method: method.toUpperCase(),
          url: path.replaceAll(/\{\w+\}/g, 'acc_0'),
          headers: { authorization: `Bearer ${key}`, 'idempotency-key': 'k' },
        })
        const what = `${method} ${path} with ${scope}`
        if (scope === needed) assert.notEqual(answer.status, 403, what)
        else {
          const told = [answer.status, answer.body.code, answer.body.scope]
          assert.deepEqual(told, [403, 'scope_missing', needed], what)
        }
      }
    }
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
    const refused = (given: unknown) => {
      const answers: unknown[] = []
      const request = { params: {}, query: {}, body: given }
      refuseUnkeepableText.call(undefined as never, request as never, undefined as never, (error) =>
        answers.push(error),
      )
      return answers
    }
    assert.deepEqual(refused(body), [undefined])
    const [problem] = refused({ a: ['\0'] })
    assert.ok(problem instanceof Problem && problem.code === 'text_invalid')
  })
})
