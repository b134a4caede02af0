import assert from 'node:assert/strict'
import fc from 'fast-check'
import { admitCall, readBreaker, reportCall } from '../../src/store/breaker.ts'
import { listOpenAlerts } from '../../src/store/alert.ts'
import { ACCOUNT_BUCKET, emptyBucket, waitingBuckets } from '../../src/store/stripe-bucket.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

const RATES = { account: 10_000, endpoint: 10_000 }
/** Long waits, so that a slow machine does not wait one out. */
const FIRST_S = 60
const FRESH = `delete from circuit_breaker;
  insert into circuit_breaker (name, backoff_first, backoff_max) values ('stripe', '1 minute', '1 hour')`
const NONE = { calls: 0, epoch: '0' }

describe('the breaker of Stripe', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(() => database.owner.query(`truncate stripe_bucket, alert; ${FRESH}`))

  const ask = (answered = NONE, endpoint = 'GET /v1/customers/:id', rates = RATES) =>
    admitCall(database.pool, endpoint, rates, answered)
  const fail = (epoch: string) => reportCall(database.pool, epoch, 'HTTP 503', 0)
  /** Machine time goes on, for the breaker. */
  const later = (seconds: number) =>
    database.owner.query(
      `update circuit_breaker set retry_at = retry_at - $1 * interval '1 second',
                                  window_from = window_from - $1 * interval '1 second'`,
      [seconds],
    )
  async function trip(): Promise<string> {
    const { epoch } = await ask()
    for (let call = 0; call < 5; call += 1) await fail(epoch)
    assert.equal((await readBreaker(database.pool)).state, 'open')
    return epoch
  }

  it('opens when half of at least five calls were outages, says so once, and lets nobody through', async () => {
    const { epoch } = await ask()
    for (let call = 0; call < 4; call += 1) assert.equal((await fail(epoch)).state, 'closed')
    // six calls that were answered: four of ten
    assert.equal((await ask({ calls: 6, epoch })).outcome, 'go')
    assert.equal((await fail(epoch)).state, 'closed')
    const { state, waitMs } = await fail(epoch)
    assert.equal(state, 'open')
    assert.ok(waitMs !== null && waitMs > 0 && waitMs <= FIRST_S * 1_000, `${waitMs}`)
    const refused = await ask()
    assert.equal(refused.outcome, 'open')
    assert.ok(refused.waitMs <= FIRST_S * 1_000)
    const { trips, lastReason, openedAt, retryAt } = await readBreaker(database.pool)
    assert.deepEqual([trips, lastReason], ['1', 'HTTP 503'])
    assert.ok(openedAt !== null && retryAt !== null && retryAt > openedAt)
    assert.deepEqual(
      (await listOpenAlerts(database.pool, 9)).map(({ kind, times }) => [kind, times]),
      [['stripe_unavailable', 1]],
    )
  })

  it('a window that is over begins anew when it has enough calls', async () => {
    const { epoch } = await ask()
    await ask({ calls: 1_000, epoch })
    await later(11)
    for (let call = 0; call < 5; call += 1) await fail(epoch)
    assert.equal((await readBreaker(database.pool)).state, 'open')
  })

  it('processes that ask at once get one probe', async () => {
    await trip()
    await later(FIRST_S)
    // all of them have seen that it is time before the first of them may go on
    const holder = await database.owner.connect()
    await holder.query(`begin; select 1 from stripe_bucket where name = 'account' for update`)
    const asked = Promise.all(Array.from({ length: 8 }, () => ask()))
    await eventually('all of them wait', async () => {
      const { rows } = await database.owner.query<{ waiting: number }>(
        `select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows[0]?.waiting === 8
    })
    await holder.query('commit')
    holder.release()
    const outcomes = (await asked).map(({ outcome }) => outcome).sort()
    assert.deepEqual(outcomes, [...Array.from({ length: 7 }, () => 'open'), 'probe'])
  })

  it('closes when the probe is answered, and the alert with it', async () => {
    await trip()
    await later(FIRST_S)
    const { epoch } = await ask()
    assert.equal((await reportCall(database.pool, epoch, null, 0)).state, 'closed')
    assert.deepEqual(await listOpenAlerts(database.pool, 9), [])
    assert.equal((await ask()).outcome, 'go')
    assert.deepEqual((await readBreaker(database.pool)).trips, '1')
  })

  it('backs off twice as long after each probe that failed, up to a limit', async () => {
    await trip()
    for (const most of [120, 240, 480, 960, 1_920, 3_600, 3_600]) {
      await later(3_600)
      const { outcome, epoch } = await ask()
      assert.equal(outcome, 'probe')
      const { state, waitMs } = await fail(epoch)
      assert.equal(state, 'open')
      assert.ok(waitMs !== null && waitMs > most * 490 && waitMs <= most * 1_000, `${waitMs} of ${most} s`)
    }
    assert.equal((await readBreaker(database.pool)).trips, '1')
  })

  it('a probe that never answered is followed by another, and its late answer changes nothing', async () => {
    const old = await trip()
    await later(FIRST_S)
    const dead = await ask()
    assert.equal(dead.outcome, 'probe')
    await later(21)
    const next = await ask()
    assert.equal(next.outcome, 'probe')
    for (const epoch of [old, dead.epoch])
      assert.equal((await reportCall(database.pool, epoch, null, 0)).state, 'half_open')
    assert.equal((await fail(next.epoch)).state, 'open')
    for (const epoch of [old, dead.epoch, next.epoch])
      assert.equal((await reportCall(database.pool, epoch, null, 3)).state, 'open')
  })

  it('late outages of before do not open what has closed', async () => {
    const old = await trip()
    await later(FIRST_S)
    await reportCall(database.pool, (await ask()).epoch, null, 0)
    for (let call = 0; call < 9; call += 1) assert.equal((await fail(old)).state, 'closed')
  })

  it('does what its model does, whatever comes in whatever order', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('ask' as const), calls: fc.nat(3) }),
      fc.record({ do: fc.constant('outage' as const), which: fc.nat(5) }),
      fc.record({ do: fc.constant('answer' as const), which: fc.nat(5) }),
      fc.record({ do: fc.constant('later' as const), seconds: fc.constantFrom(4, 7, 25, 70, 700) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        await database.owner.query(FRESH)
        const model = { state: 'closed', epoch: 0, trips: 0, calls: 0, outages: 0, age: 0, waitMs: 0 }
        const held: string[] = []
        const counted = (calls: number, outages: number) => {
          if ((model.age > 10 && model.calls >= 5) || model.age > 600)
            Object.assign(model, { calls: 0, outages: 0 })
          if (model.calls === 0) model.age = 0
          model.calls += calls
          model.outages += outages
        }
        const turn = (state: string) =>
          Object.assign(model, { state, epoch: model.epoch + 1, calls: 0, outages: 0, age: 0 })
        for (const one of steps) {
          // too near to a moment that counts to say on which side of it the next call comes
          const near = () =>
            Math.abs(model.waitMs) < 5_000 || [10, 600].some((edge) => Math.abs(model.age - edge) < 3)
          while (near()) {
            await later(4)
            model.age += 4
            model.waitMs -= 4_000
          }
          const mine = `${model.epoch}`
          if (one.do === 'later') {
            await later(one.seconds)
            model.age += one.seconds
            model.waitMs -= one.seconds * 1_000
          } else if (one.do === 'ask') {
            const { outcome, epoch } = await ask({ calls: one.calls, epoch: mine })
            if (model.state === 'closed') {
              assert.equal(outcome, 'go')
              if (one.calls > 0) counted(one.calls, 0)
            } else if (model.waitMs > 0) assert.equal(outcome, 'open')
            else {
              assert.equal(outcome, 'probe')
              turn('half_open')
              model.waitMs = 20_000
            }
            if (outcome !== 'open') held.unshift(epoch)
          } else {
            const epoch = held[one.which % Math.max(held.length, 1)]
            if (epoch === undefined) continue
            const answer = await reportCall(database.pool, epoch, one.do === 'outage' ? 'HTTP 500' : null, 0)
            if (epoch === mine && model.state === 'closed') {
              counted(1, one.do === 'outage' ? 1 : 0)
              if (one.do === 'outage' && model.calls >= 5 && model.outages * 2 >= model.calls) {
                turn('open')
                model.trips += 1
              }
            } else if (epoch === mine && model.state === 'half_open') {
              turn(one.do === 'outage' ? 'open' : 'closed')
            }
            assert.equal(answer.state, model.state)
            if (model.state === 'open' && epoch === mine) model.waitMs = answer.waitMs ?? Number.NaN
          }
          const { state, trips } = await readBreaker(database.pool)
          assert.deepEqual([state, trips], [model.state, `${model.trips}`])
        }
      }),
      { numRuns: 40 },
    )
  })

  describe('the buckets', () => {
    const slow = { account: 1_000, endpoint: 0.1 }

    it('give a quarter of a second at once, then keep the rate, and let nobody wait longer than a second', async () => {
      const rates = { account: 20, endpoint: 20 }
      const from = performance.now()
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, call) => ask(NONE, `GET /${call}`, rates)),
      )
      const seconds = (performance.now() - from) / 1_000
      const gone = answers.filter(({ outcome }) => outcome === 'go').map(({ waitMs }) => waitMs)
      assert.ok(
        gone.length >= 25 && gone.length <= 20 * (seconds + 1.25) + 1,
        `${gone.length} in ${seconds} s`,
      )
      assert.ok(gone.filter((waitMs) => waitMs === 0).length <= 20 * (seconds + 0.25) + 1)
      for (const { outcome, waitMs } of answers) assert.equal(outcome, waitMs > 1_000 ? 'busy' : 'go')
    })

    it('of one endpoint keep no other waiting', async () => {
      assert.equal((await ask(NONE, 'GET /v1/one', slow)).outcome, 'go')
      assert.equal((await ask(NONE, 'GET /v1/one', slow)).outcome, 'busy')
      assert.equal((await ask(NONE, 'GET /v1/other', slow)).outcome, 'go')
    })

    it('are empty for a while that doubles when Stripe refuses; late refusals of the same while add nothing', async () => {
      const first = await emptyBucket(database.pool, ACCOUNT_BUCKET)
      assert.ok(first > 1_400 && first <= 2_000, `${first}`)
      // the while lasts for all that follows, however slow this machine is
      await database.owner.query(
        `update stripe_bucket set refused_until = refused_until + interval '1 hour', full_at = full_at + interval '1 hour'`,
      )
      assert.ok((await emptyBucket(database.pool, ACCOUNT_BUCKET)) <= first + 3_600_000)
      assert.equal((await ask()).outcome, 'busy')
      assert.deepEqual(
        (await waitingBuckets(database.pool)).map(({ name, refusals }) => [name, refusals]),
        [[ACCOUNT_BUCKET, 1]],
      )
      await database.owner.query(
        `update stripe_bucket set refused_until = clock_timestamp() - interval '1 second'`,
      )
      assert.ok((await emptyBucket(database.pool, ACCOUNT_BUCKET)) > 1_900)
      await database.owner.query(
        `update stripe_bucket set refused_until = clock_timestamp() - interval '2 minutes'`,
      )
      assert.ok((await emptyBucket(database.pool, ACCOUNT_BUCKET)) <= 2_000)
    })
  })
})
