import assert from 'node:assert/strict'
import { type Stack, startStack, eventually } from '../support/stack.ts'

describe('what comes too late', function () {
  this.timeout(120_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())

  it('an order that no worker opened in time is refused, its command ends, and a new order is possible', async () => {
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    const order = {
      account,
      plan: 'tier_2_20',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    }
    await stack.stopWorker()
    assert.equal((await stack.call('POST', '/v1/subscriptions', order, 'late')).status, 202)
    await stack.clock.jump(stack.clock.now() + 2 * 3_600_000)
    // due now, and not in some seconds: the worker's start sweeps
    await stack.database.owner.query('update command set next_attempt_at = clock_timestamp()')
    await stack.startWorker()
    await eventually('the command ends', async () => {
      const { rowCount } = await stack.database.pool.query(
        `select 1 from command where scope = $1 and state = 'refused'`,
        [account],
      )
      return rowCount === 1
    })
    const again = await stack.ask('POST', '/v1/subscriptions', order, 'late')
    assert.equal(again.status, 409)
    assert.equal(again.body['code'], 'checkout_expired')
    assert.equal((await stack.ask('POST', '/v1/subscriptions', order, 'new')).status, 201)
  })
})
