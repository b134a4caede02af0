import assert from 'node:assert/strict'
import { readBreaker } from '../../src/store/breaker.ts'
import { listOpenAlerts } from '../../src/store/alert.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { type Role, startRole } from '../support/process.ts'
import { balanceOf, eventually, settled, type Stack, startStack, subscribe, wake } from '../support/stack.ts'
import { type Fate, startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

const SUBSCRIBERS = 6
/** Calls a second that the fleet may make. */
const RATE = 2
const DOWN: Fate = { status: 503 }

describe('Stripe is away: two APIs and two workers', function () {
  this.timeout(180_000)
  let stack: Stack
  let line: StripeProxy
  const workers: Role[] = []
  const subscribers: { account: string; subscription: string }[] = []
  let fate: Fate = 'pass'
  /** what entities asked of Stripe; the worker's own look at the catalogue, at its start, is always answered */
  const asked = () => line.seen.filter(({ path }) => !isCatalogue(path)).length
  const isCatalogue = (path: string) => /^\/v1\/(prices|products)/.test(path)

  before(async () => {
    stack = await startStack({ apis: 2 })
    line = await startStripeProxy(stack.sandbox.url)
    line.decide = ({ path }) => (isCatalogue(path) ? 'pass' : fate)
    for (let count = 0; count < SUBSCRIBERS; count += 1) subscribers.push(await subscribe(stack))
    // the worker of the stack has a line of its own; those of the test go through the one that fails
    await stack.stopWorker()
    workers.push(...(await Promise.all([startWorker(), startWorker()])))
  })
  after(async () => {
    await Promise.all(workers.map((each) => each.stop()))
    await line?.close()
    await stack?.stop()
  })
  afterEach(() => assertBooks(stack.database))

  const startWorker = () =>
    startRole({ ...stack, sandbox: { url: line.url } }, 'worker', {
      env: { STRIPE_RATE_LIMIT: String(RATE) },
    })
  const breaker = () => readBreaker(stack.database.pool)
  const setBreaker = (set: string) => stack.database.owner.query(`update circuit_breaker set ${set}`)
  const wakeAll = () => Promise.all(subscribers.map(({ subscription }) => wake(stack, subscription)))
  /** How often each entity gave up waiting inside a pass, and now waits outside of one. */
  const gaveUp = () =>
    Promise.all(
      subscribers.map(async ({ subscription }) => {
        const { events } = await stack.temporal.workflow.getHandle(subscription).fetchHistory()
        return (events ?? []).filter(
          (event) =>
            event.activityTaskFailedEventAttributes != null ||
            event.activityTaskTimedOutEventAttributes != null,
        ).length
      }),
    )
  /** @param before how often each had; one that looked by itself meanwhile is ahead of the others */
  const allGaveUp = (before: number[]) =>
    eventually('all wait for Stripe once more', async () =>
      (await gaveUp()).every((times, index) => times > (before[index] ?? 0)),
    )
  const grants = async () => {
    const { rows } = await stack.database.pool.query<{ grants: number }>(
      `select count(*)::int as grants from posting where kind = 'grant' group by account_id`,
    )
    return rows.map((row) => row.grants)
  }

  it('see one breaker, which opens once, and webhooks are taken all the same', async () => {
    await setBreaker(`backoff_first = '1 hour', backoff_max = '1 hour'`)
    fate = DOWN
    await stack.clock.jump(stack.clock.now() + 31 * DAY_MS + 2 * 3_600_000)
    await stack.sandbox.deliverDue()
    await eventually('it opens', async () => (await breaker()).state === 'open')
    await wakeAll()
    await allGaveUp([])
    assert.equal((await breaker()).trips, '1')
    const { rows } = await stack.database.pool.query<{ waiting: number; attempts: number; parked: number }>(
      `select count(*)::int as waiting, sum(attempts)::int as attempts, count(parked_at)::int as parked
         from processed_webhook_events where settled_at is null`,
    )
    assert.ok((rows[0]?.waiting ?? 0) >= SUBSCRIBERS)
    assert.deepEqual([rows[0]?.attempts, rows[0]?.parked], [0, 0])
    assert.deepEqual(
      (await listOpenAlerts(stack.database.pool, 9)).map(({ kind }) => kind),
      ['stripe_unavailable'],
    )
    const metadata = await stack.temporal.workflow
      .getHandle(subscribers[0]?.subscription ?? '')
      .query<{ currentDetails?: string }>('__temporal_workflow_metadata')
    assert.match(metadata.currentDetails ?? '', /Waits for Stripe/)
  })

  it('a worker that is started again while it is open calls nobody either', async () => {
    const before = asked()
    await workers.pop()?.stop()
    workers.push(await startWorker())
    const times = await gaveUp()
    await wakeAll()
    await allGaveUp(times)
    assert.equal(asked(), before)
    assert.equal((await breaker()).state, 'open')
  })

  it('one probe goes when it is time, of all that wait', async () => {
    const before = asked()
    const times = await gaveUp()
    await setBreaker(`retry_at = clock_timestamp()`)
    await wakeAll()
    await allGaveUp(times)
    assert.equal(asked(), before + 1)
    const { state, trips } = await breaker()
    assert.deepEqual([state, trips], ['open', '1'])
  })

  it('three days later everything converges, at the rate that is allowed and not at once', async () => {
    await stack.clock.jump(stack.clock.now() + 3 * DAY_MS)
    await stack.sandbox.deliverDue()
    assert.ok((await grants()).every((count) => count === 1))
    fate = 'pass'
    const before = asked()
    const from = performance.now()
    await setBreaker(`retry_at = clock_timestamp(), backoff_first = '1 second', backoff_max = '1 minute'`)
    await wakeAll()
    await eventually('every renewal is granted', async () => (await grants()).every((count) => count === 2))
    const seconds = (performance.now() - from) / 1_000
    // a quarter of a second's may come at once; and one second's may have been let in that wait their turn
    assert.ok(asked() - before <= RATE * (seconds + 1.25) + 1, `${asked() - before} in ${seconds} s`)
    assert.equal((await breaker()).state, 'closed')
    await settled(stack)
    for (const { account } of subscribers) assert.equal(await balanceOf(stack, account), '20')
    assert.deepEqual(await listOpenAlerts(stack.database.pool, 9), [])
  })

  it('a storm of 429s is waited for, and opens nothing', async () => {
    let left = 3
    line.decide = ({ path }) => {
      if (isCatalogue(path) || left === 0) return 'pass'
      left -= 1
      return { status: 429, headers: { 'stripe-rate-limited-reason': 'global-rate' } }
    }
    await wakeAll()
    await eventually('the storm is over', async () => left === 0)
    await settled(stack)
    const { state, trips } = await breaker()
    assert.deepEqual([state, trips], ['closed', '1'])
    assert.deepEqual(await listOpenAlerts(stack.database.pool, 9), [])
  })
})
