// The main road through the official client: checkout, payment, webhooks, renewal.
import assert from 'node:assert/strict'
// oxlint-disable-next-line import/no-named-as-default -- the named export is a type only under CommonJS
import Stripe from 'stripe'
import { bench, closeAll, plan, receiver, seconds, types } from './world.ts'

describe('stripe sandbox: the road', () => {
  afterEach(closeAll)

  it('subscribes by hosted checkout, tells it by signed webhooks, and renews a month later', async () => {
    const { stripe, control, to, sandbox } = await bench('2027-01-31T10:00:00Z')
    const hook = await receiver()
    const endpoint = await stripe.webhookEndpoints.create({
      url: hook.url,
      enabled_events: ['*'],
      api_version: '2026-10-28.endive',
    })
    const customer = await stripe.customers.create({
      email: 'ada@example.com',
      metadata: { account: 'acc_1' },
    })
    const price = await plan(stripe)
    const session = await stripe.checkout.sessions.create({
      mode: 'subscription',
      customer: customer.id,
      line_items: [{ price: price.id, quantity: 2 }],
      success_url: 'https://example.com/ok?s={CHECKOUT_SESSION_ID}',
      subscription_data: { metadata: { order: 'ord_1' }, billing_mode: { type: 'flexible' } },
    })
    assert.equal(session.status, 'open')
    const page = await (await fetch(session.url ?? '')).text()
    assert.match(page, /Subscribe/)
    const paid = await control('POST', `checkout/${session.id}/pay`)
    assert.equal(paid.status, 200, JSON.stringify(paid.body))
    assert.equal(paid.body['redirect_url'], `https://example.com/ok?s=${session.id}`)

    const done = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['subscription.latest_invoice.payments'],
    })
    const sub = done.subscription as Stripe.Subscription
    const invoice = sub.latest_invoice as Stripe.Invoice
    assert.equal(sub.status, 'active')
    assert.equal(sub.metadata['order'], 'ord_1')
    assert.equal(invoice.status, 'paid')
    assert.equal(invoice.amount_paid, 4000)
    assert.equal(invoice.payments?.data[0]?.payment.type, 'payment_intent')
    assert.equal(sub.items.data[0]?.current_period_end, seconds('2027-02-28T10:00:00Z'))

    await sandbox.deliverDue()
    const told = hook.got.map(({ event }) => event.type)
    for (const type of [
      'customer.subscription.created',
      'invoice.paid',
      'checkout.session.completed',
      'charge.succeeded',
    ])
      assert.ok(told.includes(type as Stripe.Event['type']), `${type} in ${told.join()}`)
    for (const { raw, headers } of hook.got) {
      const event = stripe.webhooks.constructEvent(
        raw,
        headers['stripe-signature'] ?? '',
        endpoint.secret ?? '',
      )
      assert.equal(event.api_version, '2026-10-28.endive')
    }

    await to('2027-02-28T10:30:00Z')
    const draft = (await stripe.invoices.list({ subscription: sub.id })).data[0]
    assert.equal(draft?.status, 'draft')
    assert.equal(draft.automatically_finalizes_at, seconds('2027-02-28T11:00:00Z'))
    await to('2027-02-28T11:00:00Z')
    const renewed = await stripe.invoices.retrieve(draft.id)
    assert.equal(renewed.status, 'paid')
    const now = await stripe.subscriptions.retrieve(sub.id)
    assert.equal(now.items.data[0]?.current_period_end, seconds('2027-03-31T10:00:00Z'))
    assert.deepEqual(await types(stripe, seconds('2027-02-28T10:00:00Z')), [
      'invoice.created',
      'customer.subscription.updated',
      'invoice.updated',
      'invoice.finalized',
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
      'invoice.updated',
      'invoice.paid',
      'invoice.payment_succeeded',
      'invoice_payment.paid',
    ])
    const oracle = await control('GET', `oracle/${customer.id}`)
    assert.deepEqual(oracle.body['totals'], { usd: { paid: 8000, refunded: 0, net: 8000 } })
  })
})
