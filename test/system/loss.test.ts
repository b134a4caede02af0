import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, type Stack, startStack, subscribe } from '../support/stack.ts'
import { temporalServer } from '../support/temporal.ts'

describe('law 5: what is lost', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const grants = async (account: string) => {
    const { body } = await stack.call<{ data: { kind: string }[] }>('GET', `/v1/accounts/${account}/ledger`)
    return body.data.filter(({ kind }) => kind === 'grant').length
  }

  it('all of Temporal’s data: a start adopts what is alive, and nothing is granted twice', async () => {
    const { account, subscription } = await subscribe(stack)
    const spent = await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '5' })
    assert.equal(spent.status, 200)
    const { body } = await stack.call('GET', `/v1/subscriptions/${subscription}`)
    const renewed = Date.parse(String(body['current_period_end'])) + DAY_MS
    await stack.stopWorker()
    const server = await temporalServer()
    await server.kill()
    try {
      // Stripe goes on while Temporal is gone: webhooks are stored and answered, spends are spent
      await stack.clock.jump(renewed)
      await stack.sandbox.deliverDue()
      const { rows } = await stack.database.pool.query<{ waiting: number }>(
        `select count(*)::int as waiting from processed_webhook_events where owner = $1 and settled_at is null`,
        [subscription],
      )
      assert.ok((rows[0]?.waiting ?? 0) > 0)
      assert.equal((await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '1' })).status, 200)
    } finally {
      // other tests need it, too
      await server.restart()
    }
    await stack.startWorker()
    await eventually('the renewal', async () => (await grants(account)) === 2)
    assert.equal(await balanceOf(stack, account), '20')
    await eventually('a workflow again', async () => {
      const { status } = await stack.temporal.workflow.getHandle(subscription).describe()
      return status.name === 'RUNNING'
    })
  })
})
