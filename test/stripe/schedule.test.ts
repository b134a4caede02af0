import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import type { SubscriptionStep } from '../../src/domain/subscription-step.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { FORGETFUL } from '../../src/stripe/call.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { stripeClient } from '../../src/stripe/gateway.ts'
import { startStripeProxy } from '../support/stripe-proxy.ts'

describe('the schedule of a change, when others are at work on it', () => {
  let sandbox: StripeSandbox
  let stripe: Stripe
  let subscription: string
  /** a downgrade at the end of the period */
  let step: Extract<SubscriptionStep, { do: 'schedule' }>
  before(async () => {
    sandbox = await startStripeSandbox({ port: 0, now: Date.now })
    stripe = stripeClient('sk_test_perennial', sandbox.url)
    const { id: product } = await stripe.products.create({ name: 'Plan' })
    const price = async (unit_amount: number) => {
      const recurring = { interval: 'month' as const }
      return (await stripe.prices.create({ product, currency: 'usd', unit_amount, recurring })).id
    }
    const [big, small] = [await price(5000), await price(2000)]
    const { id: customer } = await stripe.customers.create({})
    const { id: card } = await stripe.paymentMethods.attach('pm_card_visa', { customer })
    const made = await stripe.subscriptions.create({
      customer,
      items: [{ price: big }],
      default_payment_method: card,
    })
    subscription = made.id
    step = {
      do: 'schedule',
      schedule: null,
      at: new Date((made.items.data[0]?.current_period_end ?? 0) * 1000).toISOString(),
      now: { priceId: big, quantity: 1 },
      next: { priceId: small, quantity: 1, interval: 'month' },
      startsAnew: false,
    }
  })
  after(() => sandbox.close())
  afterEach(async () => {
    const schedule = await scheduleOf()
    if (schedule !== null) await stripe.subscriptionSchedules.release(schedule)
  })

  const scheduleOf = async () => (await stripe.subscriptions.retrieve(subscription)).schedule as string | null
  const statusOf = async (id: string) => (await stripe.subscriptionSchedules.retrieve(id)).status
  let commands = 0
  const take = (one: SubscriptionStep, by = stripe, calls = FORGETFUL) =>
    createChangeGateway(by, calls).take(subscription, one, `cmd_${(commands += 1)}`)
  const made = async () => {
    await take(step)
    return (await scheduleOf()) ?? ''
  }

  it('that somebody else let go of after it was looked at is let go of', async () => {
    const schedule = await made()
    await stripe.subscriptionSchedules.release(schedule)
    await take({ do: 'release', schedule })
    assert.equal(await statusOf(schedule), 'released')
  })

  it('is not let go of when Stripe refuses and holds it', async () => {
    const schedule = await made()
    const proxy = await startStripeProxy(sandbox.url)
    try {
      proxy.decide = ({ path }) =>
        path.endsWith('/release') ? { status: 400, type: 'invalid_request_error' } : 'pass'
      const release = take({ do: 'release', schedule }, stripeClient('sk_test_perennial', proxy.url))
      await assert.rejects(release, { type: 'StripeInvalidRequestError' })
    } finally {
      await proxy.close()
    }
    assert.equal(await statusOf(schedule), 'active')
  })

  it('that was let go of since it was looked at is no refusal: another look finds that there is none', async () => {
    const schedule = await made()
    await stripe.subscriptionSchedules.release(schedule)
    await assert.rejects(take({ ...step, schedule }), { name: 'Error', message: /is released/ })
  })

  it('that changes on another day when it is read again is not taken for set', async () => {
    const set: typeof FORGETFUL.set = async (setting) => {
      const answer = await FORGETFUL.set(setting)
      const id = (await scheduleOf()) ?? ''
      const { phases } = await stripe.subscriptionSchedules.retrieve(id)
      const [now, next] = phases.map(({ start_date, end_date, items: [item] }) => ({
        start_date,
        end_date,
        items: [{ price: item?.price as string, quantity: item?.quantity ?? 1 }],
      }))
      assert.ok(now && next)
      const start_date = now.end_date + 86_400
      await stripe.subscriptionSchedules.update(id, {
        phases: [
          { ...now, end_date: start_date },
          { ...next, start_date, end_date: start_date + 30 * 86_400 },
        ],
      })
      return answer
    }
    await assert.rejects(take(step, stripe, { ...FORGETFUL, set }), {
      name: 'Refusal',
      code: 'change_overtaken',
    })
  })
})
