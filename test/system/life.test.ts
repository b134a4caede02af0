import assert from 'node:assert/strict'
import { assertBooks } from '../support/ledger.ts'
import { balanceOf, type Stack, startStack, subscribe } from '../support/stack.ts'

describe('the life of a subscription', function () {
  this.timeout(240_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  it('is paid, granted once, and renewed', async () => {
    const { account, subscription } = await subscribe(stack)
    assert.equal(await balanceOf(stack, account), '20')
    const { body } = await stack.call('GET', `/v1/subscriptions/${subscription}`)
    console.log(body)
    await stack.clock.advance(stack.clock.now() + 32 * 86_400_000)
    const ledger = await stack.call('GET', `/v1/accounts/${account}/ledger`)
    console.dir(ledger.body, { depth: 5 })
    assert.equal(await balanceOf(stack, account), '20')
  })
})
