import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type Stripe from 'stripe'
import { translate } from '../../src/activities/translate.ts'
import { createAdmission, readBreaker } from '../../src/store/breaker.ts'
import { waitingBuckets } from '../../src/store/stripe-bucket.ts'
import { endpointOf, type StripeCall, stripeDoor } from '../../src/stripe/edge.ts'
import { stripeClient } from '../../src/stripe/gateway.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

/** What the other side does with a request. */
type Fate = (response: ServerResponse) => void

const answer =
  (status: number, body: object = { id: 'cus_1' }, headers: Record<string, string> = {}): Fate =>
  (response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
const refusal = (status: number, code: string, headers = {}): Fate =>
  answer(status, { error: { type: 'invalid_request_error', code, message: 'no' } }, headers)
const silence: Fate = () => {}
const cut: Fate = (response) => response.destroy()
const half: Fate = (response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
  response.write('{"id":', () => response.destroy())
}

describe('the door to Stripe', function () {
  this.timeout(30_000)
  let database: TestDatabase
  let fate: Fate = answer(200)
  let arrived = 0
  const calls: StripeCall[] = []
  const server = createServer((request, response) => {
    arrived += 1
    request.resume()
    fate(response)
  })
  before(async () => {
    database = await createDatabase()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(async () => {
    server.closeAllConnections()
    server.close()
    await database.drop()
  })
  beforeEach(async () => {
    arrived = 0
    calls.length = 0
    // what is open stays open for the test
    await database.owner.query(`truncate stripe_bucket; delete from circuit_breaker;
      insert into circuit_breaker (name, backoff_first, backoff_max) values ('stripe', '1 hour', '1 hour')`)
  })

  /** A process: it has a client of its own, and shares nothing but Postgres. */
  function client(rates = { account: 10_000, endpoint: 10_000 }): Stripe {
    const door = stripeDoor(createAdmission(database.pool, rates), (call) => calls.push(call))
    return stripeClient('sk_test_door', `http://127.0.0.1:${(server.address() as AddressInfo).port}`, 0, door)
  }
  /** Only what never comes is not waited for. */
  const ask = (stripe: Stripe) =>
    stripe.customers.retrieve('cus_1', {}, { timeout: fate === silence ? 300 : 15_000 })
  const failure = (stripe: Stripe) =>
    ask(stripe).then(
      () => assert.fail('it was answered'),
      (error: unknown) => translate(error) as { type: string; nextRetryDelay?: number; message: string },
    )

  for (const [what, bad] of [
    ['a 500', answer(500, { error: { type: 'api_error', message: 'no' } })],
    ['a 503', answer(503, { error: { type: 'api_error', message: 'no' } })],
    ['silence', silence],
    ['a broken connection', cut],
    ['half an answer', half],
  ] as const) {
    it(`${what} is an outage: five of them and nobody calls any more, from any process`, async () => {
      fate = bad
      const stripe = client()
      // a connection that broke is tried once more by the client itself
      for (let call = 0; call < 5 && (await readBreaker(database.pool)).state === 'closed'; call += 1)
        await failure(stripe)
      assert.equal((await readBreaker(database.pool)).state, 'open')
      const before = arrived
      assert.equal(before, 5)
      for (const one of [stripe, client()]) {
        const { type, nextRetryDelay } = await failure(one)
        assert.equal(type, 'StripeUnavailable')
        assert.ok(Number(nextRetryDelay) > 60_000, `${nextRetryDelay}`)
      }
      assert.equal(arrived, before)
      assert.equal(calls.filter(({ outcome }) => outcome === 'outage').length, 5)
      assert.equal(calls.at(-1)?.outcome, 'unavailable')
    })
  }

  it('the call whose failure opens it says that Stripe is away, and not that it was refused', async () => {
    fate = answer(503, {})
    const stripe = client()
    const types = []
    for (let call = 0; call < 5; call += 1) types.push((await failure(stripe)).type)
    assert.deepEqual(types, [...Array.from({ length: 4 }, () => 'StripeFailed'), 'StripeUnavailable'])
  })

  it('refusals, declines, locks and repetitions of an old 500 never open it', async () => {
    for (const one of [
      refusal(400, 'parameter_invalid'),
      refusal(401, 'api_key_expired'),
      refusal(402, 'card_declined'),
      refusal(403, 'no_permission'),
      refusal(404, 'resource_missing'),
      refusal(409, 'idempotency_key_in_use'),
      refusal(429, 'lock_timeout'),
      answer(500, { error: { type: 'api_error' } }, { 'idempotent-replayed': 'true' }),
    ]) {
      fate = one
      // of a process that has no answers of before to set against them
      const stripe = client()
      for (let call = 0; call < 6; call += 1)
        assert.notEqual((await failure(stripe)).type, 'StripeUnavailable')
    }
    assert.equal(arrived, 48)
    assert.equal((await readBreaker(database.pool)).state, 'closed')
    assert.deepEqual(await waitingBuckets(database.pool), [])
  })

  it('an answer closes it again, whatever the answer is', async () => {
    const stripe = client()
    for (const one of [answer(200), refusal(404, 'resource_missing'), refusal(429, 'rate_limit')]) {
      await database.owner.query(
        `update circuit_breaker set state = 'open', opened_at = clock_timestamp(), retry_at = clock_timestamp()`,
      )
      fate = one
      await ask(stripe).catch(() => undefined)
      assert.equal((await readBreaker(database.pool)).state, 'closed')
    }
  })

  it('a 429 keeps the endpoint or the whole account waiting, by its reason', async () => {
    const stripe = client()
    fate = refusal(429, 'rate_limit', { 'stripe-rate-limited-reason': 'endpoint-rate' })
    assert.equal((await failure(stripe)).type, 'StripeBusy')
    fate = answer(200, { data: [], has_more: false })
    assert.equal((await failure(stripe)).type, 'StripeBusy')
    assert.equal(arrived, 1)
    await client().customers.list()
    fate = refusal(429, 'rate_limit', { 'stripe-rate-limited-reason': 'global-concurrency' })
    await assert.rejects(stripe.products.list())
    await assert.rejects(client().prices.list(), /connection/)
    assert.equal(arrived, 3)
    assert.deepEqual(
      calls.map(({ endpoint, outcome }) => `${endpoint} ${outcome}`),
      [
        'GET /v1/customers/:id rate_limited',
        'GET /v1/customers/:id busy',
        'GET /v1/customers answered',
        'GET /v1/products rate_limited',
        'GET /v1/prices busy',
      ],
    )
  })

  it('endpoints are named without ids', () => {
    for (const [path, endpoint] of [
      ['/v1/customers?limit=3', 'GET /v1/customers'],
      ['/v1/subscriptions/sub_1?expand[0]=x', 'GET /v1/subscriptions/:id'],
      ['/v1/invoices/in_1/lines', 'GET /v1/invoices/:id/lines'],
      ['/v1/invoices/create_preview', 'GET /v1/invoices/create_preview'],
      ['/v1/checkout/sessions/cs_1/line_items', 'GET /v1/checkout/sessions/:id/line_items'],
      ['/v1/products/tier_two', 'GET /v1/products/:id'],
    ] as const)
      assert.equal(endpointOf('GET', path), endpoint)
  })
})
