import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// oxlint-disable-next-line import/no-named-as-default -- the named export is a type only under CommonJS
import Stripe from 'stripe'
import { bench, type Bench, client, closeAll, receiver, subscribed, VERSION } from './world.ts'

describe('stripe sandbox: the fault plane', () => {
  afterEach(closeAll)

  const start = () => bench('2026-01-15T10:00:00Z')
  const add = (world: Bench, rule: unknown) => world.control('POST', 'faults', rule)
  const customers = async ({ stripe }: Bench) => (await stripe.customers.list({ limit: 100 })).data.length
  const make = (world: Bench, key = 'one', stripe = world.stripe) =>
    stripe.customers.create({ name: 'A' }, { idempotencyKey: key })
  const failure = async (call: Promise<unknown>): Promise<Stripe.errors.StripeError> => {
    const error = await call.then(
      () => assert.fail('it was answered'),
      (reason: unknown) => reason,
    )
    assert.ok(error instanceof Stripe.errors.StripeError, String(error))
    return error
  }

  for (const [fault, status, reason] of [
    ['500', 500],
    ['503', 503],
    ['429_global', 429, 'global-rate'],
    ['429_endpoint', 429, 'endpoint-rate'],
    ['429_concurrency', 429, 'global-concurrency'],
    ['429_endpoint_concurrency', 429, 'endpoint-concurrency'],
    ['lock_timeout', 429],
  ] as const) {
    it(`${fault} is answered before anything is done and kept under no key`, async () => {
      const world = await start()
      await add(world, { fault, method: 'POST', path: '/v1/customers', count: 1 })
      const error = await failure(make(world))
      assert.equal(error.statusCode, status)
      assert.equal(error.headers?.['stripe-rate-limited-reason'], reason)
      assert.equal(await customers(world), 0)
      await make(world)
      assert.equal(await customers(world), 1)
    })
  }

  it('reset: the connection is gone and nothing was done', async () => {
    const world = await start()
    // the client tries once more by itself
    await add(world, { fault: 'reset', method: 'POST', count: 2 })
    assert.equal((await failure(make(world))).type, 'StripeConnectionError')
    assert.equal(await customers(world), 0)
  })

  it('refused: the connection is gone, and no other is taken for as long as was said', async () => {
    const world = await start()
    await add(world, { fault: 'refused', method: 'POST', latency_ms: 600_000, count: 1 })
    assert.equal((await failure(make(world))).type, 'StripeConnectionError')
    const refused = ({ cause }: Error) =>
      cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED'
    await assert.rejects(fetch(world.sandbox.url), refused)
  })

  for (const [fault, left] of [
    ['timeout', 0],
    ['timeout_after_commit', 1],
  ] as const) {
    it(`${fault}: nobody answers, and ${left === 0 ? 'nothing' : 'it'} was done`, async () => {
      const world = await start()
      await add(world, { fault, method: 'POST', count: 1 })
      // gives up when the simulator has done what it will, however long that takes
      const patience = new AbortController()
      const asked = fetch(`${world.sandbox.url}/v1/customers`, {
        method: 'POST',
        headers: { authorization: 'Bearer sk_test_perennial', 'idempotency-key': 'one' },
        body: new URLSearchParams({ name: 'A' }),
        signal: patience.signal,
      })
      await eventually(async () => {
        assert.equal((await world.control('GET', 'faults')).body['data'][0].hits, 1)
        assert.equal(await customers(world), left)
      })
      patience.abort()
      await assert.rejects(asked, { name: 'AbortError' })
      const { id } = await make(world)
      assert.equal((await make(world)).id, id)
      assert.equal(await customers(world), 1)
    })
  }

  it('truncated_after_commit: half an answer to what was done, whole under the same key', async () => {
    const world = await start()
    await add(world, { fault: 'truncated_after_commit', method: 'POST', count: 1 })
    await failure(make(world))
    await make(world)
    assert.equal(await customers(world), 1)
  })

  it('500_after_commit: it was done, and the key answers 500 for a day; then it is forgotten', async () => {
    const world = await start()
    await add(world, { fault: '500_after_commit', method: 'POST', count: 1 })
    assert.equal((await failure(make(world))).statusCode, 500)
    const again = await failure(make(world))
    assert.equal(again.statusCode, 500)
    assert.equal(again.headers?.['idempotent-replayed'], 'true')
    assert.equal(await customers(world), 1)
    await world.to('2026-01-16T10:00:01Z')
    await make(world)
    assert.equal(await customers(world), 2)
  })

  it('an answer that was kept before stays what it is', async () => {
    const world = await start()
    const { id } = await make(world)
    await add(world, { fault: '500_after_commit', method: 'POST', count: 1 })
    assert.equal((await make(world)).id, id)
    assert.equal((await make(world)).id, id)
  })

  it('refused by several at once: it listens again when the last has had its time', async () => {
    const world = await start()
    await add(world, { fault: 'refused', method: 'POST', latency_ms: 50 })
    // sent on one connection without waiting, so that both are read before it is cut
    const { hostname, port } = new URL(world.sandbox.url)
    const socket = net.connect(Number(port), hostname)
    const one = `POST /v1/customers HTTP/1.1\r\nhost: a\r\nauthorization: Bearer sk_test_raw\r\ncontent-length: 0\r\n\r\n`
    socket.on('error', () => {})
    socket.write(one + one)
    await new Promise((done) => socket.on('close', done))
    const { body } = await eventually(() => world.control('DELETE', 'faults'))
    assert.equal(body['ended'], 1)
    assert.equal(await customers(world), 0)
  })

  it('rules outlive a restart, with what they were met already', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'stripe-faults-'))
    try {
      const file = join(folder, 'journal.jsonl')
      const first = await bench('2026-01-15T10:00:00Z', { file })
      await add(first, { fault: '503', method: 'POST', count: 3 })
      await add(first, { fault: '500', method: 'POST', count: 1 })
      await failure(make(first))
      const before = (await first.control('GET', 'faults')).body
      await first.close()
      const second = await bench('2026-01-15T10:00:00Z', { file })
      assert.deepEqual((await second.control('GET', 'faults')).body, before)
      const met = []
      for (let n = 0; n < 3; n += 1) met.push((await failure(make(second))).statusCode)
      assert.deepEqual(met, [503, 503, 500])
      await make(second)
    } finally {
      await closeAll()
      rmSync(folder, { recursive: true })
    }
  })

  it('latency: the answer comes all the same', async () => {
    const world = await start()
    await add(world, { fault: 'latency', latency_ms: 20, count: 1 })
    await make(world)
    const { body } = await world.control('GET', 'faults')
    assert.equal(body['data'][0].hits, 1)
  })

  it('is by route, key and number, with the same chance for the same seed, and can be ended', async () => {
    const world = await start()
    await add(world, { fault: '500', path: '/v1/products/:id' })
    await add(world, { fault: '503', method: 'post', key: 'special' })
    await make(world)
    assert.equal((await failure(make(world, 'a special key'))).statusCode, 503)
    await world.control('DELETE', 'faults')
    const draw = async (seed: number) => {
      const { body } = await add(world, { fault: '500', path: '/v1/customers', probability: 0.5, seed })
      const met: boolean[] = []
      for (let n = 0; n < 20; n += 1)
        met.push(
          await world.stripe.customers.list().then(
            () => false,
            () => true,
          ),
        )
      const { body: ended } = await world.control('DELETE', `faults/${body['id']}`)
      assert.deepEqual(ended, { ended: 1 })
      return met
    }
    const [first, second, other] = [await draw(7), await draw(7), await draw(8)]
    assert.deepEqual(first, second)
    assert.notDeepEqual(first, other)
    assert.ok(first.includes(true) && first.includes(false))
  })

  it('refuses what it does not know, and outlives nothing that was not said', async () => {
    const world = await start()
    const told = async (rule: unknown) => (await add(world, rule)).body['error']['param']
    assert.equal(await told({ fault: 'flood' }), 'fault')
    assert.equal(await told({ fault: '500', route: '/v1' }), 'route')
    assert.equal(await told({ fault: '500', probability: 2 }), 'probability')
    assert.equal(await told({ fault: '500', count: 0 }), 'count')
    assert.equal((await world.control('DELETE', 'faults/fault_none')).status, 404)
    assert.deepEqual((await world.control('GET', 'faults')).body['data'], [])
  })

  async function told(settings: unknown) {
    const world = await start()
    const hook = await receiver()
    const { secret = '' } = await world.stripe.webhookEndpoints.create({
      url: hook.url,
      enabled_events: ['customer.created', 'invoice.paid'],
      api_version: VERSION,
    })
    await world.control('POST', 'webhooks', settings)
    await make(world)
    await world.sandbox.deliverDue()
    return { world, hook, secret }
  }
  const isSigned = (raw: string, header: string | string[] | undefined, secret: string) => {
    try {
      return Boolean(client('http://127.0.0.1:1').webhooks.constructEvent(raw, String(header), secret))
    } catch {
      return false
    }
  }

  it('two_events: one fact is told by two event objects, and both are listed', async () => {
    const { world, hook } = await told({ two_events: { types: ['customer.created'], count: 1 } })
    assert.equal(hook.got.length, 2)
    assert.equal(new Set(hook.got.map(({ event }) => event.id)).size, 2)
    assert.equal((await world.stripe.events.list()).data.length, 2)
    await make(world, 'two')
    await world.sandbox.deliverDue()
    assert.equal(hook.got.length, 3)
  })

  it('bad_signature: signed with another secret, once; tried again it is right', async () => {
    const { world, hook, secret } = await told({ bad_signature: { count: 1 }, double: true })
    const fits = hook.got.map(({ raw, headers }) => isSigned(raw, headers['stripe-signature'], secret))
    assert.deepEqual(new Set(fits), new Set([false, true]))
    assert.equal((await world.control('GET', 'webhooks')).body['bad_signature'], false)
  })

  it('old_version: the event says so', async () => {
    const { hook } = await told({ old_version: true })
    assert.equal(hook.got[0]?.event.api_version, '2024-06-20')
  })

  it('old_version: an invoice names its subscription as it did before basil; read again it does not', async () => {
    const { world, hook } = await told({ old_version: { types: ['invoice.paid'], count: 1 } })
    const { id } = await subscribed(world.stripe)
    await world.sandbox.deliverDue()
    const { event } = hook.got.at(-1) ?? assert.fail('no webhook')
    const invoice = event.data.object as unknown as Record<string, unknown>
    assert.deepEqual(
      [event.type, event.api_version, invoice['subscription'], invoice['parent'], invoice['paid']],
      ['invoice.paid', '2024-06-20', id, undefined, true],
    )
    const again = await world.stripe.invoices.retrieve(String(invoice['id']))
    assert.equal(again.parent?.subscription_details?.subscription, id)
  })

  it('a rolled secret: signed with both until the old one ends', async () => {
    const { world, hook, secret } = await told({})
    const { data } = await world.stripe.webhookEndpoints.list()
    const { body } = await world.control('POST', `webhook_endpoints/${data[0]?.id}/roll`, {
      expires_in: 3_600,
    })
    const fitting = async (key: string) => {
      await make(world, key)
      await world.sandbox.deliverDue()
      const last = hook.got.at(-1)
      return [secret, body['secret']].map((one) =>
        isSigned(last?.raw ?? '', last?.headers['stripe-signature'], one as string),
      )
    }
    assert.deepEqual(await fitting('two'), [true, true])
    await world.to('2026-01-15T11:00:01Z')
    assert.deepEqual(await fitting('three'), [false, true])
  })
})

/** Asks until somebody listens again, or a thing has come about. */
async function eventually<T>(ask: () => Promise<T>): Promise<T> {
  for (const until = Date.now() + 20_000; ; ) {
    try {
      return await ask()
    } catch (error) {
      if (Date.now() > until) throw error
      await new Promise((done) => setTimeout(done, 10))
    }
  }
}
