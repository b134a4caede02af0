// What a schedule's phase says beside its prices.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds } from './world.ts'

const start = '2027-04-01T00:00:00Z'
const may = '2027-05-01T00:00:00Z'

type Phase = Stripe.SubscriptionScheduleUpdateParams.Phase

/** A subscription with a discount and a tax rate, a schedule made from it, and what it is billed in May. */
async function scheduled() {
  const { stripe, to } = await bench(start)
  const [customer, price] = [await payer(stripe), await plan(stripe, 'month', 5000)]
  const coupon = await stripe.coupons.create({
    percent_off: 20,
    duration: 'repeating',
    duration_in_months: 3,
  })
  const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 10, inclusive: false })
  const sub = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: price.id }],
    discounts: [{ coupon: coupon.id }],
    default_tax_rates: [rate.id],
  })
  const schedule = await stripe.subscriptionSchedules.create({ from_subscription: sub.id })
  const running = { start_date: seconds(start), end_date: seconds(may), items: [{ price: price.id }] }
  const read = () => stripe.subscriptions.retrieve(sub.id)
  return {
    stripe,
    to,
    coupon,
    rate,
    sub,
    schedule,
    read,
    set: (now: Partial<Phase>, next: Partial<Phase>) =>
      stripe.subscriptionSchedules.update(schedule.id, {
        phases: [
          { ...running, ...now },
          { items: running.items, ...next },
        ],
      }),
    billedInMay: async () => {
      await to('2027-05-01T02:00:00Z')
      const invoice = await stripe.invoices.retrieve((await read()).latest_invoice as string)
      return invoice.total
    },
  }
}

describe('stripe sandbox: terms of a schedule’s phases', () => {
  afterEach(closeAll)

  it('are the subscription’s when the schedule is made from it', async () => {
    const { schedule, sub, rate } = await scheduled()
    const [phase] = schedule.phases
    assert.deepEqual(phase?.discounts, [{ coupon: null, discount: sub.discounts[0], promotion_code: null }])
    assert.deepEqual(
      phase?.default_tax_rates?.map(({ id }) => id),
      [rate.id],
    )
  })

  it('stay when they are said again, by what is there already', async () => {
    const { sub, rate, set, read, billedInMay } = await scheduled()
    const terms = { discounts: [{ discount: sub.discounts[0] as string }], default_tax_rates: [rate.id] }
    await set(terms, terms)
    assert.deepEqual((await read()).discounts, sub.discounts)
    assert.equal(await billedInMay(), 4400)
    assert.deepEqual((await read()).discounts, sub.discounts)
  })

  it('go when they are left out: at once where the phase runs, later where it is to come', async () => {
    const now = await scheduled()
    await now.set({}, {})
    const { discounts, default_tax_rates: rates } = await now.read()
    assert.deepEqual([discounts, rates], [[], []])
    assert.equal(await now.billedInMay(), 5000)
    const later = await scheduled()
    const { sub, rate } = later
    const terms = { discounts: [{ discount: sub.discounts[0] as string }], default_tax_rates: [rate.id] }
    await later.set(terms, { default_tax_rates: [rate.id] })
    assert.deepEqual((await later.read()).discounts, sub.discounts)
    assert.equal(await later.billedInMay(), 5500)
  })

  it('redeem a coupon anew when the phase begins, and refuse a discount of nobody’s', async () => {
    const { stripe, coupon, set, billedInMay, read, sub } = await scheduled()
    await assert.rejects(set({}, { discounts: [{ discount: 'di_of_another' }] }), /No such discount/)
    await set({}, { discounts: [{ coupon: coupon.id }], description: 'Less' })
    assert.equal(await billedInMay(), 4000)
    const after = await read()
    assert.notDeepEqual(after.discounts, sub.discounts)
    assert.deepEqual([after.discounts.length, after.description], [1, 'Less'])
    assert.equal((await stripe.coupons.retrieve(coupon.id)).times_redeemed, 2)
  })
})
