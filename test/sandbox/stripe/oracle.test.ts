// What the oracle knows of subscriptions: what each has, what waits, what every invoice billed and whether it was paid.
import assert from 'node:assert/strict'
import { bench, closeAll, payer, plan, seconds, type Json } from './world.ts'

describe('stripe sandbox: the oracle of subscriptions', () => {
  afterEach(closeAll)

  it('tells what each invoice billed and what was given back of it, paid or not, and what still waits', async () => {
    const { stripe, control, to } = await bench('2027-04-01T00:00:00Z')
    const [customer, basic, pro] = [
      await payer(stripe),
      await plan(stripe),
      await plan(stripe, 'month', 5000),
    ]
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: basic.id }] })
    const id = sub.items.data[0]?.id ?? ''
    const facts = async (): Promise<Json> => {
      const { body } = await control('GET', `oracle/${customer.id}`)
      return (body['subscriptions'] as Json[])[0] ?? {}
    }
    await to('2027-04-16T00:00:00Z')
    const always = { proration_behavior: 'always_invoice' as const }
    await stripe.subscriptions.update(sub.id, { items: [{ id, price: pro.id }], ...always })
    const upgraded = await facts()
    assert.deepEqual([upgraded['live'], upgraded['pending'], upgraded['items'].length], [true, null, 1])
    const [first, second] = upgraded['invoices'] as Json[]
    assert.deepEqual(
      [first?.['paid'], second?.['billing_reason'], second?.['total'], second?.['paid']],
      [true, 'subscription_update', 1500, true],
    )
    const [period, [credit, debit]] = [first?.['lines'][0], second?.['lines'] as Json[]]
    assert.deepEqual(
      [credit?.['net'], credit?.['price'], credit?.['credits']],
      [-1000, basic.id, [period.id]],
    )
    assert.deepEqual(
      [debit?.['net'], debit?.['price'], debit?.['proration'], debit?.['credits']],
      [2500, pro.id, true, []],
    )
    const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer: customer.id })
    await stripe.subscriptions.update(sub.id, { default_payment_method: bad.id })
    await stripe.subscriptions.update(sub.id, {
      items: [{ id, quantity: 3 }],
      payment_behavior: 'pending_if_incomplete',
      ...always,
    })
    const waiting = await facts()
    assert.deepEqual(
      [waiting['pending'].items, waiting['pending'].expires_at, waiting['items'][0].quantity],
      [[{ price: pro.id, quantity: 3 }], seconds('2027-04-16T23:00:00Z'), 1],
    )
    await to('2027-05-16T02:00:00Z')
    const over = await facts()
    const states = (over['invoices'] as Json[]).map((invoice) => [
      invoice['status'],
      invoice['paid'],
      invoice['attempts'],
    ])
    assert.deepEqual(states, [
      ['paid', true, 1],
      ['paid', true, 1],
      ['void', false, 1],
      ['open', false, 4],
    ])
    assert.deepEqual([over['live'], over['status'], over['pending']], [false, 'canceled', null])
  })
})
