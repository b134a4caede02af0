import assert from 'node:assert/strict'
import { createMetrics, serveMetrics } from '../../src/metrics.ts'
import { raiseAlert } from '../../src/store/alert.ts'
import { readFleet } from '../../src/store/fleet.ts'
import { storeEvent } from '../../src/store/inbox.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

describe('/metrics', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  /** Every sample by its name and labels. */
  const samplesOf = (text: string) =>
    new Map(
      text
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'))
        .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
    )
  const scrape = async () => {
    const { payload, statusCode, headers } = await api.app.inject({ method: 'GET', url: '/metrics' })
    assert.equal(statusCode, 200)
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/)
    return payload
  }

  it('says of every metric what it is; all of ours bear our name', async () => {
    const text = await scrape()
    const helped = new Set(Array.from(text.matchAll(/^# HELP (\S+) \S/gm), ([, name]) => name))
    const typed = Array.from(text.matchAll(/^# TYPE (\S+)/gm), ([, name]) => name)
    assert.deepEqual(
      typed.filter((name) => !helped.has(name)),
      [],
    )
    for (const name of typed) assert.match(String(name), /^(perennial|process|nodejs)_/)
    for (const name of [
      'http_request_duration_seconds',
      'stripe_circuit',
      'inbox_backlog',
      'duty_age_seconds',
    ])
      assert.ok(helped.has(`perennial_${name}`), name)
  })

  it('counts requests by their route, never by what somebody put into its place', async () => {
    const made = await api.post('/v1/accounts', { external_id: 'someone@example.com' })
    await api.get(`/v1/accounts/${made.body.id}`)
    await api.send({ method: 'GET', url: '/of/someone@example.com' })
    const text = await scrape()
    const count = (route: string, status: number, method = 'GET') =>
      samplesOf(text).get(
        `perennial_http_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`,
      )
    assert.equal(count('/v1/accounts', 201, 'POST'), 1)
    assert.equal(count('/v1/accounts/:account', 200), 1)
    assert.equal(count('none', 404), 1)
    assert.doesNotMatch(text, /someone|acc_[0-9a-f]/)
  })

  it('tells what the rows of the fleet say', async () => {
    const { pool, owner } = api.database
    await storeEvent(pool, {
      id: 'evt_metrics',
      type: 'invoice.paid',
      apiVersion: null,
      livemode: false,
      objectId: 'in_1',
      owner: 'sub_metrics',
      payload: {},
      unread: false,
      created: new Date(0).toISOString(),
    })
    await raiseAlert(pool, 'event_parked', 'evt_other', 'why')
    await owner.query(`insert into duty_run (duty, started_at, finished_at)
      values ('sweep', clock_timestamp() - interval '1 minute', clock_timestamp() - interval '1 minute')`)
    await owner.query(`update circuit_breaker set state = 'open', trips = 2, opened_at = clock_timestamp(),
      retry_at = clock_timestamp() + interval '1 minute', last_reason = 'HTTP 503'`)
    const samples = samplesOf(await createMetrics().render(() => readFleet(pool)))
    const value = (name: string) => samples.get(`perennial_${name}`) ?? Number.NaN
    assert.equal(value('database_up'), 1)
    assert.equal(value('inbox_backlog'), 1)
    assert.equal(value('alerts_open{kind="event_parked"}'), 1)
    assert.ok(value('duty_age_seconds{duty="sweep"}') >= 60)
    assert.equal(value('stripe_circuit{state="open"}'), 1)
    assert.equal(value('stripe_circuit{state="closed"}'), 0)
    assert.equal(value('stripe_circuit_trips'), 2)
    assert.ok(value('stripe_circuit_retry_seconds') > 0 && value('stripe_circuit_retry_seconds') <= 60)
    const { body } = await api.send({ method: 'GET', url: '/readyz' })
    assert.deepEqual(
      { circuit: body.stripe.circuit, trips: body.stripe.trips, reason: body.stripe.last_reason },
      { circuit: 'open', trips: 2, reason: 'HTTP 503' },
    )
    assert.ok(Date.parse(body.stripe.next_probe_at) > Date.parse(body.stripe.opened_at))
  })

  it('tells what the process did while the database is away, and nothing old of the fleet', async () => {
    const metrics = createMetrics()
    metrics.stripeCall({ endpoint: 'GET /v1/events', outcome: 'answered', seconds: 0.2 })
    metrics.stripeCall({ endpoint: 'GET /v1/events', outcome: 'unavailable', seconds: 0 })
    const samples = samplesOf(await metrics.render(() => Promise.reject(new Error('it is away'))))
    const endpoint = 'endpoint="GET /v1/events"'
    assert.equal(
      samples.get(`perennial_stripe_call_duration_seconds_count{${endpoint},outcome="answered"}`),
      1,
    )
    assert.equal(samples.get(`perennial_stripe_calls_held_total{${endpoint},outcome="unavailable"}`), 1)
    assert.equal(samples.get('perennial_database_up'), 0)
    assert.deepEqual(
      [...samples.keys()].filter((name) => /stripe_circuit|inbox|alerts/.test(name)),
      [],
    )
  })

  it('looks at the database once for several who ask at once', async () => {
    const metrics = createMetrics()
    let looks = 0
    const read = () => {
      looks += 1
      return readFleet(api.database.pool)
    }
    await Promise.all([metrics.render(read), metrics.render(read), metrics.render(read)])
    assert.equal(looks, 1)
  })

  it('of a worker is served on a port of its own, beside its health, and nothing else', async () => {
    const metrics = createMetrics()
    const render = () => metrics.render(() => readFleet(api.database.pool))
    const served = await serveMetrics(render, { port: 0, host: '127.0.0.1' })
    try {
      const ask = (path: string, method = 'GET') =>
        fetch(`http://127.0.0.1:${served.port}${path}`, { method })
      assert.match(await (await ask('/metrics')).text(), /perennial_database_up 1/)
      assert.equal((await ask('/healthz')).status, 200)
      assert.equal((await ask('/v1/accounts')).status, 404)
      assert.equal((await ask('/metrics', 'POST')).status, 405)
    } finally {
      await served.close()
    }
  })
})
