import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { transaction } from '../../src/store/connect.ts'
import { createEventGateway } from '../../src/stripe/event-list.ts'
import { atRest, runOf } from '../support/duty.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import {
  balanceOf,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
} from '../support/stack.ts'
import { deliver, eventsOf } from '../support/webhook.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/perennial.mjs', import.meta.url))

describe('what no webhook told', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
    // who is woken when, the tests say
    for (const duty of ['catch_up', 'sweep', 'adopt'] as const) await atRest(stack, duty)
  })
  after(() => stack?.stop())
  beforeEach(() => stack.control('webhooks', { drop: false, old_version: false }))
  afterEach(() => assertBooks(stack.database))

  const grants = async (account: string) =>
    (
      await stack.database.pool.query(`select 1 from posting where account_id = $1 and kind = 'grant'`, [
        account,
      ])
    ).rowCount

  const perennial = (...args: string[]) =>
    new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
      const env = {
        ...process.env,
        DATABASE_URL: stack.database.ownerUrl,
        STRIPE_SANDBOX_PORT: String(stack.sandbox.port),
      }
      execFile(process.execPath, [PROGRAM, ...args], { env }, (error, out, err) =>
        resolve({ code: error?.code ?? 0, out, err }),
      )
    })

  it('in a week without any, the duty alone finds: renewals and new orders are granted, a poisoned one parks', async () => {
    const old = await subscribe(stack)
    await stack.clock.advance(stack.clock.now() + 27 * DAY_MS)
    await stack.control('webhooks', { drop: {} })
    const fresh = await openCheckout(stack)
    await stack.control(`checkout/${fresh.session}/pay`, {})
    const poisoned = await openCheckout(stack, 'tier_200_1000')
    await stack.control(`checkout/${poisoned.session}/pay`, {})
    // terms that no pass can be made of, however often it is tried
    await stack.database.owner.query(
      `update catalog_price set terms = jsonb_set(terms, '{credits}', '"many"') where plan = 'tier_200_1000'`,
    )
    // time and Stripe go on, and nobody is told
    await stack.clock.jump(stack.clock.now() + 7 * DAY_MS)
    assert.deepEqual([await grants(old.account), await grants(fresh.account)], [1, 0])

    // RC-3: some webhooks come after all, while the list is read
    const { customer } = await stack.stripe.checkout.sessions.retrieve(fresh.session)
    const late = await eventsOf(stack, customer as string)
    const [found] = await Promise.all([
      runOf(stack, 'catch_up'),
      ...late.map((event) => deliver(stack, event)),
    ])
    assert.equal(found['whole'], 1)
    assert.ok((found['missing'] ?? 0) > 0)
    assert.ok(((await runOf(stack, 'sweep'))['events'] ?? 0) > 0)
    await eventually('the renewal and the new order', async () => {
      return (await grants(old.account)) === 2 && (await grants(fresh.account)) === 1
    })
    await eventually('the poison is parked', async () => {
      const { rowCount } = await stack.database.pool.query(
        `select 1 from alert where kind = 'event_parked' and resolved_at is null`,
      )
      return (rowCount ?? 0) > 0
    })
    await settled(stack)
    assert.equal((await runOf(stack, 'catch_up'))['missing'], 0)
    assert.deepEqual(
      [await balanceOf(stack, old.account), await balanceOf(stack, fresh.account)],
      ['20', '20'],
    )
  })

  it('the command finds, too: it counts first, then stores', async () => {
    await stack.control('webhooks', { drop: {} })
    const { account, session } = await openCheckout(stack)
    await stack.control(`checkout/${session}/pay`, {})
    const checked = await perennial('stripe', 'catch-up', '--since', '1h', '--check')
    assert.match(checked.out, /[1-9]\d* were missing; nothing was stored/, checked.err)
    assert.equal(checked.code, 1)
    assert.equal(await grants(account), 0)
    const done = await perennial('stripe', 'catch-up', '--since', '1h')
    assert.match(done.out, /█{24} 100 % {2}\d+ listed, [1-9]\d* missing/, done.err)
    assert.equal(done.code, 0)
    await settled(stack)
    assert.equal(await grants(account), 1)
  })

  it('an event of another version tells of what is read again: the old shape names no subscription', async () => {
    await stack.control('webhooks', { drop: {} })
    const { account, session } = await openCheckout(stack)
    await stack.control(`checkout/${session}/pay`, {})
    const { customer, subscription } = await stack.stripe.checkout.sessions.retrieve(session)
    const paid = (await eventsOf(stack, customer as string)).find(({ type }) => type === 'invoice.paid')
    assert.ok(paid)
    const { parent: _, ...invoice } = paid.data.object as { id: string; parent: unknown }
    const old = { ...paid, api_version: '2024-06-20', data: { object: { ...invoice, subscription } } }
    assert.equal(await deliver(stack, old), 200)
    await settled(stack)
    assert.equal(await grants(account), 1)
    const { rows } = await stack.database.pool.query(
      'select owner, payload from processed_webhook_events where event_id = $1',
      [paid.id],
    )
    assert.deepEqual(rows, [{ owner: subscription, payload: {} }])
    const alerts = await stack.database.pool.query(
      `select subject from alert where kind = 'stripe_api_version' and resolved_at is null`,
    )
    assert.deepEqual(alerts.rows, [{ subject: '2024-06-20' }])
  })

  it('an endpoint of an old version is no harm: every webhook is only a reason to read', async () => {
    await stack.control('webhooks', { old_version: true })
    const { account } = await subscribe(stack)
    assert.equal(await grants(account), 1)
    await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
    assert.equal(await grants(account), 2)
    const { rows } = await stack.database.pool.query(
      `select count(*)::int as unread from processed_webhook_events where owner is null and settled_at is null`,
    )
    assert.deepEqual(rows, [{ unread: 0 }])
  })

  it('a sweep works through a backlog of any length, wakes each owner once, and waits for nobody', async () => {
    const { account, subscription } = await subscribe(stack)
    const swept = async () => {
      const { events } = await stack.temporal.workflow.getHandle(subscription).fetchHistory()
      return (events ?? []).filter((event) => {
        const [hint] = event.workflowExecutionSignaledEventAttributes?.input?.payloads ?? []
        return Buffer.from(hint?.data ?? [])
          .toString()
          .includes('"sweep"')
      }).length
    }
    // the clock may have asked for one, which would take a part of them
    await atRest(stack, 'sweep')
    const before = await swept()
    const insert = () =>
      stack.database.owner.query(
        `insert into processed_webhook_events (event_id, type, livemode, owner, payload, created_at, next_attempt_at)
       select 'evt_many' || n, 'invoice.paid', false, case when n = 1 then $2 else $1 end, '{}', now(),
              clock_timestamp() - n * interval '1 second'
         from generate_series(1, 450) n`,
        // no workflow can have an id of this length
        [subscription, `sub_${'x'.repeat(1_100)}`],
      )
    // the owner cannot settle anything before all was swept
    const run = await transaction(stack.database.owner, async (client) => {
      await client.query('select 1 from wallet where account_id = $1 for update', [account])
      await insert()
      return await runOf(stack, 'sweep')
    })
    assert.deepEqual([run['events'], run['unwoken']], [450, 1])
    assert.equal((await swept()) - before, 1)
    await eventually('its events are settled', async () => {
      const { rows } = await stack.database.pool.query<{ left: number }>(
        `select count(*)::int as left from processed_webhook_events
          where event_id like 'evt_many%' and settled_at is null`,
      )
      return rows[0]?.left === 1
    })
    await stack.database.owner.query(`delete from processed_webhook_events where event_id = 'evt_many1'`)
  })

  it('an event that Stripe has forgotten is where the list ends', async () => {
    const events = createEventGateway(stack.stripe)
    const since = new Date(stack.clock.now() - DAY_MS).toISOString()
    assert.ok((await events.page(since, null)).events.length > 0)
    assert.deepEqual(await events.page(since, 'evt_forgotten'), { events: [], next: undefined })
  })

  it('an object that is gone is nobody’s, and a deleted customer is still looked after', async () => {
    const events = createEventGateway(stack.stripe)
    const gone: [type: string, id: string, owner: string | null][] = [
      ['invoice.deleted', 'in_gone', null],
      ['customer.subscription.deleted', 'sub_gone', null],
      ['subscription_schedule.released', 'sub_sched_gone', null],
      ['checkout.session.expired', 'cs_test_gone', null],
      ['payment_intent.succeeded', 'pi_gone', null],
      ['customer.deleted', 'cus_gone', 'customer/cus_gone'],
      ['giraffe.created', 'gir_1', null],
    ]
    for (const [type, id, owner] of gone) assert.equal(await events.ownerNow(type, id), owner, type)
  })
})
