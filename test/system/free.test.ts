import assert from 'node:assert/strict'
import { assertBooks, commonYearAfter, DAY_MS } from '../support/ledger.ts'
import {
  type Answer,
  balanceOf,
  describeBoth,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  wake,
} from '../support/stack.ts'
import { temporalServer } from '../support/temporal.ts'
import { fastForward } from '../support/time-skipping.ts'

interface Free {
  id: string
  status: string
  stripe_id: string | null
  checkout: null
  interval: string
  current_period_start: string
  current_period_end: string
  cancel_at: string | null
  ended_at: string | null
}

interface Entry {
  kind: string
  amount: string
  reason_code: string
  occurred_at: string
}

const newAccount = async (stack: Stack) =>
  (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
const ask = (stack: Stack, account: string, key?: string): Promise<Answer<Free>> =>
  stack.ask<Free>('POST', '/v1/subscriptions', { account, plan: 'free' }, key)

/** A new account in the free plan. */
async function enrol(stack: Stack): Promise<{ account: string; free: Free }> {
  const account = await newAccount(stack)
  const { status, body } = await ask(stack, account)
  assert.equal(status, 201, JSON.stringify(body))
  return { account, free: body }
}

/** Buys the plan of 20 credits for an account that is there already. */
async function buy(stack: Stack, account: string): Promise<string> {
  const { body } = await stack.ask<{ checkout: { id: string } }>('POST', '/v1/subscriptions', {
    account,
    plan: 'tier_2_20',
    success_url: 'https://example.com/ok',
    cancel_url: 'https://example.com/no',
  })
  await stack.control(`checkout/${body.checkout.id}/pay`, {})
  const { subscription } = await stack.stripe.checkout.sessions.retrieve(body.checkout.id)
  await settled(stack)
  return subscription as string
}

async function grantsOf(stack: Stack, account: string): Promise<Entry[]> {
  const { body } = await stack.call<{ data: Entry[] }>('GET', `/v1/accounts/${account}/ledger?limit=100`)
  return body.data.reverse().filter(({ kind }) => kind === 'grant')
}

const freeDays = async (stack: Stack, account: string) =>
  (await grantsOf(stack, account))
    .filter(({ reason_code }) => reason_code === 'free_period')
    .map(({ occurred_at }) => occurred_at.slice(0, 10))

describeBoth('a free plan, by the sandbox’s clock', function (apis) {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack({ apis })
  })
  after(() => stack?.stop())
  afterEach(async () => {
    await assertBooks(stack.database)
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    await settled(stack)
  })

  const to = (day: string) => stack.clock.advance(Date.parse(`${day}T12:00:00Z`))
  const read = async (id: string) => (await stack.call<Free>('GET', `/v1/subscriptions/${id}`)).body

  // the calendar is the same however many APIs there are
  const once = apis === 1 ? it : () => {}
  once(
    'begins at once, grants month by month from the 31st, gives way to what is paid for, and comes back',
    async () => {
      const year = commonYearAfter(stack.clock.now())
      await to(`${year}-01-31`)
      const { account, free } = await enrol(stack)
      assert.match(free.id, /^free_[0-9a-f]{32}$/)
      assert.deepEqual(
        [free.status, free.stripe_id, free.checkout, free.interval],
        ['active', null, null, 'month'],
      )
      assert.equal(free.current_period_end.slice(0, 10), `${year}-02-28`)
      // answered when its first credits were there
      assert.equal(await balanceOf(stack, account), '2')
      await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '1.5' })
      await to(`${year}-03-02`)
      assert.deepEqual(await freeDays(stack, account), [`${year}-01-31`, `${year}-02-28`])
      assert.equal(await balanceOf(stack, account), '2', 'what was left of January lapsed')

      // what is left of the month stays beside what is bought, until it lapses by itself
      const paid = await buy(stack, account)
      assert.equal(await balanceOf(stack, account), '22')
      await to(`${year}-04-01`)
      assert.equal(await balanceOf(stack, account), '22')
      await to(`${year}-04-10`)
      assert.equal(await balanceOf(stack, account), '20')
      assert.equal((await read(free.id)).current_period_start.slice(0, 10), `${year}-03-31`)
      const [entry] = (
        await stack.call<{ data: Free[] }>('GET', `/v1/subscriptions?account=${account}`)
      ).body.data.filter(({ id }) => id === free.id)
      assert.deepEqual([entry?.status, entry?.stripe_id], ['active', null])

      // the running month is granted when the paid plan ends, and only once
      await stack.stripe.subscriptions.cancel(paid)
      await settled(stack)
      const days = [`${year}-01-31`, `${year}-02-28`, `${year}-04-10`]
      assert.deepEqual(await freeDays(stack, account), days)
      const again = await buy(stack, account)
      await stack.stripe.subscriptions.cancel(again)
      await settled(stack)
      assert.deepEqual(await freeDays(stack, account), days)

      await to(`${year}-05-15`)
      const cancelled = await stack.ask<Free>(
        'POST',
        `/v1/subscriptions/${free.id}/cancel`,
        {},
        `c-${account}`,
      )
      assert.equal(cancelled.status, 200, JSON.stringify(cancelled.body))
      assert.equal(cancelled.body.cancel_at, cancelled.body.current_period_end)
      assert.equal(cancelled.body.cancel_at?.slice(0, 10), `${year}-05-31`)
      assert.equal((await ask(stack, account)).status, 409)
      await to(`${year}-07-15`)
      const ended = await read(free.id)
      assert.deepEqual([ended.status, ended.ended_at], ['canceled', cancelled.body.cancel_at])
      assert.deepEqual(await freeDays(stack, account), [...days, `${year}-04-30`])
      assert.equal(await balanceOf(stack, account), '0')
      const late = await stack.ask('POST', `/v1/subscriptions/${free.id}/cancel`, {})
      assert.deepEqual([late.status, late.body['code']], [409, 'subscription_ended'])
      await eventually('its workflow has ended', async () => {
        const { status } = await stack.temporal.workflow.getHandle(free.id).describe()
        return status.name === 'COMPLETED'
      })

      // begun again, its months are those of before
      const second = await ask(stack, account)
      assert.equal(second.status, 201)
      assert.deepEqual(
        [second.body.current_period_start, second.body.current_period_end].map((at) => at.slice(0, 10)),
        [`${year}-06-30`, `${year}-07-31`],
      )
      assert.equal(await balanceOf(stack, account), '2')
      // the same key, the same bytes, whatever has happened since
      const replay = await stack.ask('POST', `/v1/subscriptions/${free.id}/cancel`, {}, `c-${account}`)
      assert.deepEqual([replay.status, replay.body], [200, cancelled.body])
      assert.equal(replay.headers.get('idempotent-replayed'), 'true')
    },
  )

  it('is one of ten enrolments at once, and another only names it', async () => {
    const account = await newAccount(stack)
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(stack, account)))
    const made = answers.filter(({ status }) => status === 201)
    assert.equal(made.length, 1)
    for (const { status, body } of answers) {
      if (status === 201) continue
      const { code, subscription } = body as unknown as { code: string; subscription: string }
      assert.deepEqual([status, code, subscription], [409, 'subscription_exists', made[0]?.body.id])
    }
    assert.equal((await freeDays(stack, account)).length, 1)
  })

  it('is answered the same bytes for the same key, also by another API and after its end', async () => {
    const account = await newAccount(stack)
    const key = `enrol-${account}`
    const first = await ask(stack, account, key)
    await stack.ask('POST', `/v1/subscriptions/${first.body.id}/cancel`, {})
    await stack.clock.advance(stack.clock.now() + 40 * DAY_MS)
    assert.equal((await read(first.body.id)).status, 'canceled')
    for (const _ of [1, 2]) {
      const again = await ask(stack, account, key)
      assert.equal(again.headers.get('idempotent-replayed'), 'true')
      assert.deepEqual([again.status, again.body], [201, first.body])
    }
    assert.equal((await freeDays(stack, account)).length, 1)
  })

  it('waits beside a paid subscription that was there first, and outlives it', async () => {
    const { account, subscription } = await (async () => {
      const { account, session } = await openCheckout(stack)
      await stack.control(`checkout/${session}/pay`, {})
      await settled(stack)
      const { subscription } = await stack.stripe.checkout.sessions.retrieve(session)
      return { account, subscription: subscription as string }
    })()
    const { status, body } = await ask(stack, account)
    assert.deepEqual([status, body.status], [201, 'active'])
    assert.equal(await balanceOf(stack, account), '20')
    // by the paid one's workflow: nobody moves the clock
    await stack.stripe.subscriptions.cancel(subscription)
    await eventually('its credits', async () => (await balanceOf(stack, account)) === '22')
  })

  it('keeps the terms it was begun under', async () => {
    const { account } = await enrol(stack)
    await stack.database.owner.query(
      `update catalog_price set on_sale = false where kind = 'free';
       insert into catalog_price (price_id, lookup_key, kind, plan, interval, version, terms, on_sale)
       select 'free.free.v2', 'free.free.v2', kind, plan, interval, 'v2', terms
              || '{"priceId":"free.free.v2","lookupKey":"free.free.v2","version":"v2","credits":"3"}', true
         from catalog_price where lookup_key = 'free.free.v1'`,
    )
    try {
      const { account: other } = await enrol(stack)
      await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
      assert.equal(await balanceOf(stack, account), '2')
      assert.equal(await balanceOf(stack, other), '3')
    } finally {
      await stack.database.owner.query(
        `update catalog_price set on_sale = false where lookup_key = 'free.free.v2';
         update catalog_price set on_sale = true where lookup_key = 'free.free.v1'`,
      )
    }
  })
})

