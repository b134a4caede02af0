// Coupons and promotion codes: what they take off, for how long, how often.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, pack, payer, plan, seconds, sessionFor } from './world.ts'

const start = '2027-01-01T00:00:00Z'

async function code(
  stripe: Stripe,
  coupon: Stripe.CouponCreateParams,
  more: Partial<Stripe.PromotionCodeCreateParams> = {},
): Promise<Stripe.PromotionCode> {
  const { id } = await stripe.coupons.create(coupon)
  return stripe.promotionCodes.create({ promotion: { type: 'coupon', coupon: id }, ...more })
}

async function paidAmounts(stripe: Stripe, subscription: string): Promise<number[]> {
  const invoices = await stripe.invoices.list({ subscription, limit: 100 })
  return invoices.data.map((invoice) => invoice.amount_paid).reverse()
}

describe('stripe sandbox: discounts', () => {
  afterEach(closeAll)

  it('takes a percentage off a session, line by line, and counts the redemption when it is paid', async () => {
    const { stripe, control } = await bench(start)
    const coupon = await stripe.coupons.create({ percent_off: 12.5, duration: 'once' })
    const [one, two] = [await pack(stripe, 999), await pack(stripe, 1001)]
    const session = await sessionFor(stripe, one, 1, {
      line_items: [one, two].map(({ id }) => ({ price: id, quantity: 1 })),
      discounts: [{ coupon: coupon.id }],
    })
    assert.deepEqual(session.discounts, [{ coupon: coupon.id, promotion_code: null }])
    assert.deepEqual([session.amount_subtotal, session.amount_total], [2000, 1750])
    const lines = (await stripe.checkout.sessions.listLineItems(session.id)).data
    assert.deepEqual(
      lines.map((line) => [line.amount_subtotal, line.amount_discount, line.amount_total]),
      [
        [999, 125, 874],
        [1001, 125, 876],
      ],
    )
    assert.equal((await stripe.coupons.retrieve(coupon.id)).times_redeemed, 0)
    await control('POST', `checkout/${session.id}/pay`)
    const paid = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent', 'total_details.breakdown'],
    })
    assert.equal((paid.payment_intent as Stripe.PaymentIntent).amount, 1750)
    assert.equal(paid.total_details?.amount_discount, 250)
    assert.deepEqual(
      paid.total_details?.breakdown?.discounts.map(({ amount, discount }) => [
        amount,
        discount.source.coupon,
        discount.checkout_session,
      ]),
      [[250, coupon.id, session.id]],
    )
    assert.equal((await stripe.coupons.retrieve(coupon.id)).times_redeemed, 1)
  })

  it('spreads a fixed amount over the lines to the last cent, and never below nothing', async () => {
    const { stripe } = await bench(start)
    const coupon = await stripe.coupons.create({ amount_off: 100, currency: 'usd', duration: 'once' })
    const prices = await Promise.all([333, 333, 334].map((amount) => pack(stripe, amount)))
    const session = await sessionFor(stripe, prices[0] as Stripe.Price, 1, {
      line_items: prices.map(({ id }) => ({ price: id, quantity: 1 })),
      discounts: [{ coupon: coupon.id }],
    })
    assert.equal(session.amount_total, 900)
    const lines = (await stripe.checkout.sessions.listLineItems(session.id)).data
    assert.equal(
      lines.reduce((sum, line) => sum + line.amount_discount, 0),
      100,
    )
    const large = await stripe.coupons.create({ amount_off: 5000, currency: 'usd', duration: 'once' })
    const free = await sessionFor(stripe, prices[0] as Stripe.Price, 1, { discounts: [{ coupon: large.id }] })
    assert.deepEqual([free.amount_total, free.total_details?.amount_discount], [0, 333])
  })

  it('asks no payment for what is wholly discounted: no payment intent, no card', async () => {
    const { stripe, control } = await bench(start)
    const promotion = await code(stripe, { percent_off: 100, duration: 'once' }, { code: 'FREE' })
    const session = await sessionFor(stripe, await pack(stripe, 1500), 1, { allow_promotion_codes: true })
    const paid = await control('POST', `checkout/${session.id}/pay`, { promotion_code: 'free' })
    assert.equal(paid.status, 200, JSON.stringify(paid.body))
    const done = await stripe.checkout.sessions.retrieve(session.id)
    assert.deepEqual(
      [done.status, done.payment_status, done.amount_total, done.payment_intent],
      ['complete', 'no_payment_required', 0, null],
    )
    assert.deepEqual(done.discounts, [{ coupon: null, promotion_code: promotion.id }])
    assert.equal((await stripe.paymentIntents.list()).data.length, 0)
    assert.equal((await stripe.promotionCodes.retrieve(promotion.id)).times_redeemed, 1)
  })

  it('takes a code that is typed, another instead of it, and takes it away again', async () => {
    const { stripe, control } = await bench(start)
    await code(stripe, { percent_off: 10, duration: 'once' }, { code: 'TEN' })
    await code(stripe, { percent_off: 20, duration: 'once' }, { code: 'TWENTY' })
    const session = await sessionFor(stripe, await pack(stripe, 1000), 1, { allow_promotion_codes: true })
    const typed = async (text: string | null): Promise<unknown> => {
      const { body } = await control('POST', `checkout/${session.id}/promotion_code`, { code: text })
      return body['session']?.amount_total ?? body['error'].message
    }
    assert.deepEqual(
      [await typed('ten'), await typed('TWENTY'), await typed('nonsense'), await typed(null)],
      [900, 800, 'This code is invalid.', 1000],
    )
    const closed = await sessionFor(stripe, await pack(stripe, 1000), 1)
    const refused = await control('POST', `checkout/${closed.id}/promotion_code`, { code: 'TEN' })
    assert.equal(refused.status, 400)
  })

  it('redeems a code while it is active, not expired, not used up, for whom and what it is meant', async () => {
    const { stripe, control, to } = await bench(start)
    const [ada, bob] = [await payer(stripe), await payer(stripe)]
    const half = { percent_off: 50, duration: 'once' } as const
    const codes = {
      off: await code(stripe, half, { active: false }),
      late: await code(stripe, half, { expires_at: seconds('2027-01-01T01:00:00Z') }),
      adas: await code(stripe, half, { customer: ada.id }),
      dear: await code(stripe, half, {
        restrictions: { minimum_amount: 2000, minimum_amount_currency: 'usd' },
      }),
      first: await code(stripe, half, { restrictions: { first_time_transaction: true } }),
      single: await code(stripe, half, { max_redemptions: 1 }),
    }
    const price = await pack(stripe, 1000)
    const open = (promotion: Stripe.PromotionCode, customer: string, quantity = 1) =>
      sessionFor(stripe, price, quantity, { customer, discounts: [{ promotion_code: promotion.id }] })
    await assert.rejects(open(codes.off, ada.id), /not active/)
    await assert.rejects(open(codes.adas, bob.id), /by this customer/)
    await assert.rejects(open(codes.dear, bob.id), /minimum amount/)
    assert.equal((await open(codes.dear, bob.id, 2)).amount_total, 1000)
    assert.equal((await open(codes.adas, ada.id)).amount_total, 500)
    const first = await open(codes.first, ada.id)
    await control('POST', `checkout/${first.id}/pay`)
    await assert.rejects(open(codes.first, ada.id), /prior transactions/)
    await open(codes.late, ada.id)
    await to('2027-01-01T01:00:00Z')
    await assert.rejects(open(codes.late, ada.id), /not active/)

    const [winner, loser] = [await open(codes.single, ada.id), await open(codes.single, bob.id)]
    assert.equal((await control('POST', `checkout/${winner.id}/pay`)).status, 200)
    const lost = await control('POST', `checkout/${loser.id}/pay`)
    assert.deepEqual([lost.status, lost.body['error'].code], [400, 'coupon_expired'])
    assert.equal((await stripe.checkout.sessions.retrieve(loser.id)).status, 'open')
    assert.equal((await stripe.promotionCodes.list({ active: true, code: codes.single.code })).data.length, 0)
  })

  it('finds a code by its text, and lets it be given again once the old one is off', async () => {
    const { stripe } = await bench(start)
    const first = await code(stripe, { percent_off: 10, duration: 'once' }, { code: 'SPRING' })
    await assert.rejects(code(stripe, { percent_off: 10, duration: 'once' }, { code: 'spring' }), /already/)
    await stripe.promotionCodes.update(first.id, { active: false })
    const second = await code(stripe, { percent_off: 10, duration: 'once' }, { code: 'spring' })
    const found = await stripe.promotionCodes.list({ code: 'Spring', active: true })
    assert.deepEqual(
      found.data.map(({ id }) => id),
      [second.id],
    )
  })

  it('refuses two discounts, a coupon of another currency, one that is deleted, half a coupon', async () => {
    const { stripe } = await bench(start)
    const price = await pack(stripe, 1000)
    const [euros, gone] = [
      await stripe.coupons.create({ amount_off: 100, currency: 'eur', duration: 'once' }),
      await stripe.coupons.create({ percent_off: 10, duration: 'forever' }),
    ]
    const discounts = [{ coupon: gone.id }, { coupon: gone.id }]
    await assert.rejects(sessionFor(stripe, price, 1, { discounts }), /only specify one/)
    await assert.rejects(
      sessionFor(stripe, price, 1, { discounts: [{ coupon: gone.id }], allow_promotion_codes: true }),
      /only specify one of these/,
    )
    await assert.rejects(sessionFor(stripe, price, 1, { discounts: [{ coupon: euros.id }] }), /currency/)
    await stripe.coupons.del(gone.id)
    await assert.rejects(sessionFor(stripe, price, 1, { discounts: [{ coupon: gone.id }] }), {
      code: 'coupon_expired',
    })
    await assert.rejects(stripe.coupons.create({ percent_off: 101 }), { param: 'percent_off' })
    await assert.rejects(stripe.coupons.create({ percent_off: 10, duration: 'repeating' }), {
      param: 'duration_in_months',
    })
  })

  it('discounts a subscription once, for some months, or forever', async () => {
    const { stripe, to } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const coupons = await Promise.all([
      stripe.coupons.create({ percent_off: 50, duration: 'once' }),
      stripe.coupons.create({ percent_off: 50, duration: 'repeating', duration_in_months: 2 }),
      stripe.coupons.create({ percent_off: 50, duration: 'forever' }),
    ])
    const made: string[] = []
    for (const coupon of coupons) {
      const sub = await stripe.subscriptions.create({
        customer: customer.id,
        items: [{ price: price.id }],
        discounts: [{ coupon: coupon.id }],
      })
      made.push(sub.id)
    }
    await to('2027-03-15T00:00:00Z')
    const paid = await Promise.all(made.map((id) => paidAmounts(stripe, id)))
    assert.deepEqual(paid, [
      [1000, 2000, 2000],
      [1000, 1000, 2000],
      [1000, 1000, 1000],
    ])
    const left = await Promise.all(
      made.map(async (id) => (await stripe.subscriptions.retrieve(id)).discounts.length),
    )
    assert.deepEqual(left, [0, 0, 1])
    const ended = await stripe.events.list({ type: 'customer.discount.deleted' })
    assert.deepEqual(
      ended.data.map(({ created }) => created),
      [seconds('2027-03-01T00:00:00Z')],
    )
  })

  it('says on the invoice and its lines what each discount took, one after the other', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const half = await stripe.coupons.create({ percent_off: 50, duration: 'forever' })
    const three = await stripe.coupons.create({ amount_off: 300, currency: 'usd', duration: 'forever' })
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      discounts: [{ coupon: half.id }, { coupon: three.id }],
      expand: ['latest_invoice', 'discounts'],
    })
    const invoice = sub.latest_invoice as Stripe.Invoice
    assert.deepEqual(
      [invoice.subtotal, invoice.total, invoice.total_excluding_tax, invoice.amount_paid],
      [2000, 700, 700, 700],
    )
    const ids = (sub.discounts as Stripe.Discount[]).map(({ id }) => id)
    assert.deepEqual(invoice.discounts, ids)
    const taken = ids.map((discount, i) => ({ discount, amount: [1000, 300][i] }))
    assert.deepEqual(invoice.total_discount_amounts, taken)
    assert.deepEqual(invoice.lines.data[0]?.discount_amounts, taken)
    assert.deepEqual([invoice.lines.data[0]?.amount, invoice.lines.data[0]?.subtotal], [2000, 2000])
  })

  it('settles a wholly discounted invoice without a charge, also by checkout', async () => {
    const { stripe, control } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const { id: coupon } = await stripe.coupons.create({ percent_off: 100, duration: 'once' })
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      discounts: [{ coupon }],
      expand: ['latest_invoice.payments'],
    })
    const invoice = sub.latest_invoice as Stripe.Invoice
    assert.deepEqual(
      [sub.status, invoice.status, invoice.amount_due, invoice.total, invoice.payments?.data.length],
      ['active', 'paid', 0, 0, 0],
    )
    const session = await sessionFor(stripe, price, 1, { mode: 'subscription', discounts: [{ coupon }] })
    assert.deepEqual([session.amount_total, session.payment_status], [0, 'no_payment_required'])
    await control('POST', `checkout/${session.id}/pay`)
    const done = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['subscription.latest_invoice'],
    })
    const first = (done.subscription as Stripe.Subscription).latest_invoice as Stripe.Invoice
    assert.deepEqual(
      [done.payment_status, first.status, first.amount_paid],
      ['no_payment_required', 'paid', 0],
    )
    assert.equal((await stripe.charges.list()).data.length, 0)
    assert.equal((await stripe.coupons.retrieve(coupon)).times_redeemed, 2)
  })

  it('carries a code typed at checkout over to the renewals', async () => {
    const { stripe, control, to } = await bench(start)
    await code(stripe, { percent_off: 25, duration: 'forever' }, { code: 'QUARTER' })
    const session = await sessionFor(stripe, await plan(stripe), 1, {
      mode: 'subscription',
      allow_promotion_codes: true,
    })
    await control('POST', `checkout/${session.id}/pay`, { promotion_code: 'QUARTER' })
    await to('2027-02-02T00:00:00Z')
    const done = await stripe.checkout.sessions.retrieve(session.id)
    assert.deepEqual(await paidAmounts(stripe, done.subscription as string), [1500, 1500])
  })

  it("keeps a single discount through a trial's invoice of nothing", async () => {
    const { stripe, to } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const { id: coupon } = await stripe.coupons.create({ percent_off: 50, duration: 'once' })
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      discounts: [{ coupon }],
      trial_period_days: 7,
    })
    await to('2027-02-09T00:00:00Z')
    assert.deepEqual(await paidAmounts(stripe, sub.id), [0, 1000, 2000])
  })

  it('replaces and removes the discounts of a running subscription', async () => {
    const { stripe, to } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const [ten, half] = [
      await stripe.coupons.create({ percent_off: 10, duration: 'forever' }),
      await stripe.coupons.create({ percent_off: 50, duration: 'forever' }),
    ]
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const with10 = await stripe.subscriptions.update(sub.id, { discounts: [{ coupon: ten.id }] })
    const both = await stripe.subscriptions.update(sub.id, {
      discounts: [{ discount: with10.discounts[0] as string }, { coupon: half.id }],
    })
    assert.equal(both.discounts[0], with10.discounts[0])
    await to('2027-02-02T00:00:00Z')
    assert.deepEqual((await stripe.subscriptions.update(sub.id, { discounts: '' })).discounts, [])
    await to('2027-03-02T00:00:00Z')
    assert.deepEqual(await paidAmounts(stripe, sub.id), [2000, 900, 2000])
  })

  it('prorates what a discounted period really cost', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const [customer, small, large] = [
      await payer(stripe),
      await plan(stripe),
      await plan(stripe, 'month', 6200),
    ]
    const { id: coupon } = await stripe.coupons.create({ percent_off: 50, duration: 'forever' })
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: small.id }],
      discounts: [{ coupon }],
    })
    await to('2027-01-16T12:00:00Z')
    const items = [{ id: sub.items.data[0]?.id ?? '', price: large.id }]
    const changed = await stripe.subscriptions.update(sub.id, {
      items,
      proration_behavior: 'always_invoice',
      expand: ['latest_invoice'],
    })
    const invoice = changed.latest_invoice as Stripe.Invoice
    assert.deepEqual(
      invoice.lines.data.map(({ amount, discount_amounts }) => [amount, discount_amounts]),
      [
        [-500, []],
        [1550, []],
      ],
    )
  })
})
