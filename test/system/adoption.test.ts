import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { eventually, openCheckout, settled, type Stack, startStack, subscribe } from '../support/stack.ts'
import { temporalServer } from '../support/temporal.ts'

describe('law 5: lose every webhook and all of Temporal’s data, and lose nothing', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const grants = async (account: string) =>
    (
      await stack.database.pool.query(`select 1 from posting where account_id = $1 and kind = 'grant'`, [
        account,
      ])
    ).rowCount ?? 0

  it('a start adopts what only Postgres knows, and what only Stripe knows', async () => {
    // its year goes on after its end: Stripe no longer lists it as live
    const ended = await subscribe(stack, 'tier_2_20', 'year')
    await stack.stripe.subscriptions.cancel(ended.subscription)
    const known = await subscribe(stack)
    await settled(stack)
    await stack.control('webhooks', { drop: {} })
    const waiting = await openCheckout(stack)
    // a subscription that nobody ever told us of
    const { customer, items, default_payment_method } = await stack.stripe.subscriptions.retrieve(
      known.subscription,
    )
    const unheard = await stack.stripe.subscriptions.create({
      customer: customer as string,
      items: [{ price: items.data[0]?.price.id ?? '' }],
      default_payment_method: default_payment_method as string,
    })
    assert.equal(await grants(known.account), 1)
    await stack.stopWorker()
    const server = await temporalServer()
    await server.kill()
    await stack.clock.jump(stack.clock.now() + 32 * DAY_MS)
    const { rowCount } = await stack.database.pool.query(
      'select 1 from processed_webhook_events where settled_at is null',
    )
    assert.equal(rowCount, 0, 'no event is left that a sweeper could find')
    await server.restart()
    await stack.startWorker()

    await eventually('the second month of the year', async () => (await grants(ended.account)) === 2)
    // one period and its renewal of each of the two
    await eventually('both renewals', async () => (await grants(known.account)) === 4)
    await eventually('the checkout is over', async () => {
      const { body } = await stack.call('GET', `/v1/subscriptions/${waiting.order}`)
      return body['status'] === 'abandoned'
    })
    for (const id of [ended.subscription, known.subscription, unheard.id]) {
      const { status } = await stack.temporal.workflow.getHandle(id).describe()
      assert.equal(status.name, 'RUNNING', id)
    }
  })
})
