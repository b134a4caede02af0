// A change and its payment: applied when it is paid, owed, refused, or given up when its time is over.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds, types, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'
const half = '2027-04-16T00:00:00Z'
const HOUR = 3600

interface Declining extends Bench {
  sub: Stripe.Subscription
  basic: Stripe.Price
  pro: Stripe.Price
  use: (card: string) => Promise<Stripe.PaymentMethod>
  change: (more: Partial<Stripe.SubscriptionUpdateParams>) => Promise<Stripe.Subscription>
  now: () => number
  read: () => Promise<Stripe.Subscription>
}

/** A subscription whose card was good and now declines. */
async function declining(card = 'pm_card_chargeCustomerFail'): Promise<Declining> {
  const world = await bench(start)
  const { stripe } = world
  const [customer, basic, pro] = [await payer(stripe), await plan(stripe), await plan(stripe, 'month', 5000)]
  const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: basic.id }] })
  const use = async (name: string): Promise<Stripe.PaymentMethod> => {
    const method = await stripe.paymentMethods.attach(name, { customer: customer.id })
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: method.id } })
    return method
  }
  await use(card)
  await world.to(half)
  const id = sub.items.data[0]?.id ?? ''
  return {
    ...world,
    sub,
    basic,
    pro,
    use,
    change: (more) =>
      stripe.subscriptions.update(sub.id, {
        items: [{ id, price: pro.id }],
        proration_behavior: 'always_invoice',
        ...more,
      }),
    read: () => stripe.subscriptions.retrieve(sub.id),
  }
}

const pending = { payment_behavior: 'pending_if_incomplete' as const }

