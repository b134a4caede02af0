// The customer's balance, currencies, invoices paid elsewhere, the end of a customer, and what the oracle knows of it.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, pack, payer, plan, sessionFor, subscribed, types } from './world.ts'

const start = '2027-01-01T00:00:00Z'

async function ledger(stripe: Stripe, customer: string): Promise<[string, number, number][]> {
  const { data } = await stripe.customers.listBalanceTransactions(customer)
  return data.map(({ type, amount, ending_balance }): [string, number, number] => [
    type,
    amount,
    ending_balance,
  ])
}

describe('stripe sandbox: the balance of a customer', () => {
  afterEach(closeAll)

  it('lowers the next invoices by a credit until it is used up', async () => {
    const { stripe, to } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const entry = await stripe.customers.createBalanceTransaction(customer.id, {
      amount: -3000,
      currency: 'usd',
      description: 'goodwill',
    })
    assert.deepEqual([entry.type, entry.ending_balance, entry.invoice], ['adjustment', -3000, null])
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    assert.equal(sub.status, 'active')
    await to('2027-02-02T00:00:00Z')
    const { data } = await stripe.invoices.list({ subscription: sub.id, expand: ['data.payments'] })
    assert.deepEqual(
      data.map((i) => [i.total, i.starting_balance, i.ending_balance, i.amount_due, i.amount_paid, i.status]),
      [
        [2000, -1000, 0, 1000, 1000, 'paid'],
        [2000, -3000, -1000, 0, 0, 'paid'],
      ],
    )
    assert.deepEqual(
      data.map((invoice) => invoice.payments?.data.length),
      [1, 0],
    )
    assert.deepEqual(await ledger(stripe, customer.id), [
      ['applied_to_invoice', 1000, 0],
      ['applied_to_invoice', 2000, -1000],
      ['adjustment', -3000, -3000],
    ])
    const of = await stripe.customers.listBalanceTransactions(customer.id, { invoice: data[0]?.id ?? '' })
    assert.equal(of.data.length, 1)
  })

  for (const [balance, due, ending] of [
    [-500, 1500, 0],
    [-2500, 0, -500],
    [500, 2500, 0],
  ] as const) {
    it(`lowers or raises by ${balance} what a subscription's checkout collects`, async () => {
      const { stripe, control } = await bench(start)
      const customer = await payer(stripe)
      await stripe.customers.createBalanceTransaction(customer.id, { amount: balance, currency: 'usd' })
      const session = await sessionFor(stripe, await plan(stripe), 1, {
        mode: 'subscription',
        customer: customer.id,
      })
      assert.match(await (await fetch(session.url ?? '')).text(), new RegExp(`Due today.*\\$${due / 100}`))
      const declined = await control('POST', `checkout/${session.id}/decline`)
      assert.equal(declined.body['error'].code, 'card_declined')
      assert.equal((await ledger(stripe, customer.id)).length, 1)
      await control('POST', `checkout/${session.id}/pay`)
      const done = await stripe.checkout.sessions.retrieve(session.id, { expand: ['invoice'] })
      const invoice = done.invoice as Stripe.Invoice
      assert.deepEqual([done.amount_total, done.payment_status, invoice.total], [2000, 'paid', 2000])
      assert.deepEqual(
        [
          invoice.amount_due,
          invoice.amount_paid,
          invoice.status,
          invoice.starting_balance,
          invoice.ending_balance,
        ],
        [due, due, 'paid', balance, ending],
      )
      const entry = ['checkout_session_subscription_payment', ending - balance, ending]
      assert.deepEqual((await ledger(stripe, customer.id))[0], entry)
      const { body } = await control('GET', `oracle/${customer.id}`)
      assert.equal(body['totals'].usd?.paid ?? 0, due)
    })
  }

  it('collects a debt with the next invoice', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    await stripe.customers.update(customer.id, { balance: 500 })
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      expand: ['latest_invoice'],
    })
    const invoice = sub.latest_invoice as Stripe.Invoice
    assert.deepEqual([invoice.total, invoice.amount_due, invoice.amount_paid], [2000, 2500, 2500])
    assert.equal(((await stripe.customers.retrieve(customer.id)) as Stripe.Customer).balance, 0)
  })

  it('charges nothing that is too small, and owes it', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    await stripe.customers.createBalanceTransaction(customer.id, { amount: -1970, currency: 'usd' })
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    assert.equal(sub.status, 'active')
    assert.equal(((await stripe.customers.retrieve(customer.id)) as Stripe.Customer).balance, 30)
    assert.equal((await ledger(stripe, customer.id))[0]?.[0], 'invoice_too_small')
    assert.equal((await stripe.charges.list()).data.length, 0)
  })

  it('gives a credit back when its invoice is voided', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe, 'pm_card_chargeCustomerFail'), await plan(stripe)]
    await stripe.customers.createBalanceTransaction(customer.id, { amount: -500, currency: 'usd' })
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const open = await stripe.invoices.retrieve(sub.latest_invoice as string)
    assert.deepEqual([open.status, open.amount_due, open.ending_balance], ['open', 1500, 0])
    await stripe.invoices.voidInvoice(open.id)
    assert.deepEqual((await ledger(stripe, customer.id))[0], ['unapplied_from_invoice', -500, -500])
  })

  it('is paid out of band without a charge: the subscription lives, its payment is over', async () => {
    const { stripe, control } = await bench(start)
    const [customer, price] = [await payer(stripe, 'pm_card_chargeCustomerFail'), await plan(stripe)]
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const paid = await stripe.invoices.pay(sub.latest_invoice as string, {
      paid_out_of_band: true,
      expand: ['payments.data.payment.payment_intent'],
    })
    assert.deepEqual([paid.status, paid.amount_paid_off_stripe], ['paid', 2000])
    const intent = paid.payments?.data[0]?.payment.payment_intent as Stripe.PaymentIntent
    assert.equal(intent.status, 'canceled')
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'active')
    const told = await types(stripe)
    assert.deepEqual(
      [told.includes('invoice.paid'), told.includes('invoice.payment_succeeded')],
      [true, false],
    )
    const { body } = await control('GET', `oracle/${customer.id}`)
    assert.deepEqual([body['paid'], body['uncharged'][0].how], [[], 'out_of_band'])
  })

  it('bills a customer in one currency while anything binds them to it', async () => {
    const { stripe } = await bench(start)
    const sub = await subscribed(stripe)
    const customer = sub.customer as string
    const euros = await stripe.prices.create({
      product_data: { name: 'Pro' },
      currency: 'eur',
      unit_amount: 1800,
      recurring: { interval: 'month' },
    })
    const other = { customer, items: [{ price: euros.id }] }
    await assert.rejects(stripe.subscriptions.create(other), /cannot combine currencies/)
    await assert.rejects(
      sessionFor(stripe, euros, 1, { mode: 'subscription', customer }),
      /combine currencies/,
    )
    await assert.rejects(
      stripe.subscriptions.create({
        customer,
        items: [{ price: euros.id }, { price: sub.items.data[0]?.price.id ?? '' }],
      }),
      /same currency/,
    )
    assert.equal((await sessionFor(stripe, await pack(stripe, 500, 'eur'), 1, { customer })).currency, 'eur')
    await assert.rejects(
      stripe.customers.createBalanceTransaction(customer, { amount: -1, currency: 'eur' }),
      { code: 'sandbox_not_simulated' },
    )
    await stripe.subscriptions.cancel(sub.id)
    const made = await stripe.subscriptions.create(other)
    assert.deepEqual([made.status, made.currency], ['active', 'eur'])
    assert.equal(((await stripe.customers.retrieve(customer)) as Stripe.Customer).currency, 'eur')
  })

  it('ends everything of a customer who is deleted, at once', async () => {
    const { stripe, control, to } = await bench(start)
    const sub = await subscribed(stripe)
    const customer = sub.customer as string
    const session = await sessionFor(stripe, await pack(stripe, 500), 1, { customer })
    const [card] = (await stripe.paymentMethods.list({ customer })).data
    assert.deepEqual(await stripe.customers.del(customer), {
      id: customer,
      object: 'customer',
      deleted: true,
    })
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'canceled')
    assert.deepEqual((await types(stripe)).slice(-2), ['customer.subscription.deleted', 'customer.deleted'])
    assert.equal((await stripe.customers.retrieve(customer)).deleted, true)
    assert.equal((await stripe.paymentMethods.retrieve(card?.id ?? '')).customer, null)
    await assert.rejects(stripe.customers.update(customer, { name: 'x' }), { code: 'resource_missing' })
    await assert.rejects(
      stripe.customers.createBalanceTransaction(customer, { amount: 1, currency: 'usd' }),
      {
        code: 'resource_missing',
      },
    )
    assert.equal((await control('POST', `checkout/${session.id}/pay`)).status, 400)
    await to('2027-03-01T00:00:00Z')
    assert.equal((await stripe.invoices.list({ subscription: sub.id })).data.length, 1)
    const { body } = await control('GET', `oracle/${customer}`)
    assert.deepEqual([body['deleted'], body['totals'].usd.paid], [true, 2000])
  })

  it('is known to the oracle: by which object what was paid, settled or not, with discount and tax', async () => {
    const { stripe, control, to } = await bench(start)
    const customer = await payer(stripe)
    const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 20, inclusive: false })
    const { id: half } = await stripe.coupons.create({ percent_off: 50, duration: 'once' })
    const { id: all } = await stripe.coupons.create({ percent_off: 100, duration: 'once' })
    const price = await pack(stripe, 1000)
    const line_items = [{ price: price.id, quantity: 2, tax_rates: [rate.id] }]
    const of = { customer: customer.id, line_items }
    const card = await sessionFor(stripe, price, 2, {
      ...of,
      discounts: [{ coupon: half }],
      metadata: { order: 'o1' },
    })
    const debit = await sessionFor(stripe, price, 2, of)
    const free = await sessionFor(stripe, price, 2, { ...of, discounts: [{ coupon: all }] })
    await control('POST', `checkout/${card.id}/pay`)
    await control('POST', `checkout/${debit.id}/pay`, { method: 'bank_debit' })
    await control('POST', `checkout/${free.id}/pay`)
    const intent = await stripe.paymentIntents.create({
      customer: customer.id,
      payment_method: (customer.invoice_settings.default_payment_method as string) ?? '',
      amount: 700,
      currency: 'usd',
      confirm: true,
      off_session: true,
      metadata: { top_up: 't1' },
    })
    const { body: before } = await control('GET', `oracle/${customer.id}`)
    const short = (fact: Record<string, unknown>): unknown[] =>
      ['checkout_session', 'amount', 'discount', 'tax', 'settled', 'metadata'].map((key) => fact[key])
    assert.deepEqual(before['paid'].map(short), [
      [card.id, 1200, 1000, 200, true, { order: 'o1' }],
      [null, 700, 0, 0, true, { top_up: 't1' }],
    ])
    assert.equal(before['paid'][1].payment_intent, intent.id)
    assert.deepEqual(before['pending'].map(short), [[debit.id, 2400, 0, 400, false, {}]])
    assert.deepEqual(
      before['uncharged'].map((fact: Record<string, unknown>) => [fact['checkout_session'], fact['how']]),
      [[free.id, 'nothing_due']],
    )
    await to('2027-01-10T00:00:00Z')
    const { body: after } = await control('GET', `oracle/${customer.id}`)
    assert.deepEqual([after['pending'], after['totals'].usd.paid], [[], 4300])
    assert.equal(after['paid'][1].paid_at, Date.parse('2027-01-07T00:00:00Z') / 1000)
  })
})
