import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { ApplicationFailure } from '@temporalio/common'
import Stripe from 'stripe'
import { createCalls } from '../../src/activities/calls.ts'
import { ensureCatalog, readCatalog } from '../../src/activities/catalog.ts'
import { translate } from '../../src/activities/translate.ts'
import { FAULTS } from '../../src/sandbox/stripe/fault.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { API_VERSION, createGateway, stripeClient } from '../../src/stripe/gateway.ts'
import { createPriceGateway } from '../../src/stripe/price.ts'
import { nextGeneration, writeCall } from '../../src/store/stripe-call.ts'
import { advanceClock, DAY_MS, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { type Begun, type Post, stripePosts } from '../support/stripe-posts.ts'
import { startStripeProxy } from '../support/stripe-proxy.ts'

/** Faults that leave the thing made and the answer lost. */
const AFTER = FAULTS.filter((fault) => fault.endsWith('_after_commit'))

/** How long a call is tried again. */
const PATIENCE_MS = 60_000

describe('outcomes of calls to Stripe that nobody knows', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let sandbox: StripeSandbox
  let stripe: Stripe
  let posts: Post[]
  let faulty: Stripe
  let offset = 0
  before(async () => {
    database = await createDatabase()
    const now = () => Date.now() + offset
    sandbox = await startStripeSandbox({ port: 0, now })
    stripe = stripeClient('sk_test_perennial', sandbox.url, 5)
    await ensureCatalog(database.pool, createPriceGateway(stripe), await readCatalog(undefined))
    const { hostname: host, port } = new URL(sandbox.url)
    faulty = new Stripe('sk_test_perennial', {
      apiVersion: API_VERSION,
      maxNetworkRetries: 0,
      // long for this machine, short for a test that waits for answers that never come
      timeout: 1_500,
      protocol: 'http',
      host,
      port,
    })
    posts = stripePosts({ database, stripe, faulty, now })
  })
  after(async () => {
    await sandbox?.close()
    await database?.drop()
  })

  async function control(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const answer = await fetch(`${sandbox.url}/_sandbox/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return (await answer.json()) as Record<string, unknown>
  }

  /** Everything that is asked for, each with a fault of its own waiting for its first request. */
  async function begin(faults: readonly string[], which = posts) {
    const begun: { name: string; rule: string; one: Begun }[] = []
    for (const fault of faults) {
      const some = await Promise.all(
        which.map(async (post) => {
          const one = await post.begin()
          const rule = await control('POST', 'faults', { fault, key: one.key, count: 1, latency_ms: 30 })
          return { name: `${post.title}, ${fault}`, rule: String(rule['id']), one }
        }),
      )
      begun.push(...some)
    }
    return begun
  }

  /** As Temporal would: what may pass is tried again, at once. */
  async function persist(name: string, { act }: Begun): Promise<void> {
    // whoever is refused cuts off all others, who then try again: not so many times, but for so long
    for (const until = Date.now() + PATIENCE_MS; ; ) {
      try {
        await act()
        return
      } catch (error) {
        const failure = translate(error)
        const final = failure instanceof ApplicationFailure && failure.nonRetryable === true
        if (final || Date.now() > until) throw new Error(`${name}: given up`, { cause: error })
        await pause(20)
      }
    }
  }

  async function assertOnce(begun: Awaited<ReturnType<typeof begin>>): Promise<void> {
    const { data } = (await control('GET', 'faults')) as { data: { id: string; hits: number }[] }
    const hits = new Map(data.map((rule) => [rule.id, rule.hits]))
    const seen: Record<string, unknown> = {}
    const wanted: Record<string, unknown> = {}
    for (const { name, rule, one } of begun) {
      seen[name] = [hits.get(rule), await one.has()]
      wanted[name] = [1, one.wanted]
    }
    assert.deepEqual(seen, wanted)
  }

  it('every call of the gateways that changes something has a case here', () => {
    const folder = new URL('../../src/stripe/', import.meta.url)
    const source = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8'))
    const used = source.flatMap((text) =>
      [...text.matchAll(/\bstripe\.((?:[a-zA-Z]+\.)+[a-zA-Z]+)\(/g)].map(([, call]) => call ?? ''),
    )
    const changing = used.filter((call) => !/\.(retrieve\w*|list\w*|createPreview)$/.test(call))
    assert.deepEqual([...new Set(posts.map(({ sdk }) => sdk))].sort(), [...new Set(changing)].sort())
  })

  for (const fault of FAULTS) {
    it(`each is made once when its first request meets ${fault}`, async () => {
      const begun = await begin([fault])
      await Promise.all(begun.map(({ name, one }) => persist(name, one)))
      await assertOnce(begun)
    })
  }

  it('each is made once when its answer was lost and Stripe has forgotten the key by the time it is asked again', async () => {
    const begun = await begin(AFTER)
    await Promise.all(begun.map(({ one }) => one.act().catch(() => undefined)))
    offset += 25 * 3_600_000
    await advanceClock(database, 25 * 3_600_000)
    for (const { name, one } of begun) await persist(name, one)
    await assertOnce(begun)
  })

  it('and when nothing was made, and a day has passed', async () => {
    const begun = await begin(
      ['500', 'reset'],
      posts.filter(({ overAfterADay }) => overAfterADay !== true),
    )
    await Promise.all(begun.map(({ one }) => one.act().catch(() => undefined)))
    offset += DAY_MS
    await advanceClock(database, DAY_MS)
    for (const { name, one } of begun) await persist(name, one)
    await assertOnce(begun)
  })

  it('an e-mail that was changed while the answer was lost is no second customer, and no refusal', async () => {
    const account = await openAccount(database)
    const gateway = createGateway(faulty, createCalls(database.pool))
    const make = (email: string) => gateway.createCustomer(account, 1, { email, name: null })
    await control('POST', 'faults', { fault: 'truncated_after_commit', key: account, count: 1 })
    await assert.rejects(make('before@example.com'))
    const made = await make('after@example.com')
    const { data } = await stripe.customers.list({ limit: 100 })
    const ours = data.filter(({ metadata }) => metadata['perennial_account'] === account)
    assert.deepEqual(
      ours.map(({ id }) => id),
      [made],
    )
    // what is known is not asked for again
    assert.equal(await make('later@example.com'), made)
  })

  it('one that made nothing under other words is asked for under another key', async () => {
    const account = await openAccount(database)
    const gateway = createGateway(faulty, createCalls(database.pool))
    const make = (email: string) => gateway.createCustomer(account, 1, { email, name: null })
    await control('POST', 'faults', { fault: '500_after_commit', key: account, count: 1 })
    await assert.rejects(make('before@example.com'))
    const { data } = await stripe.customers.list({ limit: 100 })
    await stripe.customers.del(
      data.find(({ metadata }) => metadata['perennial_account'] === account)?.id ?? '',
    )
    const made = await make('after@example.com')
    assert.equal((await stripe.customers.retrieve(made)).deleted, undefined)
    const { rows } = await database.pool.query(
      'select generation, object_id from stripe_call where subject = $1',
      [account],
    )
    assert.deepEqual(rows, [{ generation: 2, object_id: made }])
  })

  it('one whose every key is answered a failure that is repeated is given up after four, for Temporal to try again', async () => {
    const account = await openAccount(database)
    const proxy = await startStripeProxy(sandbox.url)
    try {
      const gateway = createGateway(stripeClient('sk_test_perennial', proxy.url), createCalls(database.pool))
      const keys = new Set<string | undefined>()
      proxy.decide = ({ method, key }) => {
        if (method === 'GET' || keys.size === 10) return 'pass'
        keys.add(key)
        return { status: 500, headers: { 'idempotent-replayed': 'true' } }
      }
      await assert.rejects(gateway.createCustomer(account, 1, { email: null, name: null }))
      assert.equal(keys.size, 4)
    } finally {
      await proxy.close()
    }
  })

  it('two that find nothing agree on one further key', async () => {
    const name = { key: 'perennial:test:1', kind: 'customer', subject: 'acc_1' }
    await writeCall(database.pool, name)
    await Promise.all([1, 2].map(() => nextGeneration(database.pool, name.key, 1)))
    assert.equal((await writeCall(database.pool, name)).call.generation, 2)
  })
})
