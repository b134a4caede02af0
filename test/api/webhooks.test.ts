import assert from 'node:assert/strict'
import { countUnhandled } from '../../src/store/inbox.ts'
import { type ApiUnderTest, ROLLED_SECRET, sign, startApi, stripeEvent } from './api-under-test.ts'
import { eventually } from '../support/stack.ts'
import { Workflows } from './workflows.ts'

const renewal = () =>
  stripeEvent('invoice.paid', {
    id: 'in_1',
    object: 'invoice',
    status: 'paid',
    billing_reason: 'subscription_cycle',
    amount_paid: 2000,
    currency: 'usd',
    customer: 'cus_1',
    customer_email: 'grace@example.com',
    customer_name: 'Grace Hopper',
    customer_address: { line1: '1 Navy Way' },
    parent: { type: 'subscription_details', subscription_details: { subscription: 'sub_1', metadata: {} } },
  })

describe('webhooks', () => {
  let api: ApiUnderTest
  before(async () => {
    api = await startApi()
  })
  after(() => api.close())

  const rowsOf = async (id: string) =>
    (await api.database.owner.query('select * from processed_webhook_events where event_id = $1', [id])).rows
  const stored = async () =>
    Number((await api.database.owner.query('select count(*) from processed_webhook_events')).rows[0].count)

  it('are stored and answered while Temporal is down', async () => {
    const event = renewal()
    const { status, body } = await api.deliver(event)
    assert.equal(status, 200)
    assert.deepEqual(body, { received: true })
    const [row] = await rowsOf(event.id)
    assert.equal(row.owner, 'sub_1')
    assert.equal(row.object_id, 'in_1')
    assert.equal(row.signalled_at, null)
    assert.equal(row.settled_at, null)
  })

  it('delivered five times are one row', async () => {
    const event = renewal()
    for (let delivery = 0; delivery < 5; delivery += 1) assert.equal((await api.deliver(event)).status, 200)
    assert.equal((await rowsOf(event.id)).length, 1)
  })

  it('delivered fifty times at once are one row', async () => {
    const event = renewal()
    const before = await stored()
    const answers = await Promise.all(Array.from({ length: 50 }, () => api.deliver(event)))
    assert.deepEqual([...new Set(answers.map((answer) => answer.status))], [200])
    assert.equal(await stored(), before + 1)
  })

  it('are kept as a projection without personal data', async () => {
    const event = renewal()
    await api.deliver(event)
    const [row] = await rowsOf(event.id)
    assert.deepEqual(row.payload, {
      id: 'in_1',
      object: 'invoice',
      status: 'paid',
      billing_reason: 'subscription_cycle',
      amount_paid: '2000',
      currency: 'usd',
      customer: 'cus_1',
      subscription: 'sub_1',
    })
  })

  it('are accepted with either secret while one is rolled', async () => {
    assert.equal((await api.deliver(renewal(), { secret: ROLLED_SECRET })).status, 200)
  })

  it('of every type are answered 200; what nobody handles is settled at once and counted', async () => {
    const types = [
      'customer.created',
      'payout.paid',
      'some.type.of.2031',
      'some.type.of.2031',
      'invoice.upcoming',
    ]
    for (const type of types) {
      const event = stripeEvent(type, { id: 'py_1', object: 'thing' })
      assert.equal((await api.deliver(event)).status, 200, type)
      const [row] = await rowsOf(event.id)
      assert.notEqual(row.settled_at, null)
    }
    const counted = await countUnhandled(api.database.pool)
    assert.deepEqual(counted, [
      { type: 'customer.created', events: 1 },
      { type: 'invoice.upcoming', events: 1 },
      { type: 'payout.paid', events: 1 },
      { type: 'some.type.of.2031', events: 2 },
    ])
  })

  const now = () => Date.now()
  const refused: [what: string, deliver: () => ReturnType<ApiUnderTest['deliver']>, code: string][] = [
    ['forged', () => api.deliver(renewal(), { secret: 'whsec_of_somebody_else' }), 'signature_invalid'],
    ['unsigned', () => api.deliver(renewal(), { signature: '' }), 'signature_invalid'],
    ['signed with nonsense', () => api.deliver(renewal(), { signature: 't=x,v1=00' }), 'signature_invalid'],
    [
      'signed in an old scheme only',
      () => api.deliver(renewal(), { signature: `t=${Math.floor(now() / 1000)},v0=00` }),
      'signature_invalid',
    ],
    ['six minutes old', () => api.deliver(renewal(), { atMs: now() - 360_000 }), 'signature_stale'],
    ['a day old', () => api.deliver(renewal(), { atMs: now() - 86_400_000 }), 'signature_stale'],
    ['an hour early', () => api.deliver(renewal(), { atMs: now() + 3_600_000 }), 'signature_future'],
    ['of the other mode', () => api.deliver({ ...renewal(), livemode: true }), 'livemode_mismatch'],
    ['no JSON', () => api.deliver('{"id": "evt_1"'), 'event_malformed'],
    ['without an id', () => api.deliver({ ...renewal(), id: undefined }), 'event_malformed'],
    ['with an id that is none', () => api.deliver({ ...renewal(), id: 'evt_\0' }), 'event_malformed'],
    ['without a mode', () => api.deliver({ ...renewal(), livemode: 'no' }), 'event_malformed'],
    ['from before time', () => api.deliver({ ...renewal(), created: -1e15 }), 'event_malformed'],
    ['null', () => api.deliver('null'), 'event_malformed'],
    ['a list', () => api.deliver('[]'), 'event_malformed'],
  ]
  for (const [what, deliver, code] of refused) {
    it(`that are ${what} are refused, and nothing is stored`, async () => {
      const before = await stored()
      const answer = await deliver()
      assert.equal(answer.status, 400)
      assert.equal(answer.body.code, code)
      assert.equal(await stored(), before)
    })
  }

  it('changed after they were signed are refused', async () => {
    const event = renewal()
    const good = await api.deliver(event)
    assert.equal(good.status, 200)
    const signature = sign(JSON.stringify(event))
    const tampered = JSON.stringify({ ...event, id: 'evt_tampered' })
    assert.equal((await api.deliver(tampered, { signature })).body.code, 'signature_invalid')
  })

  it('without a body, or with one over the limit, are refused', async () => {
    const empty = await api.send({ method: 'POST', url: '/webhooks/stripe' })
    assert.equal(empty.body.code, 'signature_invalid')
    const large = await api.deliver({ ...renewal(), filler: 'x'.repeat(1_100_000) })
    assert.equal(large.status, 413)
    assert.equal(large.body.code, 'body_too_large')
  })

  it('larger than what callers may send are taken', async () => {
    const event = { ...renewal(), filler: 'x'.repeat(200_000) }
    assert.equal((await api.deliver(event)).status, 200)
  })

  it('of another API version are stored with one alert for the version', async () => {
    const alerts = async () =>
      (await api.database.owner.query("select subject, times from alert where kind = 'stripe_api_version'"))
        .rows
    const event = stripeEvent('invoice.paid', renewal().data.object, { api_version: '2026-08-26.dahlia' })
    await api.deliver(event)
    await api.deliver(event)
    assert.equal((await rowsOf(event.id)).length, 1)
    assert.deepEqual(await alerts(), [{ subject: '2026-08-26.dahlia', times: 1 }])
    await api.deliver(
      stripeEvent('invoice.paid', renewal().data.object, { api_version: '2026-08-26.dahlia' }),
    )
    assert.deepEqual(await alerts(), [{ subject: '2026-08-26.dahlia', times: 2 }])
  })

  it('that are thin are stored without an owner', async () => {
    const event = {
      id: 'evt_thin1',
      object: 'v2.core.event',
      type: 'v1.invoice.paid',
      created: '2026-11-23T10:00:00.000Z',
      livemode: false,
      related_object: { id: 'in_1', type: 'invoice' },
    }
    assert.equal((await api.deliver(event)).status, 200)
    const [row] = await rowsOf('evt_thin1')
    assert.equal(row.owner, null)
    assert.equal(row.object_id, 'in_1')
  })

  it('are asked for again when they cannot be stored', async () => {
    const lonely = await startApi()
    await lonely.database.pool.end()
    const { status, body } = await lonely.deliver(renewal())
    assert.equal(status, 503)
    assert.equal(body.code, 'unavailable')
    await lonely.close()
  })

  describe('once they are answered', () => {
    const completed = (order: string) =>
      stripeEvent('checkout.session.completed', {
        id: 'cs_test_1',
        object: 'checkout.session',
        metadata: { perennial_order: order },
      })
    const signalled = async (of: ApiUnderTest) => {
      const { rows } = await of.database.owner.query<{ event_id: string }>(
        'select event_id from processed_webhook_events where signalled_at is not null order by event_id',
      )
      return rows.map((row) => row.event_id)
    }
    let workflows: Workflows
    let reaching: ApiUnderTest
    beforeEach(async () => {
      workflows = new Workflows()
      workflows.answer = () => Promise.reject(new Error('not asked for'))
      reaching = await startApi({ reach: workflows.reach })
    })
    afterEach(() => reaching.close())

    it('wake their owner, and again only if that failed', async () => {
      workflows.answer = undefined
      const event = completed('ord_1')
      assert.equal((await reaching.deliver(event)).status, 200)
      await eventually('the wake has failed', async () =>
        reaching.lines.some((line) => line.includes('an owner was not woken yet')),
      )
      assert.deepEqual(await signalled(reaching), [])
      workflows.answer = () => Promise.reject(new Error('not asked for'))
      assert.equal((await reaching.deliver(event)).status, 200)
      await eventually('it is noted', async () => (await signalled(reaching)).length === 1)
      assert.equal((await reaching.deliver(event)).status, 200)
      await reaching.app.close()
      assert.deepEqual(workflows.woken, ['checkout/ord_1'])
    })

    it('wake one owner once for all that came within a moment, and all of them are noted', async () => {
      const events = Array.from({ length: 12 }, (_, index) => completed(index < 10 ? 'ord_1' : 'ord_2'))
      await Promise.all(events.map((event) => reaching.deliver(event)))
      // an end in good order wakes whoever still waits
      await reaching.app.close()
      assert.ok(workflows.woken.length < events.length, workflows.woken.join(' '))
      assert.deepEqual(new Set(workflows.woken), new Set(['checkout/ord_1', 'checkout/ord_2']))
      assert.deepEqual(await signalled(reaching), events.map(({ id }) => id).sort())
    })

    it('leave the rest to the sweeper when Temporal fails again and again', async () => {
      workflows.answer = undefined
      let calls = 0
      let store = () => {}
      const stored = new Promise<void>((resolve) => {
        store = resolve
      })
      const { workflow } = workflows.reach.client as unknown as {
        workflow: { signalWithStart: () => Promise<void> }
      }
      workflow.signalWithStart = async () => {
        calls += 1
        // so that what is left is left by the second round, however long it takes to deliver them
        await stored
        throw new Error('Temporal is down')
      }
      const events = Array.from({ length: 60 }, (_, index) => completed(`ord_${index}`))
      await Promise.all(events.map((event) => reaching.deliver(event)))
      store()
      await reaching.app.close()
      // a round gives up after eight failures, when seven more may be under way
      assert.ok(calls > 0 && calls <= 30, `${calls} calls`)
      assert.deepEqual(await signalled(reaching), [])
    })
  })
})
