import assert from 'node:assert/strict'
import { Decimal } from 'decimal.js'
import type Stripe from 'stripe'
import { createCalls } from '../../src/activities/calls.ts'
import { createChangeActivities } from '../../src/activities/change.ts'
import { finishCommand, insertCommand } from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import type { Calls } from '../../src/stripe/call.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createGateway, type Gateway } from '../../src/stripe/gateway.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import {
  type Answer,
  balanceOf,
  settled,
  type Stack,
  startStack,
  subscribe,
  type Subscriber,
} from '../support/stack.ts'

const HOUR_MS = 3_600_000

describe('changes at the end of a period', function () {
  this.timeout(300_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(async () => {
    await assertBooks(stack.database)
    // what lives on would be looked at all through the next test, too
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    await settled(stack)
  })

  const change = (id: string, body: object) => stack.ask('POST', `/v1/subscriptions/${id}/change`, body)
  const read = async (id: string) => (await stack.call('GET', `/v1/subscriptions/${id}`)).body
  const inStripe = (id: string) => stack.stripe.subscriptions.retrieve(id)
  const later = async (ms: number) => {
    await stack.clock.advance(stack.clock.now() + ms)
  }
  const ok = ({ status, body }: Answer) => {
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }
  const refusedByStripe = ({ status, body }: Answer) =>
    assert.deepEqual([status, body['code']], [502, 'stripe_refused'], JSON.stringify(body))
  const priceOf = async (key: string) =>
    (await stack.stripe.prices.list({ lookup_keys: [key] })).data[0]?.id ?? ''
  const pendingPlan = async (id: string) => {
    const { pending_change: pending } = await read(id)
    return (pending as { plan: string } | null)?.plan ?? null
  }
  const endOf = async (id: string) => ((await inStripe(id)).items.data[0]?.current_period_end ?? 0) * 1000

  describe('with what is beside the price', () => {
    it('a downgrade leaves discount, taxes and further items as they are, now and in the next period, and then lets go', async () => {
      const { account, subscription } = await subscribe(stack, 'tier_6_50')
      const { stripe } = stack
      // one that somebody else made and is still at work on is left alone
      const { id: foreign } = await stripe.subscriptionSchedules.create({ from_subscription: subscription })
      await settled(stack)
      assert.equal((await inStripe(subscription)).schedule, foreign)
      await stripe.subscriptionSchedules.release(foreign)
      const coupon = await stripe.coupons.create({ percent_off: 20, duration: 'forever' })
      const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 10, inclusive: false })
      const product = await stripe.products.create({ name: 'Support' })
      const support = await stripe.prices.create({
        product: product.id,
        currency: 'usd',
        unit_amount: 300,
        recurring: { interval: 'month' },
      })
      await stripe.subscriptions.update(subscription, {
        discounts: [{ coupon: coupon.id }],
        default_tax_rates: [rate.id],
        items: [{ price: support.id, quantity: 2 }],
        proration_behavior: 'none',
      })
      await settled(stack)
      const before = await inStripe(subscription)
      ok(await change(subscription, { plan: 'tier_2_20' }))
      const what = ({ discounts, default_tax_rates: rates, items }: Stripe.Subscription) => ({
        discounts,
        rates: rates?.map(({ id }) => id),
        items: items.data.map(({ price, quantity }) => `${price.id} ${quantity}`).toSorted(),
      })
      const after = await inStripe(subscription)
      assert.deepEqual(what(after), what(before))
      await later(32 * DAY_MS)
      const renewed = await inStripe(subscription)
      const small = await priceOf('tier_2_20.month.v1')
      const items = [`${small} 1`, `${support.id} 2`].toSorted()
      assert.deepEqual(what(renewed), { ...what(before), items })
      const invoice = await stripe.invoices.retrieve(renewed.latest_invoice as string)
      // 20 and 2 × 3, less a fifth, and a tenth of that in taxes
      assert.deepEqual([invoice.billing_reason, invoice.total], ['subscription_cycle', 2288])
      assert.deepEqual(
        [(await read(subscription))['plan'], await pendingPlan(subscription)],
        ['tier_2_20', null],
      )
      // the schedule has done what it was made for, and Stripe's page changes plans again
      assert.equal(renewed.schedule, null)
      const page = { account, return_url: 'https://example.com/billing' }
      const { url } = (await stack.ask('POST', '/v1/portal_sessions', page)).body
      const session = /bps_[A-Za-z0-9]+/.exec(String(url))?.[0]
      await stack.control(`portal/${session}/change`, { subscription, quantity: 2 })
    })
  })

  describe('when Stripe refuses', () => {
    it('an upgrade leaves the downgrade that was pending; a withdrawal may be asked for again', async () => {
      const { account, order, subscription } = await subscribe(stack, 'tier_6_50')
      ok(await change(subscription, { plan: 'tier_2_20' }))
      const { customer, schedule } = await inStripe(subscription)
      const cards = await stack.stripe.customers.listPaymentMethods(customer as string)
      for (const { id } of cards.data) await stack.stripe.paymentMethods.detach(id)
      refusedByStripe(await change(subscription, { plan: 'tier_12_100' }))
      assert.equal(await pendingPlan(subscription), 'tier_2_20')
      assert.equal((await inStripe(subscription)).schedule, schedule)
      const { pool } = stack.database
      // a withdrawal that was refused, as its workflow leaves it: Stripe said no, because something was under way just then
      await transaction(pool, (client) =>
        insertCommand(client, {
          id: 'cmd_withdrawal1',
          scope: account,
          operation: 'withdraw',
          key: schedule as string,
          content: { subscription: order },
          owner: subscription,
          input: { subscription: order },
        }),
      )
      await finishCommand(pool, 'cmd_withdrawal1', {
        state: 'refused',
        statusCode: 502,
        result: { code: 'stripe_refused', detail: 'Stripe refused' },
      })
      const path = `/v1/subscriptions/${subscription}/pending_change`
      const both = await Promise.all([1, 2].map(() => stack.ask('DELETE', path)))
      const done = both.filter(({ status }) => status === 200)
      assert.ok(done.length > 0, JSON.stringify(both))
      assert.deepEqual(
        [await pendingPlan(subscription), (await inStripe(subscription)).schedule],
        [null, null],
      )
      ok(await change(subscription, { plan: 'tier_2_20' }))
      // with a card it is made, and nothing is pending any more
      const card = await stack.stripe.paymentMethods.attach('pm_card_visa', { customer: customer as string })
      await stack.stripe.subscriptions.update(subscription, { default_payment_method: card.id })
      ok(await change(subscription, { plan: 'tier_12_100' }))
      assert.deepEqual(
        [await pendingPlan(subscription), (await inStripe(subscription)).schedule],
        [null, null],
      )
    })

    it('a downgrade in the place of an upgrade that waits for its payment: refused, the upgrade waits on; made, it is given up', async () => {
      const { subscription } = await subscribe(stack, 'tier_6_50')
      const { customer } = await inStripe(subscription)
      const bad = await stack.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
        customer: customer as string,
      })
      await stack.stripe.subscriptions.update(subscription, { default_payment_method: bad.id })
      ok(await change(subscription, { plan: 'tier_12_100' }))
      const { latest_invoice: waiting } = await inStripe(subscription)
      const small = await priceOf('tier_2_20.month.v1')
      await stack.stripe.prices.update(small, { active: false })
      try {
        refusedByStripe(await change(subscription, { plan: 'tier_2_20' }))
      } finally {
        await stack.stripe.prices.update(small, { active: true })
      }
      assert.equal(await pendingPlan(subscription), 'tier_12_100')
      // the schedule that was made for it is let go of
      const made = await stack.stripe.subscriptionSchedules.list({ customer: customer as string })
      const statuses = made.data.map(({ status }) => status)
      assert.deepEqual([(await inStripe(subscription)).schedule, statuses], [null, ['released']])
      ok(await change(subscription, { plan: 'tier_2_20' }))
      assert.equal(await pendingPlan(subscription), 'tier_2_20')
      assert.equal((await stack.stripe.invoices.retrieve(waiting as string)).status, 'void')
    })
  })

  describe('when others come between', () => {
    let number = 0
    /** A change as its activity makes it, with whatever somebody else does between its calls. */
    async function changing(
      { account, subscription }: Subscriber & { subscription: string },
      plan: string,
      between: { gateway?: Partial<Gateway>; calls?: (calls: Calls) => Partial<Calls> },
    ) {
      const { pool } = stack.database
      const calls = createCalls(pool)
      const activities = createChangeActivities({
        pool,
        gateway: { ...createGateway(stack.stripe, calls), ...between.gateway },
        changes: createChangeGateway(stack.stripe, { ...calls, ...between.calls?.(calls) }),
      })
      const command = `cmd_between${(number += 1)}`
      const input = { subscription, plan }
      await transaction(pool, (client) =>
        insertCommand(client, {
          id: command,
          scope: account,
          operation: 'change',
          key: command,
          content: input,
          owner: subscription,
          input,
        }),
      )
      return () => activities.changeSubscription({ subscription, command })
    }

    it('a schedule that was let go of between two tries is followed by another one', async () => {
      const subscriber = await subscribe(stack, 'tier_6_50')
      const { subscription } = subscriber
      let tries = 0
      const act = await changing(subscriber, 'tier_2_20', {
        calls: ({ set }) => ({
          async set(setting) {
            if (setting.kind === 'phases' && (tries += 1) === 1) {
              const { schedule } = await inStripe(subscription)
              await stack.stripe.subscriptionSchedules.release(schedule as string)
              throw new Error('this worker died')
            }
            return await set(setting)
          },
        }),
      })
      await assert.rejects(act, /died/)
      const { result } = await act()
      assert.deepEqual(result, { became: 'scheduled', invoiced: false })
      await settled(stack)
      assert.equal(await pendingPlan(subscription), 'tier_2_20')
    })

    it('a change that Stripe does not hold any more when it is looked at is not told as made', async () => {
      const subscriber = await subscribe(stack)
      const gateway = createGateway(stack.stripe)
      let looks = 0
      const act = await changing(subscriber, 'tier_6_50', {
        gateway: {
          async subscription(id) {
            const [item] = (await inStripe(id)).items.data
            if ((looks += 1) === 2) {
              const items = [{ id: item?.id ?? '', price: await priceOf('tier_12_100.month.v1') }]
              await stack.stripe.subscriptions.update(id, { items, proration_behavior: 'none' })
            }
            return await gateway.subscription(id)
          },
        },
      })
      const { state, result } = await act()
      assert.deepEqual([state, result['code']], ['refused', 'change_overtaken'])
    })

    for (const [what, told] of Object.entries({
      'another plan': { quantity: 2 },
      'another discount': { discounts: true },
    }))
      it(`a schedule that holds ${what} when it is read again is not taken for set`, async () => {
        const subscriber = await subscribe(stack, 'tier_6_50')
        const { subscription } = subscriber
        const coupon = await stack.stripe.coupons.create({ percent_off: 20, duration: 'forever' })
        const act = await changing(subscriber, 'tier_2_20', {
          calls: ({ set }) => ({
            async set(setting) {
              const answer = await set(setting)
              if (setting.kind !== 'phases') return answer
              const { schedule: id } = await inStripe(subscription)
              const { phases } = await stack.stripe.subscriptionSchedules.retrieve(id as string)
              const [now, next] = phases.map(({ start_date, end_date, items: [item] }) => ({
                start_date,
                end_date,
                items: [{ price: item?.price as string, quantity: item?.quantity ?? 1 }],
              }))
              assert.ok(now && next)
              if ('quantity' in told) next.items[0] = { price: next.items[0]?.price ?? '', quantity: 2 }
              const more = 'discounts' in told ? { discounts: [{ coupon: coupon.id }] } : {}
              await stack.stripe.subscriptionSchedules.update(id as string, {
                phases: [now, { ...next, ...more }],
              })
              return answer
            },
          }),
        })
        const { state, result } = await act()
        assert.deepEqual([state, result['code']], ['refused', 'change_overtaken'])
        assert.equal((await inStripe(subscription)).schedule, null)
      })
  })

  describe('at the second of renewal', () => {
    /** Every plan here costs a dollar a credit. */
    const boughtBy = (invoices: Stripe.Invoice[]) =>
      Decimal.sum(0, ...invoices.map(({ amount_paid: cents }) => cents))
        .dividedBy(100)
        .toFixed()
    /** What was granted is what was paid for. */
    async function assertGranted(account: string, subscription: string) {
      const { data: paid } = await stack.stripe.invoices.list({ subscription, status: 'paid', limit: 100 })
      const { rows } = await stack.database.pool.query<{ granted: string }>(
        `select trim_scale(sum(amount))::text as granted from posting where account_id = $1 and kind = 'grant'`,
        [account],
      )
      assert.equal(rows[0]?.granted, boughtBy(paid))
      return paid
    }

    it('an upgrade in the last seconds of a period, and one in the first of the next: each is paid for and granted once', async () => {
      const [before, after] = await Promise.all([subscribe(stack), subscribe(stack)])
      const end = await endOf(before.subscription)
      await stack.clock.advance(end - 20_000)
      ok(await change(before.subscription, { plan: 'tier_6_50' }))
      assert.equal(await endOf(before.subscription), end)
      await stack.clock.advance(Math.max(end, await endOf(after.subscription)))
      ok(await change(after.subscription, { plan: 'tier_6_50' }))
      assert.ok((await endOf(after.subscription)) > end)
      await later(2 * HOUR_MS)
      const both = new Set(['subscription_create', 'subscription_cycle', 'subscription_update'])
      for (const { account, subscription } of [before, after]) {
        const paid = await assertGranted(account, subscription)
        assert.deepEqual(new Set(paid.map(({ billing_reason: reason }) => reason)), both)
      }
      // what lives is what the period that runs was paid with: a renewal of the new plan, or one of the old and the rest
      assert.equal(await balanceOf(stack, before.account), '50')
      const { data } = await stack.stripe.invoices.list({ subscription: after.subscription, limit: 2 })
      assert.equal(await balanceOf(stack, after.account), boughtBy(data))
    })

    it('changes up and down beside the turn: in whichever order, what is granted is what was paid for', async () => {
      const people = await Promise.all(
        ['tier_6_50', 'tier_6_50', 'tier_6_50', 'tier_6_50'].map((plan) => subscribe(stack, plan)),
      )
      const ends = await Promise.all(people.map(({ subscription }) => endOf(subscription)))
      await stack.clock.advance(Math.min(...ends) - 3_000)
      const turn = stack.clock.advance(Math.max(...ends) + 2 * HOUR_MS)
      const answers = await Promise.all(
        people.map(({ subscription }, index) =>
          change(subscription, { plan: index % 2 === 0 ? 'tier_12_100' : 'tier_2_20' }),
        ),
      )
      await turn
      for (const { status } of answers) assert.ok([200, 409, 502].includes(status), `${status}`)
      // the last answers may have come after the turn, and Stripe tells of what they changed
      await settled(stack)
      for (const { account, subscription } of people) {
        await assertGranted(account, subscription)
        const isPending = (await pendingPlan(subscription)) !== null
        assert.equal((await inStripe(subscription)).schedule !== null, isPending)
      }
    })
  })
})
