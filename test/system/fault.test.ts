import assert from 'node:assert/strict'
import { FAULTS } from '../../src/sandbox/stripe/fault.ts'
import { assertBooks } from '../support/ledger.ts'
import { balanceOf, eventually, settled, type Stack, startStack } from '../support/stack.ts'

interface Opened {
  id: string
  subject?: string
  checkout: { id: string } | null
}

/** A rule for each fault, for one request each, and orders that meet them: subscriptions and packs by turns. */
describe('orders while Stripe fails in every way', function () {
  this.timeout(240_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
    // with so many outages at once it would open, and then everything comes one after the other
    await stack.database.owner.query('update circuit_breaker set minimum = 1000000')
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  /** Orders, and waits for the page, which is opened later where the order was answered 202. */
  async function order(kind: 'subscriptions' | 'purchases') {
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    const what = kind === 'subscriptions' ? { plan: 'tier_2_20' } : { pack: 'credits_10' }
    const { status, body } = await stack.call<Opened>('POST', `/v1/${kind}`, {
      account,
      ...what,
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
    assert.ok(status === 201 || status === 202, JSON.stringify(body))
    const id = body.subject ?? body.id
    const session =
      body.checkout?.id ??
      (await eventually(
        'its page',
        async () => (await stack.call<Opened>('GET', `/v1/${kind}/${id}`)).body.checkout?.id,
        120_000,
      ))
    return { kind, account, session }
  }

  it('make one customer, one page and one grant each', async () => {
    const pages = FAULTS.map((fault) => ({ fault, path: '/v1/checkout/sessions' }))
    // a client waits for long until it gives up; once is enough of that
    const customers = FAULTS.filter((fault) => !fault.startsWith('timeout'))
    for (const rule of [...pages, ...customers.map((fault) => ({ fault, path: '/v1/customers' }))])
      await stack.control('faults', { ...rule, method: 'POST', count: 1, latency_ms: 300 })
    const kinds = FAULTS.map((_, index) => (index % 2 === 0 ? 'subscriptions' : 'purchases'))
    const orders = await Promise.all(kinds.map(order))
    const { data } = await stack.control('faults')
    const missed = (data as { fault: string; hits: number }[]).filter(({ hits }) => hits !== 1)
    assert.deepEqual(missed, [], 'every fault was met')

    for (const { session } of orders)
      await stack.control(`checkout/${session}/pay`, { payment_method: 'pm_card_visa' })
    await settled(stack)
    for (const { kind, account } of orders) {
      assert.equal(
        await balanceOf(stack, account),
        kind === 'subscriptions' ? '20' : '10',
        `${kind} of ${account}`,
      )
      const { rows } = await stack.database.pool.query<{ grants: number }>(
        `select count(*)::int as grants from posting where account_id = $1 and kind = 'grant'`,
        [account],
      )
      assert.equal(rows[0]?.grants, 1)
    }
    const ours = new Set(orders.map(({ account }) => account))
    const made: Record<string, number> = {}
    const { customers: people, checkout } = stack.stripe
    for (const list of [people.list({ limit: 100 }), checkout.sessions.list({ limit: 100 })])
      for await (const { metadata } of list)
        for (const account of Object.values(metadata ?? {}))
          if (ours.has(account)) made[account] = (made[account] ?? 0) + 1
    assert.deepEqual(made, Object.fromEntries([...ours].map((account) => [account, 2])))
  })
})