describe('stripe sandbox: changes that must be paid', () => {
  afterEach(closeAll)

  it('applies a pending update at once when it is paid at once', async () => {
    const { change, use, stripe, pro } = await declining()
    await use('pm_card_mastercard')
    const after = await change(pending)
    assert.deepEqual([after.status, after.pending_update], ['active', null])
    assert.equal(after.items.data[0]?.price.id, pro.id)
    const invoice = await stripe.invoices.retrieve(after.latest_invoice as string)
    assert.deepEqual(
      [invoice.status, invoice.billing_reason, invoice.amount_paid],
      ['paid', 'subscription_update', 1500],
    )
    assert.ok(!(await types(stripe)).includes('customer.subscription.pending_update_applied'))
  })

  it('changes nothing until it is paid, then all of it', async () => {
    const { change, read, use, stripe, basic, pro } = await declining()
    const held = await change({ ...pending, metadata: { order: 'ord_1' } })
    assert.deepEqual([held.status, held.items.data[0]?.price.id, held.metadata], ['active', basic.id, {}])
    const update = held.pending_update
    assert.deepEqual(
      [update?.expires_at, update?.subscription_items?.[0]?.price.id, update?.metadata],
      [seconds(half) + 23 * HOUR, pro.id, { order: 'ord_1' }],
    )
    const invoice = await stripe.invoices.retrieve(held.latest_invoice as string)
    assert.deepEqual([invoice.status, invoice.attempt_count, invoice.next_payment_attempt], ['open', 1, null])
    const good = await use('pm_card_mastercard')
    await assert.rejects(stripe.invoices.pay(invoice.id, { payment_method: 'pm_card_chargeCustomerFail' }))
    assert.equal((await read()).pending_update?.expires_at, update?.expires_at)
    await stripe.invoices.pay(invoice.id, { payment_method: good.id })
    const after = await read()
    assert.deepEqual(
      [after.pending_update, after.items.data[0]?.price.id, after.metadata],
      [null, pro.id, { order: 'ord_1' }],
    )
    const told = await types(stripe)
    const last = told.filter((type) => type.startsWith('customer.subscription.')).slice(-2)
    assert.deepEqual(last, ['customer.subscription.updated', 'customer.subscription.pending_update_applied'])
  })

  it('gives a pending update up after 23 hours and voids its invoice; renewals go on as before', async () => {
    const { change, read, use, stripe, basic, to } = await declining()
    const held = await change(pending)
    await to('2027-04-16T22:59:59Z')
    assert.ok((await read()).pending_update)
    await to('2027-04-16T23:00:00Z')
    const after = await read()
    assert.deepEqual(
      [after.status, after.pending_update, after.items.data[0]?.price.id],
      ['active', null, basic.id],
    )
    assert.equal((await stripe.invoices.retrieve(held.latest_invoice as string)).status, 'void')
    assert.equal((await types(stripe)).at(-1), 'customer.subscription.pending_update_expired')
    await use('pm_card_visa')
    await to('2027-05-01T02:00:00Z')
    const renewal = await stripe.invoices.retrieve((await read()).latest_invoice as string)
    assert.deepEqual([renewal.status, renewal.amount_paid, renewal.lines.data.length], ['paid', 2000, 1])
  })

  it('does not outlive the period', async () => {
    const { change, read, to, basic } = await declining()
    await to('2027-04-30T12:00:00Z')
    const held = await change(pending)
    assert.equal(held.pending_update?.expires_at, seconds('2027-05-01T00:00:00Z'))
    await to('2027-05-01T00:00:00Z')
    const after = await read()
    assert.deepEqual([after.pending_update, after.items.data[0]?.price.id], [null, basic.id])
  })

  it('is withdrawn by voiding its invoice, or replaced by the next one', async () => {
    const { change, read, stripe, sub, use } = await declining()
    const first = await change(pending)
    await stripe.invoices.voidInvoice(first.latest_invoice as string)
    assert.equal((await read()).pending_update, null)
    const second = await change(pending)
    const id = sub.items.data[0]?.id ?? ''
    const third = await change({ ...pending, items: [{ id, quantity: 4 }] })
    assert.equal((await stripe.invoices.retrieve(second.latest_invoice as string)).status, 'void')
    assert.equal(third.pending_update?.subscription_items?.[0]?.quantity, 4)
    const invoice = await stripe.invoices.retrieve(third.latest_invoice as string)
    assert.deepEqual(
      invoice.lines.data.map((line) => line.amount),
      [-1000, 4000],
    )
    await use('pm_card_visa')
    await stripe.invoices.pay(invoice.id)
    assert.equal((await read()).items.data[0]?.quantity, 4)
  })

  it('gives items back that were pending before it when it is given up', async () => {
    const { change, stripe, sub, to, use, read } = await declining()
    const id = sub.items.data[0]?.id ?? ''
    await stripe.subscriptions.update(sub.id, { items: [{ id, quantity: 2 }] })
    await change({ ...pending, items: [{ id, quantity: 3 }] })
    assert.equal((await stripe.invoiceItems.list({ pending: true })).data.length, 0)
    await to('2027-04-17T00:00:00Z')
    assert.equal((await stripe.invoiceItems.list({ pending: true })).data.length, 2)
    await use('pm_card_visa')
    await to('2027-05-01T02:00:00Z')
    const renewal = await stripe.invoices.retrieve((await read()).latest_invoice as string)
    assert.deepEqual(
      renewal.lines.data.map((line) => line.amount),
      [-1000, 2000, 4000],
    )
  })

  it('refuses what a pending update cannot carry', async () => {
    const { change } = await declining()
    await assert.rejects(change({ ...pending, description: 'x' }), { param: 'description' })
    await assert.rejects(change({ ...pending, off_session: true }), { param: 'off_session' })
  })

  it('waits for the bank to be asked', async () => {
    const { change, read, control, stripe, pro } = await declining('pm_card_authenticationRequired')
    const held = await change({ ...pending, expand: ['latest_invoice.payments'] })
    const invoice = held.latest_invoice as Stripe.Invoice
    const intent = invoice.payments?.data[0]?.payment.payment_intent as string
    assert.equal((await stripe.paymentIntents.retrieve(intent)).status, 'requires_action')
    assert.ok((await types(stripe)).includes('invoice.payment_action_required'))
    await control('POST', `payment_intents/${intent}/authenticate`)
    assert.equal((await read()).items.data[0]?.price.id, pro.id)
  })

  it('refuses the whole change with error_if_incomplete and leaves no trace', async () => {
    const { change, read, stripe, basic } = await declining()
    const [before, told] = [await read(), await types(stripe)]
    await assert.rejects(change({ payment_behavior: 'error_if_incomplete' }), {
      statusCode: 402,
      code: 'card_declined',
    })
    assert.deepEqual(await read(), before)
    assert.equal(before.items.data[0]?.price.id, basic.id)
    assert.deepEqual(await types(stripe), told)
    assert.equal((await stripe.invoiceItems.list()).data.length, 0)
  })

  for (const payment_behavior of ['allow_incomplete', 'default_incomplete'] as const) {
    it(`applies and is past due with ${payment_behavior}`, async () => {
      const { change, read, use, stripe, pro } = await declining()
      const after = await change({ payment_behavior })
      assert.deepEqual([after.status, after.items.data[0]?.price.id], ['past_due', pro.id])
      const invoice = await stripe.invoices.retrieve(after.latest_invoice as string)
      assert.equal(invoice.attempt_count, payment_behavior === 'allow_incomplete' ? 1 : 0)
      await use('pm_card_visa')
      await stripe.invoices.pay(invoice.id)
      assert.equal((await read()).status, 'active')
    })
  }
})
