import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, settled, type Stack, startStack } from '../support/stack.ts'

describe('what was given back pays for the next subscription, and mints nothing', function () {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const newAccount = async () => (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
  const order = async (account: string, plan: string) => {
    const { body } = await stack.ask<{ checkout: { id: string } }>('POST', '/v1/subscriptions', {
      account,
      plan,
      interval: 'month',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
    await stack.control(`checkout/${body.checkout.id}/pay`, {})
    await settled(stack)
    const session = await stack.stripe.checkout.sessions.retrieve(body.checkout.id)
    return { subscription: session.subscription as string, paid: session.amount_total ?? 0 }
  }
  const spendAll = async (account: string) => {
    const amount = await balanceOf(stack, account)
    if (amount !== '0') await stack.call('POST', `/v1/accounts/${account}/spend`, { amount })
  }
  /** What cards were charged, in dollars, and what was granted. */
  const sums = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ customer: string; granted: string }>(
      `select a.stripe_customer_id as customer, trim_scale(sum(p.amount))::text as granted
         from account a join posting p on p.account_id = a.id and p.kind = 'grant' where a.id = $1 group by 1`,
      [account],
    )
    const { customer = '', granted = '0' } = rows[0] ?? {}
    let charged = 0
    for await (const charge of stack.stripe.charges.list({ customer })) {
      if (charge.status === 'succeeded') charged += charge.amount
    }
    return { customer, charged: charged / 100, granted: Number(granted) }
  }

  it('prorated to less in Stripe, ended at the period’s end or at once, and the same ordered again: twice round', async () => {
    const account = await newAccount()
    const small = (await stack.stripe.prices.list({ lookup_keys: ['tier_2_20.month.v1'] })).data[0]?.id ?? ''
    for (const round of [1, 2, 3]) {
      const { subscription } = await order(account, 'tier_6_50')
      await spendAll(account)
      const { charged, granted } = await sums(account)
      assert.equal(charged, round === 1 ? 50 : 50 + (round - 1) * 20)
      assert.ok(granted <= charged, `${granted} credits for $${charged} in round ${round}`)
      assert.ok(granted > charged - 0.01, 'and all that was paid')
      if (round === 3) break
      const { items } = await stack.stripe.subscriptions.retrieve(subscription)
      await stack.stripe.subscriptions.update(subscription, {
        items: [{ id: items.data[0]?.id ?? '', price: small }],
        proration_behavior: 'create_prorations',
      })
      if (round === 1) {
        await stack.ask('POST', `/v1/subscriptions/${subscription}/cancel`, {})
        await stack.clock.advance(stack.clock.now() + 32 * DAY_MS)
      } else {
        await stack.stripe.subscriptions.cancel(subscription, { invoice_now: true })
        await settled(stack)
      }
      const { customer } = await sums(account)
      const { balance } = (await stack.stripe.customers.retrieve(customer)) as { balance: number }
      assert.equal(balance, -3000)
    }

    // what any other subscription left is in a preview as it is in the deed
    const { rows } = await stack.database.pool.query<{ id: string }>(
      `select id from subscription where account_id = $1 and status = 'active'`,
      [account],
    )
    const path = `/v1/subscriptions/${rows[0]?.id}/change`
    await stack.database.pool.query(
      `insert into settlement (key, account_id, subscription_id, invoice_id, owed)
       values ('proration:in_other:p', $1, 'sub_other', 'in_other', 30)`,
      [account],
    )
    const preview = await stack.call<{ balance: { balance: string } }>('POST', `${path}?dry_run=true`, {
      plan: 'tier_12_100',
    })
    await stack.call('POST', path, { plan: 'tier_12_100' })
    await settled(stack)
    const balance = await balanceOf(stack, account)
    assert.equal(balance, preview.body.balance.balance)
    assert.match(balance, /^(20|19\.9\d*)$/)
  })
})
