import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { ATTRIBUTE } from '../../src/workflows/message.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import {
  balanceOf,
  describeBoth,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
  type Subscriber,
} from '../support/stack.ts'
import { deliver, eventsOf, settledEvent } from '../support/webhook.ts'

describeBoth('law 5: webhooks are hints', function (apis) {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack({ apis })
  })
  after(() => stack?.stop())
  beforeEach(() =>
    stack.control('webhooks', { deliver: true, drop: false, double: false, delay: 0, reorder: false }),
  )
  afterEach(() => assertBooks(stack.database))

  const grants = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ key: string }>(
      `select key from posting where account_id = $1 and kind = 'grant' order by seq`,
      [account],
    )
    return rows.map(({ key }) => key)
  }
  const rowsOf = async (event: string) =>
    (await stack.database.pool.query('select 1 from processed_webhook_events where event_id = $1', [event]))
      .rowCount

  /** Pays a checkout while Stripe keeps its events to itself, and answers them. */
  async function payUnheard(
    plan?: string,
  ): Promise<Subscriber & { customer: string; subscription: string; events: Stripe.Event[] }> {
    await stack.control('webhooks', { drop: {} })
    const subscriber = await openCheckout(stack, plan)
    await stack.control(`checkout/${subscriber.session}/pay`, {})
    const session = await stack.stripe.checkout.sessions.retrieve(subscriber.session)
    const customer = session.customer as string
    return {
      ...subscriber,
      customer,
      subscription: session.subscription as string,
      events: await eventsOf(stack, customer),
    }
  }

  const find = (events: Stripe.Event[], type: string): Stripe.Event => {
    const event = events.find((each) => each.type === type)
    assert.ok(event, `Stripe told of ${type}`)
    return event
  }

  it('audit 4: one webhook five times is one row and one grant', async () => {
    const { account, events } = await payUnheard()
    const paid = find(events, 'invoice.paid')
    for (let i = 0; i < 5; i++) assert.equal(await deliver(stack, paid), 200)
    await settled(stack)
    assert.equal(await rowsOf(paid.id), 1)
    assert.equal((await grants(account)).length, 1)
  })

  it('audit 4: one webhook fifty times at once is one row and one grant', async () => {
    const { account, events } = await payUnheard()
    const paid = find(events, 'invoice.paid')
    const answers = await Promise.all(Array.from({ length: 50 }, () => deliver(stack, paid)))
    assert.deepEqual(new Set(answers), new Set([200]))
    await settled(stack)
    assert.equal(await rowsOf(paid.id), 1)
    assert.equal((await grants(account)).length, 1)
  })

  it('audit 1: invoice.paid racing customer.subscription.updated renews once', async () => {
    const { account, subscription } = await subscribe(stack)
    await stack.control('webhooks', { drop: {} })
    await stack.clock.jump(stack.clock.now() + 32 * DAY_MS)
    const { customer } = await stack.stripe.subscriptions.retrieve(subscription)
    const events = await eventsOf(stack, customer as string)
    const paid = events.filter(({ type }) => type === 'invoice.paid').at(-1)
    const updated = events.filter(({ type }) => type === 'customer.subscription.updated').at(-1)
    assert.ok(paid && updated)
    await Promise.all([
      deliver(stack, paid),
      deliver(stack, updated),
      deliver(stack, paid),
      deliver(stack, updated),
    ])
    await settled(stack)
    assert.equal((await grants(account)).length, 2)
    assert.equal(await balanceOf(stack, account), '20')
  })

  it('RC-3: a retried event against a new one about the same fact grants once', async () => {
    const { account, events } = await payUnheard()
    const paid = find(events, 'invoice.paid')
    const again = { ...paid, id: `${paid.id}again` }
    await Promise.all([
      deliver(stack, paid),
      deliver(stack, again),
      deliver(stack, find(events, 'invoice.payment_succeeded')),
    ])
    await settled(stack)
    await deliver(stack, paid)
    await settled(stack)
    assert.equal((await grants(account)).length, 1)
  })

  it('ends the same in every order of the first checkout’s events', async () => {
    const types = [
      'checkout.session.completed',
      'customer.subscription.created',
      'invoice.paid',
      'invoice.payment_succeeded',
    ]
    const orders = permutations(types)
    assert.equal(orders.length, 24)
    const paid: Awaited<ReturnType<typeof payUnheard>>[] = []
    for (const _ of orders) paid.push(await payUnheard())
    await Promise.all(
      orders.map(async (order, index) => {
        const { account, events, subscription } = paid[index] as (typeof paid)[number]
        for (const type of order) {
          const event = find(events, type)
          assert.equal(await deliver(stack, event), 200)
          await settledEvent(stack, event.id)
        }
        assert.equal((await grants(account)).length, 1, order.join(' '))
        assert.equal(await balanceOf(stack, account), '20', order.join(' '))
        const { body } = await stack.call('GET', `/v1/subscriptions/${subscription}`)
        assert.equal(body['status'], 'active')
      }),
    )
  })

  it('stores and counts what nobody handles, and says yes to it', async () => {
    const id = `evt_unhandled${Date.now()}`
    const event = {
      id,
      object: 'event',
      type: 'giraffe.created',
      api_version: '2026-10-28.endive',
      created: Math.floor(Date.now() / 1000),
      livemode: false,
      data: { object: { id: 'gir_1', object: 'giraffe' } },
    }
    assert.equal(await deliver(stack, event), 200)
    const { rows } = await stack.database.pool.query(
      'select owner, settled_at is not null as settled from processed_webhook_events where event_id = $1',
      [id],
    )
    assert.deepEqual(rows, [{ owner: null, settled: true }])
  })

  it('parks an event that cannot be worked off, with an alert, and the rest flows', async () => {
    const poisoned = await payUnheard('tier_200_1000')
    const paid = find(poisoned.events, 'invoice.paid')
    // terms that no pass can be made of, however often it is tried
    await stack.database.owner.query(
      `update catalog_price set terms = jsonb_set(terms, '{credits}', '"many"') where plan = 'tier_200_1000'`,
    )
    assert.equal(await deliver(stack, paid), 200)
    const parked = await eventually('the event is parked', async () => {
      const { rows } = await stack.database.pool.query<{ parked_reason: string }>(
        'select parked_reason from processed_webhook_events where event_id = $1 and parked_at is not null',
        [paid.id],
      )
      return rows[0]
    })
    assert.match(parked.parked_reason, /many/)
    const alerts = await stack.database.pool.query(
      'select kind from alert where resolved_at is null and subject = any($1)',
      [[paid.id, poisoned.subscription]],
    )
    assert.deepEqual(
      alerts.rows.map(({ kind }) => kind).sort((a, b) => (a < b ? -1 : 1)),
      ['event_parked', 'needs_attention'],
    )
    // no thrown error closes it, and an operator finds it by its search attribute
    await eventually('the workflow asks for a person', async () => {
      const seen = await stack.temporal.workflow.getHandle(poisoned.subscription).describe()
      assert.equal(seen.status.name, 'RUNNING')
      return seen.typedSearchAttributes.get(ATTRIBUTE.attention) === true
    })

    const healthy = await payUnheard()
    await deliver(stack, find(healthy.events, 'invoice.paid'))
    await eventually('the rest flows', async () => (await grants(healthy.account)).length === 1)
  })
})

function permutations<T>(items: T[]): T[][] {
  if (items.length <= 1) return [items]
  return items.flatMap((item, index) =>
    permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]),
  )
}
