import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createApprovalActivities } from '../../src/activities/approval.ts'
import { createCalls } from '../../src/activities/calls.ts'
import { createApiKey } from '../../src/store/api-key.ts'
import { insertCommand } from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createGateway } from '../../src/stripe/gateway.ts'
import { decide, type Verdict } from '../support/approval.ts'
import { assertBooks } from '../support/ledger.ts'
import {
  balanceOf,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
  wake,
} from '../support/stack.ts'

/** An account that pays twice for plans of one group. */
interface Twice {
  account: string
  first: string
  second: string
  /** what a person is asked */
  approval: string
}

describe('a second live subscription of a plan group', function () {
  this.timeout(180_000)
  const folder = mkdtempSync(join(tmpdir(), 'perennial-catalog-'))
  let stack: Stack
  let key: string
  before(async () => {
    stack = await startStack({ worker: false })
    key = await createApiKey(stack.database.owner, { name: 'second', scopes: ['read', 'approvals'] })
    const file = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))
    const prices = [{ interval: 'month', unit_amount: '700' }]
    file.plans.push({ key: 'addon', name: 'Add-on', group: 'addons', tier: 1, credits: '7', prices })
    stack.config.catalogFile = join(folder, 'catalog.json')
    writeFileSync(stack.config.catalogFile, JSON.stringify(file))
    await stack.startWorker()
  })
  after(async () => {
    await stack?.stop()
    rmSync(folder, { recursive: true })
  })
  afterEach(() => assertBooks(stack.database))

  const decideIt = (id: string, verdict: Verdict, query = '') => decide(stack, key, id, verdict, { query })
  const approvals = async (account: string) => {
    const list = `/v1/approvals?account=${account}&kind=duplicate_subscription`
    // newest first
    return (await stack.call<{ data: { id: string; state: string }[] }>('GET', list)).body.data
  }
  /** Buys the same once more, as somebody does in the Dashboard. */
  const buyAgain = async (subscription: string) => {
    const { customer, items, default_payment_method } =
      await stack.stripe.subscriptions.retrieve(subscription)
    return await stack.stripe.subscriptions.create({
      customer: customer as string,
      items: [{ price: items.data[0]?.price.id ?? '' }],
      default_payment_method: default_payment_method as string,
    })
  }
  /** Accounts that pay twice. */
  async function twice(accounts: number): Promise<Twice[]> {
    const opened = await Promise.all(Array.from({ length: accounts }, () => openCheckout(stack)))
    await Promise.all(opened.map(({ session }) => stack.control(`checkout/${session}/pay`, {})))
    await settled(stack)
    const made = await Promise.all(
      opened.map(async ({ account, session }) => {
        const { subscription } = await stack.stripe.checkout.sessions.retrieve(session)
        const { id: second } = await buyAgain(subscription as string)
        return { account, first: subscription as string, second }
      }),
    )
    await settled(stack)
    return await Promise.all(
      made.map(async (each) => {
        const asked = await approvals(each.account)
        assert.equal(asked.length, 1)
        return { ...each, approval: asked[0]?.id ?? '' }
      }),
    )
  }
  const alerts = async (subject: string) =>
    (
      await stack.database.pool.query(
        `select 1 from alert where kind = 'needs_attention' and subject = $1 and resolved_at is null`,
        [subject],
      )
    ).rowCount
  const row = async (subscription: string) =>
    (
      await stack.database.pool.query<{ role: string; attention: string | null; plan_group: string }>(
        'select role, attention, plan_group from subscription where id = $1',
        [subscription],
      )
    ).rows[0]
  const attention = async (subscription: string) => (await row(subscription))?.attention
  const isPrimary = (subscription: string) =>
    eventually('it is the primary', async () => (await row(subscription))?.role === 'primary')
  const isEnding = async (subscription: string) =>
    (await stack.stripe.subscriptions.retrieve(subscription)).cancel_at_period_end
  const grants = async (account: string) =>
    (
      await stack.database.pool.query<{ grant: string }>(
        `select trim_scale(amount) || ' ' || reason_code as grant from posting
          where account_id = $1 and kind = 'grant' order by seq`,
        [account],
      )
    ).rows.map(({ grant }) => grant)
  const order = (account: string) =>
    stack.ask('POST', '/v1/subscriptions', {
      account,
      plan: 'tier_2_20',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
  const reach = () => ({ client: stack.temporal, taskQueue: stack.config.taskQueue })

  it('that came from another group by hand is granted, and a person is asked; a price of nobody’s leaves it where it is', async () => {
    const priceOf = async (lookupKey: string) =>
      (await stack.stripe.prices.list({ lookup_keys: [lookupKey] })).data[0]?.id ?? ''
    const { account, subscription: plan } = await subscribe(stack)
    const { customer, default_payment_method } = await stack.stripe.subscriptions.retrieve(plan)
    const addon = await stack.stripe.subscriptions.create({
      customer: customer as string,
      items: [{ price: await priceOf('addon.month.v1') }],
      default_payment_method: default_payment_method as string,
    })
    await settled(stack)
    assert.deepEqual(await row(addon.id), { role: 'primary', attention: null, plan_group: 'addons' })
    const moveTo = async (price: string, startsAnew = false) => {
      await stack.stripe.subscriptions.update(addon.id, {
        items: [{ id: addon.items.data[0]?.id ?? '', price }],
        ...(startsAnew ? { billing_cycle_anchor: { type: 'now' } } : {}),
        proration_behavior: 'none',
      })
      await settled(stack)
    }
    const { id: theirs } = await stack.stripe.prices.create({
      currency: 'usd',
      unit_amount: 900,
      recurring: { interval: 'month' },
      product_data: { name: 'theirs' },
    })
    await moveTo(theirs)
    assert.deepEqual(await row(addon.id), {
      role: 'primary',
      attention: 'unknown_price',
      plan_group: 'addons',
    })
    // a period of the other plan begins, and is paid
    await moveTo(await priceOf('tier_2_20.month.v1'), true)
    assert.deepEqual(await row(addon.id), {
      role: 'duplicate',
      attention: 'duplicate_subscription',
      plan_group: 'default',
    })
    await eventually('a person is asked', async () => (await alerts(addon.id)) === 1)
    assert.equal((await approvals(account)).length, 1)
    assert.deepEqual(await grants(account), ['20 first_payment', '7 first_payment', '20 plan_change'])
    assert.equal(await balanceOf(stack, account), '40')
  })

  describe('bought by hand', () => {
    let pairs: Twice[]
    before(async () => {
      pairs = await twice(5)
    })
    const pair = (index: number): Twice => {
      const found = pairs[index]
      assert.ok(found)
      return found
    }

    it('approved, ends with its period and keeps what it granted; when it goes on all the same, a person is asked again', async () => {
      const { account, first, second, approval } = pair(0)
      await eventually('a person is asked', async () => (await alerts(second)) === 1)
      const { status, body } = await decideIt(approval, 'approve')
      assert.deepEqual([status, body['state']], [200, 'executed'], JSON.stringify(body))
      await settled(stack)
      assert.deepEqual([await isEnding(second), await isEnding(first)], [true, false])
      assert.deepEqual([await attention(second), await alerts(second)], [null, 0])
      assert.equal(await balanceOf(stack, account), '40')
      // a look at it again changes nothing of that
      await wake(stack, second)
      await settled(stack)
      assert.deepEqual([await attention(second), await alerts(second)], [null, 0])

      for (const query of ['', '?dry_run=true']) {
        const resumed = await stack.ask<{ code?: string; refusal?: { code: string } }>(
          'POST',
          `/v1/subscriptions/${second}/resume${query}`,
          {},
        )
        const code = resumed.body.refusal?.code ?? resumed.body.code
        assert.equal(code, 'subscription_duplicate', JSON.stringify(resumed.body))
      }
      assert.equal(await isEnding(second), true)
      const portal = { account, return_url: 'https://example.com/billing' }
      const { url } = (await stack.ask('POST', '/v1/portal_sessions', portal)).body
      const session = /bps_[A-Za-z0-9]+/.exec(String(url))?.[0] ?? ''
      await stack.control(`portal/${session}/resume`, { subscription: second })
      await settled(stack)
      assert.equal(await isEnding(second), false)
      assert.equal(await attention(second), 'duplicate_subscription')
      await eventually('a person is asked again', async () => (await alerts(second)) === 1)
      const [again, ...before] = await approvals(account)
      assert.deepEqual([again?.state, before.map(({ state }) => state)], ['pending', ['executed']])
      assert.equal((await decideIt(again?.id ?? '', 'approve')).body['state'], 'executed')
      await settled(stack)
      assert.equal(await isEnding(second), true)
      assert.deepEqual([await attention(second), await alerts(second)], [null, 0])
      assert.equal((await approvals(account)).length, 2)
    })

    it('stays for a person when it is rejected, and is not asked again', async () => {
      const { account, second, approval } = pair(1)
      await eventually('a person is asked', async () => (await alerts(second)) === 1)
      assert.equal((await decideIt(approval, 'reject')).body['state'], 'rejected')
      await stack.stripe.subscriptions.update(second, { metadata: { looked: 'at' } })
      await settled(stack)
      assert.deepEqual([await attention(second), await alerts(second)], ['duplicate_subscription', 1])
      assert.equal(await isEnding(second), false)
      assert.equal((await approvals(account)).length, 1)
    })

    it('is the account’s plan when the other one has ended: nobody need look, it changes, and what was asked is refused', async () => {
      const { account, first, second, approval } = pair(2)
      await eventually('a person is asked', async () => (await alerts(second)) === 1)
      await stack.stripe.subscriptions.cancel(first)
      await settled(stack)
      assert.deepEqual(await row(second), { role: 'primary', attention: null, plan_group: 'default' })
      assert.equal(await alerts(second), 0)
      const third = await order(account)
      assert.deepEqual(
        [third.status, third.body['code'], third.body['subscription']],
        [409, 'subscription_exists', second],
      )
      const changed = await stack.ask('POST', `/v1/subscriptions/${second}/change`, { plan: 'tier_6_50' })
      assert.equal(changed.status, 200, JSON.stringify(changed.body))
      const { status, body } = await decideIt(approval, 'approve')
      assert.deepEqual([status, body['code']], [409, 'approval_stale'])
      assert.equal(await isEnding(second), false)
      assert.equal((await stack.call('GET', `/v1/approvals/${approval}`)).body['state'], 'refused')
    })

    it('is not ended when the other one has ended in Stripe and nobody told: the refusal makes it be seen', async () => {
      const { first, second, approval } = pair(3)
      await stack.control('webhooks', { drop: true })
      try {
        await stack.stripe.subscriptions.cancel(first)
        const preview = await decideIt(approval, 'approve', '?dry_run=true')
        assert.equal((preview.body['refusal'] as { code: string }).code, 'approval_stale')
        const { status, body } = await decideIt(approval, 'approve')
        assert.deepEqual([status, body['code']], [409, 'approval_stale'])
        assert.equal(await isEnding(second), false)
        await isPrimary(second)
      } finally {
        await stack.control('webhooks', { drop: false })
      }
    })

    it('goes on when the other one ends while it is being ended', async () => {
      const { account, first, second, approval } = pair(4)
      const { pool } = stack.database
      const calls = createCalls(pool)
      const changes = createChangeGateway(stack.stripe, calls)
      const activities = createApprovalActivities({
        pool,
        gateway: createGateway(stack.stripe, calls),
        reach: reach(),
        changes: {
          ...changes,
          async take(...step) {
            await changes.take(...step)
            if (step[1].do !== 'cancel') return
            await stack.stripe.subscriptions.cancel(first)
            await isPrimary(second)
          },
        },
      })
      const command = 'cmd_while'
      const [asker] = (await stack.database.owner.query<{ id: string }>('select id from api_key')).rows
      await transaction(pool, (client) =>
        insertCommand(client, {
          id: command,
          scope: account,
          operation: 'approve',
          key: command,
          content: {},
          owner: `approval/${approval}`,
          input: { actor: asker?.id ?? '' },
        }),
      )
      const answer = await activities.decideApproval({ approval, command })
      assert.deepEqual([answer.state, answer.result['code']], ['refused', 'approval_stale'])
      await settled(stack)
      assert.equal(await isEnding(second), false)
      assert.deepEqual(await row(second), { role: 'primary', attention: null, plan_group: 'default' })
    })

    it('at the same second as the first: both are granted, one is the plan, and a person is asked about the other', async () => {
      const { account, subscription } = await subscribe(stack)
      const both = await Promise.all([buyAgain(subscription), buyAgain(subscription)])
      await stack.stripe.subscriptions.cancel(subscription)
      await settled(stack)
      const roles = await Promise.all(both.map(async ({ id }) => (await row(id))?.role))
      assert.deepEqual(new Set(roles), new Set(['duplicate', 'primary']))
      assert.deepEqual(
        await grants(account),
        Array.from({ length: 3 }, () => '20 first_payment'),
      )
      await eventually('a person is asked about one of them', async () => {
        const open = await Promise.all(both.map(async ({ id }) => (await alerts(id)) ?? 0))
        return open.includes(1) && open.includes(0)
      })
    })
  })
})
