// A subscription's life on the business clock: periods, renewals, trials, ends, failed payments.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds, subscribed, types } from './world.ts'

function period(sub: Stripe.Subscription): [string, string] {
  const item = sub.items.data[0]
  const iso = (at: number | undefined): string => new Date((at ?? 0) * 1000).toISOString().slice(0, 10)
  return [iso(item?.current_period_start), iso(item?.current_period_end)]
}

async function linePeriods(stripe: Stripe, sub: string): Promise<string[]> {
  const starts: string[] = []
  for await (const invoice of stripe.invoices.list({ subscription: sub, limit: 100 })) {
    assert.equal(invoice.status, 'paid')
    const line = invoice.lines.data[0]
    starts.unshift(new Date((line?.period.start ?? 0) * 1000).toISOString().slice(0, 10))
  }
  return starts
}

describe('stripe sandbox: billing', () => {
  afterEach(closeAll)

  it('bills a monthly plan of 31 January on the last days of the short months for a year', async () => {
    const { stripe, to } = await bench('2027-01-31T12:00:00Z')
    const sub = await subscribed(stripe)
    await to('2028-03-01T00:00:00Z')
    assert.deepEqual(await linePeriods(stripe, sub.id), [
      '2027-01-31',
      '2027-02-28',
      '2027-03-31',
      '2027-04-30',
      '2027-05-31',
      '2027-06-30',
      '2027-07-31',
      '2027-08-31',
      '2027-09-30',
      '2027-10-31',
      '2027-11-30',
      '2027-12-31',
      '2028-01-31',
      '2028-02-29',
    ])
    assert.deepEqual(period(await stripe.subscriptions.retrieve(sub.id)), ['2028-02-29', '2028-03-31'])
  })

  it('bills a yearly plan of 29 February on 28 February until the next leap year', async () => {
    const { stripe, to } = await bench('2028-02-29T08:00:00Z')
    const sub = await subscribed(stripe, 'year')
    await to('2032-03-01T00:00:00Z')
    const expected = ['2028-02-29', '2029-02-28', '2030-02-28', '2031-02-28', '2032-02-29']
    assert.deepEqual(await linePeriods(stripe, sub.id), expected)
  })

  it('keeps events for thirty days', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    await subscribed(stripe)
    const [first] = (await stripe.events.list({ type: 'invoice.paid' })).data
    await to('2027-01-30T23:59:00Z')
    assert.equal((await stripe.events.retrieve(first?.id ?? '')).type, 'invoice.paid')
    await to('2027-01-31T00:00:01Z')
    await assert.rejects(stripe.events.retrieve(first?.id ?? ''), { code: 'resource_missing' })
    assert.deepEqual(await types(stripe), ['invoice.upcoming'])
  })

  it('says what a renewal changed, with the attributes as they were', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const sub = await subscribed(stripe)
    await to('2027-02-01T00:00:00Z')
    const [event] = (await stripe.events.list({ type: 'customer.subscription.updated' })).data
    assert.ok(event?.type === 'customer.subscription.updated')
    const previous = event.data.previous_attributes
    assert.deepEqual(Object.keys(previous ?? {}).sort(), ['items', 'latest_invoice'])
    assert.equal(previous?.latest_invoice, sub.latest_invoice)
    assert.equal(previous?.items?.data[0]?.current_period_start, seconds('2027-01-01T00:00:00Z'))
    assert.equal(event.created, seconds('2027-02-01T00:00:00Z'))
    assert.equal(event.request?.id, null)
  })

  it('ends at the period end, however that was asked', async () => {
    const { stripe, to } = await bench('2027-01-10T00:00:00Z')
    const atEnd = await subscribed(stripe)
    const byDate = await subscribed(stripe)
    const asked = await stripe.subscriptions.update(atEnd.id, { cancel_at_period_end: true })
    assert.deepEqual(
      [asked.cancel_at_period_end, asked.cancel_at, asked.canceled_at],
      [true, seconds('2027-02-10T00:00:00Z'), seconds('2027-01-10T00:00:00Z')],
    )
    const dated = await stripe.subscriptions.update(byDate.id, { cancel_at: 'max_period_end' })
    assert.deepEqual([dated.cancel_at_period_end, dated.cancel_at], [false, seconds('2027-02-10T00:00:00Z')])
    await to('2027-02-10T00:00:00Z')
    for (const id of [atEnd.id, byDate.id]) {
      const ended = await stripe.subscriptions.retrieve(id)
      assert.deepEqual([ended.status, ended.ended_at], ['canceled', seconds('2027-02-10T00:00:00Z')])
      assert.equal((await stripe.invoices.list({ subscription: id })).data.length, 1)
    }
    assert.equal((await stripe.subscriptions.list()).data.length, 0)
    assert.equal((await stripe.subscriptions.list({ status: 'ended' })).data.length, 2)
  })

  it('takes an end back', async () => {
    const { stripe, to } = await bench('2027-01-10T00:00:00Z')
    const sub = await subscribed(stripe, 'month', { cancel_at_period_end: true })
    const kept = await stripe.subscriptions.update(sub.id, { cancel_at_period_end: false })
    assert.deepEqual([kept.cancel_at, kept.canceled_at], [null, null])
    await to('2027-02-10T02:00:00Z')
    assert.deepEqual(period(await stripe.subscriptions.retrieve(sub.id)), ['2027-02-10', '2027-03-10'])
  })

  it('holds a commitment that ends on a boundary of a later year whole', async () => {
    const { stripe, to } = await bench('2027-01-31T00:00:00Z')
    const sub = await subscribed(stripe, 'month', { cancel_at: seconds('2027-04-30T00:00:00Z') })
    await to('2027-05-02T00:00:00Z')
    assert.deepEqual(await linePeriods(stripe, sub.id), ['2027-01-31', '2027-02-28', '2027-03-31'])
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).ended_at, seconds('2027-04-30T00:00:00Z'))
    const amounts = (await stripe.invoices.list({ subscription: sub.id })).data.map(
      (invoice) => invoice.amount_paid,
    )
    assert.deepEqual(amounts, [2000, 2000, 2000])
  })

  it('cancels at once and stops collecting', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const sub = await subscribed(stripe)
    await to('2027-02-01T00:30:00Z')
    const ended = await stripe.subscriptions.cancel(sub.id)
    assert.deepEqual([ended.status, ended.ended_at], ['canceled', seconds('2027-02-01T00:30:00Z')])
    await to('2027-03-05T00:00:00Z')
    const [draft] = (await stripe.invoices.list({ subscription: sub.id })).data
    assert.deepEqual([draft?.status, draft?.auto_advance], ['draft', false])
    await assert.rejects(stripe.subscriptions.cancel(sub.id), /No such subscription/)
  })

  it('starts a trial with a paid invoice of nothing, warns, and charges when it is over', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const sub = await subscribed(stripe, 'month', { trial_period_days: 14 })
    assert.equal(sub.status, 'trialing')
    assert.deepEqual(period(sub), ['2027-01-01', '2027-01-15'])
    const first = await stripe.invoices.retrieve(sub.latest_invoice as string, { expand: ['payments'] })
    assert.deepEqual([first.status, first.total, first.billing_reason], ['paid', 0, 'subscription_create'])
    assert.equal(first.payments?.data.length, 0)
    assert.ok((await types(stripe)).includes('invoice.paid'))
    await to('2027-01-12T00:00:00Z')
    assert.equal((await types(stripe)).at(-1), 'customer.subscription.trial_will_end')
    await to('2027-01-15T01:00:00Z')
    const now = await stripe.subscriptions.retrieve(sub.id, { expand: ['latest_invoice'] })
    assert.equal(now.status, 'active')
    assert.deepEqual(period(now), ['2027-01-15', '2027-02-15'])
    assert.equal((now.latest_invoice as Stripe.Invoice).amount_paid, 2000)
  })

  it('ends a trial on request and charges at once', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const sub = await subscribed(stripe, 'month', { trial_period_days: 14 })
    await to('2027-01-05T00:00:00Z')
    const ended = await stripe.subscriptions.update(sub.id, { trial_end: 'now' })
    assert.equal(ended.status, 'active')
    assert.deepEqual(period(ended), ['2027-01-05', '2027-02-05'])
    assert.equal((await stripe.invoices.retrieve(ended.latest_invoice as string)).amount_paid, 2000)
  })

  it('does what the trial settings say when there is no card', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const [customer, price] = [await stripe.customers.create({}), await plan(stripe)]
    const made: string[] = []
    for (const missing_payment_method of ['cancel', 'pause', 'create_invoice'] as const) {
      const sub = await stripe.subscriptions.create({
        customer: customer.id,
        items: [{ price: price.id }],
        trial_period_days: 7,
        trial_settings: { end_behavior: { missing_payment_method } },
      })
      made.push(sub.id)
    }
    await to('2027-01-08T02:00:00Z')
    const states = await Promise.all(made.map(async (id) => (await stripe.subscriptions.retrieve(id)).status))
    assert.deepEqual(states, ['canceled', 'paused', 'past_due'])
  })

  it('leaves a declined first payment incomplete for 23 hours, or until it is paid', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const [customer, price] = [await payer(stripe, 'pm_card_chargeCustomerFail'), await plan(stripe)]
    const lost = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const saved = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    assert.deepEqual([lost.status, saved.status], ['incomplete', 'incomplete'])
    const paid = await stripe.invoices.pay(saved.latest_invoice as string, { payment_method: 'pm_card_visa' })
    assert.equal(paid.status, 'paid')
    await to('2027-01-01T23:00:00Z')
    assert.equal((await stripe.subscriptions.retrieve(saved.id)).status, 'active')
    assert.equal((await stripe.subscriptions.retrieve(lost.id)).status, 'incomplete_expired')
    assert.equal((await stripe.invoices.retrieve(lost.latest_invoice as string)).status, 'void')
  })

  it('retries a declined renewal, recovers with a new card', async () => {
    const { stripe, to } = await bench('2027-01-01T00:00:00Z')
    const sub = await subscribed(stripe)
    const customer = sub.customer as string
    const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })
    await stripe.customers.update(customer, { invoice_settings: { default_payment_method: bad.id } })
    await to('2027-02-01T01:00:00Z')
    const late = await stripe.subscriptions.retrieve(sub.id, { expand: ['latest_invoice'] })
    const invoice = late.latest_invoice as Stripe.Invoice
    assert.deepEqual([late.status, invoice.status, invoice.attempt_count], ['past_due', 'open', 1])
    assert.equal(invoice.next_payment_attempt, seconds('2027-02-04T01:00:00Z'))
    const told = await types(stripe, seconds('2027-02-01T01:00:00Z'))
    for (const type of ['charge.failed', 'payment_intent.payment_failed', 'invoice.payment_failed'])
      assert.ok(told.includes(type), type)
    await assert.rejects(stripe.invoices.pay(invoice.id ?? ''), { code: 'card_declined' })
    const good = await stripe.paymentMethods.attach('pm_card_mastercard', { customer })
    await stripe.customers.update(customer, { invoice_settings: { default_payment_method: good.id } })
    await to('2027-02-04T01:00:00Z')
    assert.equal((await stripe.invoices.retrieve(invoice.id ?? '')).status, 'paid')
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'active')
  })

  for (const [afterRetries, status] of [
    ['cancel', 'canceled'],
    ['unpaid', 'unpaid'],
  ] as const) {
    it(`is ${status} after the last retry when so configured`, async () => {
      const { stripe, to } = await bench('2027-01-01T00:00:00Z', { afterRetries })
      const sub = await subscribed(stripe)
      const customer = sub.customer as string
      const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })
      await stripe.customers.update(customer, { invoice_settings: { default_payment_method: bad.id } })
      await to('2027-02-16T02:00:00Z')
      const over = await stripe.subscriptions.retrieve(sub.id)
      assert.equal(over.status, status)
      if (status === 'canceled') assert.equal(over.cancellation_details?.reason, 'payment_failed')
      await to('2027-03-01T02:00:00Z')
      const [last] = (await stripe.invoices.list({ subscription: sub.id })).data
      assert.equal(last?.status, status === 'unpaid' ? 'draft' : 'open')
    })
  }

  it('settles out of band and from the customer balance without a charge', async () => {
    const { stripe, control } = await bench('2027-01-01T00:00:00Z')
    const customer = await payer(stripe)
    const price = await plan(stripe)
    await stripe.customers.update(customer.id, { balance: -5000 })
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const invoice = await stripe.invoices.retrieve(sub.latest_invoice as string)
    assert.deepEqual([sub.status, invoice.amount_due, invoice.ending_balance], ['active', 0, -3000])
    await stripe.customers.update(customer.id, { balance: 0 })
    const owed = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      payment_behavior: 'default_incomplete',
    })
    const paid = await stripe.invoices.pay(owed.latest_invoice as string, { paid_out_of_band: true })
    assert.equal(paid.status, 'paid')
    assert.equal((await types(stripe)).filter((type) => type === 'invoice.payment_succeeded').length, 1)
    assert.deepEqual((await control('GET', `oracle/${customer.id}`)).body['paid'], [])
  })

  it('gives the same card the same fingerprint whoever holds it, and asks for authentication where due', async () => {
    const { stripe, control } = await bench('2027-01-01T00:00:00Z')
    const [one, two] = [await payer(stripe), await payer(stripe)]
    const prints = await Promise.all(
      [one, two].map(
        async (c) => (await stripe.customers.listPaymentMethods(c.id)).data[0]?.card?.fingerprint,
      ),
    )
    assert.equal(prints[0], prints[1])
    const method = await stripe.paymentMethods.attach('pm_card_authenticationRequired', { customer: one.id })
    const price = await plan(stripe)
    const sub = await stripe.subscriptions.create({
      customer: one.id,
      items: [{ price: price.id }],
      default_payment_method: method.id,
      expand: ['latest_invoice.payments'],
    })
    const invoice = sub.latest_invoice as Stripe.Invoice
    const intent = invoice.payments?.data[0]?.payment.payment_intent as string
    assert.equal(sub.status, 'incomplete')
    assert.equal((await stripe.paymentIntents.retrieve(intent)).status, 'requires_action')
    assert.equal((await control('POST', `payment_intents/${intent}/authenticate`)).status, 200)
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'active')
  })
})
