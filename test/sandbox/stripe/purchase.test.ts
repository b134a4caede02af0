// One-time purchases by Checkout: cards, bank debits that settle days later, expiry, codes, what costs nothing.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, pack, seconds, sessionFor, types, type Bench } from './world.ts'

const start = '2027-01-01T00:00:00Z' // a Friday

async function sold(world: Bench, more: Partial<Stripe.Checkout.SessionCreateParams> = {}, currency = 'usd') {
  const price = await pack(world.stripe, 1500, currency)
  return sessionFor(world.stripe, price, 2, more)
}

/** Since the session: without what making products and customers told. */
async function told(stripe: Stripe): Promise<string[]> {
  const ignored = /^(product|price|customer|coupon|promotion_code|tax_rate)\./
  return (await types(stripe)).filter((type) => !ignored.test(type))
}

describe('stripe sandbox: purchases', () => {
  afterEach(closeAll)

  it('charges the quantity once, puts the metadata on the payment, and tells it in order', async () => {
    const world = await bench(start)
    const { stripe, control } = world
    const customer = await stripe.customers.create({ email: 'ada@example.com' })
    const session = await sold(world, {
      customer: customer.id,
      metadata: { order: 'ord_1' },
      payment_intent_data: { metadata: { order: 'ord_1' } },
    })
    assert.deepEqual(
      [session.status, session.payment_status, session.amount_total, session.payment_intent],
      ['open', 'unpaid', 3000, null],
    )
    await control('POST', `checkout/${session.id}/pay`)
    const paid = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge', 'line_items'],
    })
    const intent = paid.payment_intent as Stripe.PaymentIntent
    assert.deepEqual(
      [paid.status, paid.payment_status, intent.status, intent.amount_received, intent.customer],
      ['complete', 'paid', 'succeeded', 3000, customer.id],
    )
    assert.deepEqual([paid.metadata, intent.metadata], [{ order: 'ord_1' }, { order: 'ord_1' }])
    assert.equal((intent.latest_charge as Stripe.Charge).paid, true)
    const lines = await stripe.checkout.sessions.listLineItems(session.id)
    assert.deepEqual(lines.data, paid.line_items?.data)
    assert.deepEqual([lines.data[0]?.quantity, lines.data[0]?.amount_total], [2, 3000])
    assert.deepEqual(await told(stripe), [
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
      'checkout.session.completed',
    ])
  })

  it('refuses the invoices of one-time payments, recurring prices, two currencies, ends out of bounds', async () => {
    const world = await bench(start)
    const { stripe } = world
    await assert.rejects(sold(world, { invoice_creation: { enabled: true } }), {
      code: 'sandbox_not_simulated',
    })
    for (const expires_at of ['2027-01-01T00:29:59Z', '2027-01-02T00:00:01Z'])
      await assert.rejects(sold(world, { expires_at: seconds(expires_at) }), { param: 'expires_at' })
    const [dollars, euros] = [await pack(stripe, 100), await pack(stripe, 100, 'eur')]
    const line_items = [dollars, euros].map(({ id }) => ({ price: id, quantity: 1 }))
    await assert.rejects(sold(world, { line_items }), /same currency/)
  })

  it('expires at its time or when asked, and then nobody can pay', async () => {
    const world = await bench(start)
    const { stripe, control, to } = world
    const late = await sold(world, { expires_at: seconds('2027-01-01T00:30:00Z') })
    const asked = await sold(world)
    assert.equal((await stripe.checkout.sessions.expire(asked.id)).status, 'expired')
    await to('2027-01-01T00:29:59.999Z')
    assert.equal((await stripe.checkout.sessions.retrieve(late.id)).status, 'open')
    await to('2027-01-01T00:30:00Z')
    for (const { id } of [late, asked]) {
      const gone = await stripe.checkout.sessions.retrieve(id)
      assert.deepEqual([gone.status, gone.payment_status, gone.url], ['expired', 'unpaid', null])
      assert.equal((await control('POST', `checkout/${id}/pay`)).status, 400)
      await assert.rejects(stripe.checkout.sessions.expire(id), /can be expired/)
    }
    assert.deepEqual(await told(stripe), ['checkout.session.expired', 'checkout.session.expired'])
  })

  it('cancels the payment that was tried when the session expires', async () => {
    const world = await bench(start)
    const { stripe, control } = world
    const session = await sold(world)
    await control('POST', `checkout/${session.id}/decline`)
    const open = await stripe.checkout.sessions.retrieve(session.id)
    await assert.rejects(stripe.paymentIntents.cancel(open.payment_intent as string), /Expire the Checkout/)
    const tried = await stripe.checkout.sessions.expire(session.id)
    const intent = await stripe.paymentIntents.retrieve(tried.payment_intent as string)
    assert.deepEqual([intent.status, intent.cancellation_reason], ['canceled', 'automatic'])
  })

  it('is paid in the last moment before it expires, and not a moment later', async () => {
    const world = await bench(start)
    const { stripe, control, to } = world
    const session = await sold(world, { expires_at: seconds('2027-01-01T00:30:00Z') })
    const planned = await control('POST', `checkout/${session.id}/pay`, { submit: 'at_expiry' })
    assert.equal(planned.body['submits_at'], '2027-01-01T00:29:59.999Z')
    await to('2027-01-01T00:30:00Z')
    const paid = await stripe.checkout.sessions.retrieve(session.id)
    assert.deepEqual([paid.status, paid.payment_status], ['complete', 'paid'])
    assert.equal((await told(stripe)).includes('checkout.session.expired'), false)
    await assert.rejects(stripe.checkout.sessions.expire(session.id), /can be expired/)
  })

  for (const [currency, type, settles] of [
    ['usd', 'us_bank_account', '2027-01-07T00:00:00Z'],
    ['eur', 'sepa_debit', '2027-01-08T00:00:00Z'],
  ] as const) {
    it(`settles a ${type} after banking days, without weekends, long after the session's end`, async () => {
      const world = await bench(start)
      const { stripe, control, to } = world
      const session = await sold(world, {}, currency)
      assert.deepEqual(session.payment_method_types, ['card', type])
      await control('POST', `checkout/${session.id}/pay`, { method: 'bank_debit' })
      const waiting = await stripe.checkout.sessions.retrieve(session.id, {
        expand: ['payment_intent.latest_charge', 'payment_intent.payment_method'],
      })
      const intent = waiting.payment_intent as Stripe.PaymentIntent
      const charge = intent.latest_charge as Stripe.Charge
      assert.deepEqual([waiting.status, waiting.payment_status], ['complete', 'unpaid'])
      assert.deepEqual(
        [intent.status, intent.amount_received, charge.status, charge.paid],
        ['processing', 0, 'pending', false],
      )
      assert.equal((intent.payment_method as Stripe.PaymentMethod).type, type)
      await assert.rejects(stripe.paymentIntents.cancel(intent.id), /status of processing/)
      await assert.rejects(stripe.paymentIntents.confirm(intent.id), /status of processing/)
      await to(Date.parse(settles) - 1)
      assert.equal((await stripe.checkout.sessions.retrieve(session.id)).payment_status, 'unpaid')
      await to(settles)
      assert.equal((await stripe.checkout.sessions.retrieve(session.id)).payment_status, 'paid')
      assert.equal((await stripe.paymentIntents.retrieve(intent.id)).amount_received, 3000)
      assert.deepEqual(await told(stripe), [
        'payment_intent.created',
        'charge.pending',
        'payment_intent.processing',
        'checkout.session.completed',
        'charge.succeeded',
        'payment_intent.succeeded',
        'checkout.session.async_payment_succeeded',
      ])
    })
  }

  it('tells of a debit that the bank refused, and leaves the session complete and unpaid', async () => {
    const world = await bench(start)
    const { stripe, control, to } = world
    const session = await sold(world)
    const debit = { method: 'bank_debit', outcome: 'fails', after_seconds: 90_000 }
    await control('POST', `checkout/${session.id}/pay`, debit)
    await to('2027-01-02T00:59:59Z')
    assert.equal((await told(stripe)).at(-1), 'checkout.session.completed')
    await to('2027-01-02T01:00:00Z')
    assert.deepEqual((await told(stripe)).slice(-3), [
      'charge.failed',
      'payment_intent.payment_failed',
      'checkout.session.async_payment_failed',
    ])
    const failed = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent.latest_charge'],
    })
    const intent = failed.payment_intent as Stripe.PaymentIntent
    assert.deepEqual([failed.status, failed.payment_status], ['complete', 'unpaid'])
    assert.deepEqual([intent.status, intent.amount_received], ['requires_payment_method', 0])
    assert.equal((intent.latest_charge as Stripe.Charge).failure_code, 'insufficient_funds')
  })

  it('lets the bank speak earlier, once, and otherwise than planned', async () => {
    const world = await bench(start)
    const { stripe, control, to } = world
    const session = await sold(world)
    await control('POST', `checkout/${session.id}/pay`, { method: 'bank_debit' })
    const intent = (await stripe.checkout.sessions.retrieve(session.id)).payment_intent as string
    await control('POST', `payment_intents/${intent}/settle`, { outcome: 'fails' })
    assert.equal((await control('POST', `payment_intents/${intent}/settle`)).status, 400)
    await to('2027-01-20T00:00:00Z')
    assert.equal((await told(stripe)).filter((type) => type.includes('async_payment')).length, 1)
  })

  it('offers a bank debit only where it may: the currency, the filters, one-time payments', async () => {
    const world = await bench(start)
    const { control } = world
    const yen = await sold(world, {}, 'jpy')
    const cards = await sold(world, { allowed_payment_method_types: ['card'] })
    const others = await sold(world, { excluded_payment_method_types: ['us_bank_account'] })
    for (const session of [yen, cards, others]) {
      assert.deepEqual(session.payment_method_types, ['card'])
      const refused = await control('POST', `checkout/${session.id}/pay`, { method: 'bank_debit' })
      assert.equal(refused.status, 400)
    }
    await assert.rejects(sold(world, { allowed_payment_method_types: ['sepa_debit'] }), /No valid payment/)
  })

  it('shows on its page the code field, the debit and the discounted sum', async () => {
    const world = await bench(start)
    const { stripe, control } = world
    const coupon = await stripe.coupons.create({ percent_off: 25, duration: 'once' })
    await stripe.promotionCodes.create({ promotion: { type: 'coupon', coupon: coupon.id }, code: 'SPRING' })
    const session = await sold(world, { allow_promotion_codes: true })
    const read = async (): Promise<string> => (await fetch(session.url ?? '')).text()
    assert.match(await read(), /Promotion code/)
    assert.match(await read(), /Bank debit/)
    await control('POST', `checkout/${session.id}/promotion_code`, { code: 'spring' })
    assert.match(await read(), /Discount<\/td><td>-\$7\.50/)
    assert.match(await read(), /Due today<\/th><td>\$22\.50/)
    assert.match(await read(), /value="SPRING"/)
  })
})
