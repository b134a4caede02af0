import assert from 'node:assert/strict'
import { assertBooks } from '../support/ledger.ts'
import { eventually, openCheckout, settled, type Stack, startStack, subscribe } from '../support/stack.ts'

describe('the sandbox’s clock waits', function () {
  this.timeout(120_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const unsettled = async () =>
    (await stack.database.pool.query('select from processed_webhook_events where settled_at is null'))
      .rowCount

  it('for an event that is told and stored while it looks', async () => {
    const { session } = await openCheckout(stack)
    await settled(stack)
    const { owner } = stack.database
    // the clock asks for the time once a look, because of the one order; its second and last look waits for us
    await owner.query('create sequence look')
    await owner.query(
      `create or replace function business_now() returns timestamptz language plpgsql volatile as $$
       begin
         if session_user <> 'perennial_app' then perform pg_advisory_xact_lock_shared(nextval('public.look')); end if;
         return date_trunc('milliseconds', clock_timestamp())
                  + (select offset_ms from public.business_clock) * interval '1 millisecond';
       end $$`,
    )
    const holder = await owner.connect()
    let advanced: Promise<void>
    try {
      await holder.query('select pg_advisory_lock(2)')
      advanced = settled(stack)
      await eventually('it looks', async () => {
        const { rowCount } = await holder.query(
          `select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`,
        )
        return rowCount === 1
      })
      await stack.control(`checkout/${session}/abandon`, {})
      await eventually('it is stored', async () => (await unsettled()) !== 0)
      await eventually('it is answered', async () => stack.sandbox.webhooksInFlight() === 0)
    } finally {
      await holder.query('select pg_advisory_unlock_all()')
      holder.release()
    }
    await advanced
    assert.equal(await unsettled(), 0)
  })

  it('for what a pass does in Stripe after its commit, and for all that comes of it', async () => {
    const { order, subscription } = await subscribe(stack, 'tier_6_50')
    const { status } = await stack.ask('POST', `/v1/subscriptions/${order}/change`, { plan: 'tier_2_20' })
    assert.equal(status, 200)
    const { schedule, items } = await stack.stripe.subscriptions.retrieve(subscription)
    assert.notEqual(schedule, null)
    const path = '/v1/subscription_schedules/:id/release'
    await stack.control('faults', { fault: 'latency', latency_ms: 2_000, path })
    await stack.clock.advance((items.data[0]?.current_period_end ?? 0) * 1000 + 1_000)
    assert.equal((await stack.stripe.subscriptions.retrieve(subscription)).schedule, null)
    assert.equal(await unsettled(), 0)
  })
})