describe('law 5 for a free plan: what is lost', function () {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const statusOf = async (id: string) => (await stack.temporal.workflow.getHandle(id).describe()).status.name

  it('every wake: it wakes itself when the month turns', async () => {
    const year = commonYearAfter(stack.clock.now())
    await stack.clock.advance(Date.parse(`${year}-02-01T12:00:00Z`))
    const { account, free } = await enrol(stack)
    const rest = await eventually('it rests', async () => {
      const { events } = await stack.temporal.workflow.getHandle(free.id).fetchHistory()
      return events?.findLast((event) => event.timerStartedEventAttributes)
    })
    assert.ok(Number(rest.timerStartedEventAttributes?.startToFireTimeout?.seconds) <= 28 * 86_400)
    await stack.clock.jump(Date.parse(free.current_period_end) + 1_000)
    await fastForward(stack.temporal, free.id, 28 * DAY_MS)
    await eventually('the second month', async () => (await freeDays(stack, account)).length === 2)
  })

  it('all of Temporal’s data and every wake: a start grants each month that is due, as if none had been late', async () => {
    const alone = await enrol(stack)
    // a debt that only a month that came and went can have repaid
    const spent = { amount: '7', overdraft: true }
    assert.equal((await stack.call('POST', `/v1/accounts/${alone.account}/spend`, spent)).status, 200)
    const beside = await enrol(stack)
    const paid = await buy(stack, beside.account)
    await stack.control('webhooks', { drop: {} })
    await stack.stopWorker()
    const server = await temporalServer()
    await server.kill()
    // ends in Stripe while nobody hears of it
    await stack.stripe.subscriptions.cancel(paid)
    await stack.clock.jump(stack.clock.now() + 65 * DAY_MS)
    await server.restart()
    await stack.startWorker()
    await eventually('the two months of the one', async () => {
      return (await freeDays(stack, alone.account)).length === 3
    })
    assert.equal(await balanceOf(stack, alone.account), '-1')
    // what ended at once leaves each month since then, the first of which was granted before
    await eventually('the months of the other', async () => {
      return (await freeDays(stack, beside.account)).length === 3
    })
    assert.equal(await balanceOf(stack, beside.account), '2')
    for (const { free } of [alone, beside])
      await eventually('a workflow again', async () => (await statusOf(free.id)) === 'RUNNING')
    await stack.control('webhooks', { drop: false })
  })

  it('no worker: 202, and the same key is answered 201 when one is there', async () => {
    await stack.stopWorker()
    const account = await newAccount(stack)
    const free = { account, plan: 'free' }
    const taken = await stack.call('POST', '/v1/subscriptions', free, `late-${account}`)
    assert.equal(taken.status, 202, JSON.stringify(taken.body))
    const { subject } = taken.body as { subject: string }
    const { status } = (await stack.call<Free>('GET', `/v1/subscriptions/${subject}`)).body
    assert.equal(status, 'active', 'it is there, though nobody has granted yet')
    await stack.startWorker()
    const answer = await ask(stack, account, `late-${account}`)
    assert.deepEqual([answer.status, answer.body.id], [201, subject])
    await eventually('its credits', async () => (await balanceOf(stack, account)) === '2')
  })

  it('shows what a support person asks for: attributes and details', async () => {
    const { account, free } = await enrol(stack)
    const seen = await eventually('the attributes', async () => {
      for await (const run of stack.temporal.workflow.list({ query: `PerennialAccount = '${account}'` }))
        if (run.searchAttributes['PerennialStatus'] !== undefined) return run
      return undefined
    })
    assert.deepEqual([seen.workflowId, seen.type], [free.id, 'free'])
    assert.deepEqual(seen.searchAttributes['PerennialPlan'], ['free'])
    assert.deepEqual(seen.searchAttributes['PerennialStatus'], ['active'])
    const handle = stack.temporal.workflow.getHandle(free.id)
    const details = async () =>
      (await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata')).currentDetails ?? ''
    assert.match(await details(), /granted 2 credits \(free_period, free:default:0\)/)
    await buy(stack, account)
    await wake(stack, free.id)
    await eventually('it says why it grants nothing', async () => /while a paid/.test(await details()))
  })
})
