import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { assertBooks, commonYearAfter, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, type Stack, startStack, subscribe } from '../support/stack.ts'
import { fastForward } from '../support/time-skipping.ts'

describe('law 5: a workflow wakes itself at its next deadline', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  it('at the deadline, not at the end of the longest wait: a period of 28 days is found on its 28th', async () => {
    const year = commonYearAfter(stack.clock.now())
    await stack.clock.advance(Date.parse(`${year}-02-01T12:00:00Z`))
    const { account, subscription } = await subscribe(stack)
    await stack.control('webhooks', { drop: {} })
    // no wake of its beginning is still on its way
    for (let before = -1; ; ) {
      const { historyLength } = await stack.temporal.workflow.getHandle(subscription).describe()
      if (historyLength === before) break
      before = historyLength
      await pause(1_500)
    }
    await stack.clock.jump(stack.clock.now() + 29 * DAY_MS)
    // shorter than the longest wait of thirty days
    await fastForward(stack.temporal, subscription, 28 * DAY_MS + 3_600_000)
    await eventually('the renewal', async () => {
      const { body } = await stack.call<{ data: { kind: string }[] }>('GET', `/v1/accounts/${account}/ledger`)
      return body.data.filter(({ kind }) => kind === 'grant').length === 2
    })
    assert.equal(await balanceOf(stack, account), '20')
  })
})
