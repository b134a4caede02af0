import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { type ApiUnderTest, fund, sell, startApi, stripeEvent } from './api-under-test.ts'

describe('the server', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
    await sell(api.database, 'pro')
  })
  after(() => api.close())

  it('describes itself in OpenAPI 3.1, whole and without loose ends', async () => {
    const { status, body } = await api.send({ method: 'GET', url: '/openapi.json' })
    assert.equal(status, 200)
    assert.match(body.openapi, /^3\.1\./)
    assert.equal(body.info.title, 'Perennial')
    const ids: string[] = []
    for (const [path, operations] of Object.entries<Record<string, Record<string, unknown>>>(body.paths)) {
      assert.match(path, /^\//)
      for (const [method, operation] of Object.entries(operations)) {
        assert.ok(['delete', 'get', 'post'].includes(method), method)
        assert.ok(operation['summary'], `${method} ${path} has no summary`)
        assert.ok(operation['responses'], `${method} ${path} has no answers`)
        ids.push(`${method} ${path}`)
        for (const [, name] of path.matchAll(/\{(\w+)\}/g)) {
          const parameters = operation['parameters'] as { in: string; name: string; required: boolean }[]
          assert.ok(
            parameters.some((one) => one.in === 'path' && one.name === name && one.required),
            `${path} ${name}`,
          )
        }
      }
    }
    assert.equal(new Set(ids).size, ids.length)
    const text = JSON.stringify(body)
    for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
      assert.ok(body.components.schemas[name ?? ''], `${name} is referred to and not there`)
    }
    assert.doesNotMatch(text, /PLACEHOLDER|"\$schema"/)
  })

  it('describes bodies by schemas that are valid JSON Schema', async () => {
    const { body } = await api.send({ method: 'GET', url: '/openapi.json' })
    const { components } = body
    let compiled = 0
    const visit = (at: unknown): void => {
      if (typeof at !== 'object' || at === null) return
      for (const [name, inner] of Object.entries(at)) {
        if (name === 'schema') {
          new Ajv2020({ strict: false, validateFormats: false }).compile({ ...inner, components })
          compiled += 1
        } else visit(inner)
      }
    }
    visit(body.paths)
    assert.ok(compiled > 40, String(compiled))
  })

  it('documents every route, each with its scope and its problems', async () => {
    const { body } = await api.send({ method: 'GET', url: '/openapi.json' })
    const routes = [
      'delete /v1/subscriptions/{id}/pending_change',
      'get /healthz',
      'get /readyz',
      'get /v1/accounts',
      'get /v1/accounts/{account}',
      'get /v1/accounts/{account}/balance',
      'get /v1/accounts/{account}/holds',
      'get /v1/accounts/{account}/ledger',
      'get /v1/accounts/{account}/top_up',
      'get /v1/accounts/{account}/usage',
      'get /v1/approvals',
      'get /v1/approvals/{id}',
      'get /v1/catalog',
      'get /v1/commands/{id}',
      'get /v1/holds/{hold}',
      'get /v1/notices',
      'get /v1/notices/{notice}',
      'get /v1/notices/{notice}/deliveries',
      'get /v1/notices/{notice}/preview',
      'get /v1/purchases',
      'get /v1/purchases/{id}',
      'get /v1/spends/{spend}',
      'get /v1/subscriptions',
      'get /v1/subscriptions/{id}',
      'get /v1/subscriptions/{id}/pending_change',
      'get /v1/webhook_endpoints',
      'get /v1/webhook_endpoints/{endpoint}',
      'get /v1/webhook_endpoints/{endpoint}/deliveries',
      'post /v1/accounts',
      'post /v1/accounts/{account}/holds',
      'post /v1/accounts/{account}/spend',
      'post /v1/accounts/{account}/top_up',
      'post /v1/adjustments',
      'post /v1/approvals/{id}/approve',
      'post /v1/approvals/{id}/reject',
      'post /v1/grants',
      'post /v1/holds/{hold}/capture',
      'post /v1/holds/{hold}/release',
      'post /v1/portal_sessions',
      'post /v1/purchases',
      'post /v1/spends/{spend}/reverse',
      'post /v1/subscriptions',
      'post /v1/subscriptions/{id}/cancel',
      'post /v1/subscriptions/{id}/change',
      'post /v1/subscriptions/{id}/resume',
      'post /v1/webhook_endpoints',
      'post /v1/webhook_endpoints/{endpoint}',
      'post /v1/webhook_endpoints/{endpoint}/deliveries/{delivery}/resend',
      'post /v1/webhook_endpoints/{endpoint}/rotate_secret',
      'post /webhooks/stripe',
    ]
    const documented = Object.entries<Record<string, unknown>>(body.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method} ${path}`),
    )
    assert.deepEqual(documented.sort(), routes)
    const served = api.app.printRoutes({ commonPrefix: false })
    assert.equal(
      served.match(/\b(DELETE|GET|POST)\b/g)?.length,
      routes.length + 5,
      'and the pages of the documentation, and the metrics',
    )
    for (const [path, operations] of Object.entries<Record<string, never>>(body.paths)) {
      for (const operation of Object.values<Record<string, never>>(operations)) {
        if (!path.startsWith('/v1/')) continue
        assert.deepEqual(operation['security'], [{ key: [] }], path)
        assert.match(operation['description'] ?? '', /Scope: `[a-z:]+`/)
        for (const status of ['400', '401', '403', '500', '503'])
          assert.ok(operation['responses']?.[status]?.['content']?.['application/problem+json'], path)
      }
    }
  })

  it('asks for the Idempotency-Key in the document of every POST under /v1', async () => {
    const { body } = await api.send({ method: 'GET', url: '/openapi.json' })
    for (const [path, { post }] of Object.entries<{ post?: { parameters?: { in: string; name: string }[] } }>(
      body.paths,
    )) {
      if (post === undefined || !path.startsWith('/v1/')) continue
      assert.ok(
        post.parameters?.some((one) => one.in === 'header' && one.name === 'idempotency-key'),
        path,
      )
    }
  })

  it('shows its documentation without asking anybody else', async () => {
    assert.equal((await api.send({ method: 'GET', url: '/docs' })).headers['location'], '/docs/')
    const page = await api.send({ method: 'GET', url: '/docs/' })
    assert.equal(page.status, 200)
    assert.match(String(page.headers['content-type']), /^text\/html/)
    assert.doesNotMatch(page.text, /https?:\/\/(?!www\.w3\.org)/)
    assert.match(String(page.headers['content-security-policy']), /connect-src 'self'/)
    const [, script] = /<script src="([^"]+)"/.exec(page.text) ?? []
    assert.equal((await api.send({ method: 'GET', url: `/docs/${script}` })).status, 200)
  })

  it('is ready without Temporal and says what waits', async () => {
    await api.deliver(stripeEvent('invoice.paid', invoiceOf('sub_waits')))
    const { status, body } = await api.send({ method: 'GET', url: '/readyz' })
    assert.equal(status, 200)
    assert.deepEqual(body, {
      status: 'ready',
      postgres: 'up',
      temporal: 'down',
      stripe: { circuit: 'closed', trips: 0, opened_at: null, next_probe_at: null, last_reason: null },
      inbox: { backlog: 1, parked: 0 },
      open_alerts: 0,
    })
  })

  it('gives every answer an id and headers that keep it private', async () => {
    const { headers } = await api.get('/v1/catalog')
    assert.match(String(headers['request-id']), /^req_[0-9a-f]{32}$/)
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    const sent = await api.get('/v1/catalog', { 'request-id': 'req_of_the_caller' })
    assert.notEqual(sent.headers['request-id'], 'req_of_the_caller')
  })

  it('logs each request once, by ids, and nothing personal or secret', async () => {
    api.lines.length = 0
    const personal = [
      'grace@example.com',
      'Grace',
      'Hopper',
      'ext-77',
      'secret-note',
      '10 Navy Way',
      'thanks-page',
      'cus-key',
    ]
    const { body: account } = await api.post(
      '/v1/accounts',
      {
        external_id: 'ext-77',
        email: 'grace@example.com',
        name: 'Grace Hopper',
        metadata: { note: 'secret-note' },
      },
      { 'idempotency-key': 'cus-key-1' },
    )
    await api.post('/v1/accounts', { external_id: 'ext-77', name: 'Grace' })
    await api.post('/v1/accounts', '{"email": "grace@example.com",')
    await api.post('/v1/accounts', { email: 'Grace Hopper' })
    await api.get('/v1/accounts?external_id=ext-77')
    await api.get('/v1/accounts/ext-77/balance')
    await api.get('/v1/ext-77')
    await fund(api.database, account.id, '5')
    await api.post(`/v1/accounts/${account.id}/spend`, { amount: '1' }, { 'idempotency-key': 'cus-key-2' })
    const urls = { success_url: 'https://x.example/thanks-page', cancel_url: 'https://x.example/thanks-page' }
    await api.post('/v1/subscriptions', { account: account.id, plan: 'pro', ...urls })
    const event = stripeEvent('invoice.paid', {
      ...invoiceOf('sub_1'),
      customer_email: 'grace@example.com',
      customer_name: 'Grace Hopper',
      customer_address: { line1: '10 Navy Way' },
    })
    await api.deliver(event)
    await api.deliver(event, { secret: 'whsec_wrong' })

    const log = api.lines.join('')
    for (const word of [...personal, api.key, 'whsec_'])
      assert.ok(!log.includes(word), `${word} is in the log`)
    const requests = api.lines.map((line) => JSON.parse(line)).filter((line) => line.msg === 'request')
    assert.equal(requests.length, 11)
    for (const line of requests) assert.match(line.request_id, /^req_/)
    const spent = requests.find((line) => line.route === '/v1/accounts/:account/spend')
    assert.deepEqual(
      [spent.account, spent.status, spent.key],
      [account.id, 200, `key_${api.key.slice(4, 20)}`],
    )
    const delivered = requests.find((line) => line.event === event.id)
    assert.deepEqual([delivered.event_type, delivered.workflow], ['invoice.paid', 'sub_1'])
    const ordered = requests.find((line) => line.route === '/v1/subscriptions')
    assert.match(ordered.workflow, /^checkout\/ord_/)
    assert.match(ordered.command, /^cmd_/)
  })

  it('reports a bug of ours with the request’s id, without what the caller or Postgres said', async () => {
    api.lines.length = 0
    const { owner } = api.database
    await owner.query(`alter table customer add constraint no_grace check (name <> 'Grace Hopper') not valid`)
    try {
      const { status, body } = await api.post('/v1/accounts', { name: 'Grace Hopper' })
      assert.equal(status, 500)
      assert.equal(body.code, 'internal')
      assert.doesNotMatch(JSON.stringify(body), /no_grace|Grace/)
      const line = api.lines.map((text) => JSON.parse(text)).find((one) => one.msg === 'request failed')
      assert.equal(line.request_id, body.request_id)
      assert.deepEqual([line.failure[0].code, line.failure[0].constraint], ['23514', 'no_grace'])
      assert.ok(!api.lines.join('').includes('Grace'))
    } finally {
      await owner.query('alter table customer drop constraint no_grace')
    }
  })

  it('finishes what it has begun before it closes', async () => {
    const closing = await startApi()
    const id = (await closing.post('/v1/accounts', {})).body.id
    await fund(closing.database, id, '5')
    const address = await closing.app.listen({ port: 0, host: '127.0.0.1' })
    const client = await closing.database.owner.connect()
    await client.query('begin')
    await client.query('select 1 from wallet where account_id = $1 for update', [id])
    const spending = fetch(`${address}/v1/accounts/${id}/spend`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${closing.key}`,
        'idempotency-key': randomUUID(),
        'content-type': 'application/json',
      },
      body: '{"amount":"1"}',
    })
    // the spend waits for the wallet: it is inside when we close
    for (;;) {
      const { rows } = await closing.database.owner.query(`select 1 from pg_locks where not granted`)
      if (rows.length > 0) break
    }
    const closed = closing.app.close()
    await client.query('commit')
    client.release()
    assert.equal((await spending).status, 200)
    await closed
    await assert.rejects(fetch(`${address}/healthz`))
    await closing.close()
  })
})

function invoiceOf(subscription: string) {
  return {
    id: 'in_1',
    object: 'invoice',
    status: 'paid',
    parent: { type: 'subscription_details', subscription_details: { subscription } },
  }
}
