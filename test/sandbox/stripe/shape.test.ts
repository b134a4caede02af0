// Every object type the simulator answers, against Stripe's published OpenAPI document where it is at hand.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { Ajv } from 'ajv'
import type Stripe from 'stripe'
import { differences } from '../../../src/sandbox/stripe/differences.ts'
import { bench, closeAll, pack, payer, plan, receiver, sessionFor, subscribed, type Bench } from './world.ts'

const validator = new URL('../../../../shared/stripe/validate-response.mjs', import.meta.url)

type Validate = (schema: string, value: unknown) => string[]

describe('stripe sandbox: shapes', function () {
  this.timeout(60_000)
  let validate: Validate

  before(async function () {
    if (!existsSync(validator)) {
      console.log('      skipped: the OpenAPI document of Stripe is not beside this repository')
      this.skip()
    }
    const { createStripeValidator } = (await import(validator.href)) as {
      createStripeValidator: (ajv: unknown) => Validate
    }
    validate = createStripeValidator(Ajv)
  })
  afterEach(closeAll)

  function conforms(schema: string, value: unknown): void {
    // The client made Decimals of decimal strings; JSON turns them back.
    const wire: unknown = JSON.parse(JSON.stringify(value))
    const excused = differences.flatMap((d) => (d.schema === schema && d.complaint ? [d.complaint] : []))
    const found = validate(schema, wire).filter((line) => !excused.some((pattern) => pattern.test(line)))
    assert.deepEqual(found, [], `${schema}: ${found.join('; ')}`)
  }

  async function everything({ stripe, control }: Bench): Promise<void> {
    const price = await plan(stripe)
    const session = await stripe.checkout.sessions.create({
      mode: 'subscription',
      line_items: [{ price: price.id, quantity: 1 }],
      success_url: 'https://example.com/ok',
    })
    conforms('checkout.session', session)
    await control('POST', `checkout/${session.id}/pay`, { email: 'a@example.com' })
    const paid = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['line_items', 'customer', 'subscription'],
    })
    conforms('checkout.session', paid)
    conforms('customer', paid.customer)
    conforms('subscription', paid.subscription)
    const setup = await stripe.checkout.sessions.create({
      mode: 'setup',
      currency: 'usd',
      success_url: 'https://example.com/ok',
    })
    await control('POST', `checkout/${setup.id}/pay`)
    conforms(
      'checkout.session',
      await stripe.checkout.sessions.retrieve(setup.id, { expand: ['setup_intent'] }),
    )
  }

  /** A subscription with prorations that wait, a preview, and a change that waits to be paid. */
  async function changing({ stripe }: Bench): Promise<void> {
    const [sub, dear] = [await subscribed(stripe), await plan(stripe, 'month', 9000)]
    const id = sub.items.data[0]?.id ?? ''
    const items = [{ id, price: dear.id }]
    const preview = await stripe.invoices.createPreview({
      subscription: sub.id,
      subscription_details: { items, proration_behavior: 'always_invoice' },
    })
    conforms('invoice', preview)
    for (const line of preview.lines.data) conforms('line_item', line)
    await stripe.subscriptions.update(sub.id, { items: [{ id, quantity: 2 }] })
    const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
      customer: sub.customer as string,
    })
    await stripe.subscriptions.update(sub.id, { default_payment_method: bad.id })
    const held = await stripe.subscriptions.update(sub.id, {
      items,
      proration_behavior: 'always_invoice',
      payment_behavior: 'pending_if_incomplete',
    })
    assert.ok(held.pending_update)
    conforms('subscription', held)
    await stripe.invoices.voidInvoice(held.latest_invoice as string)
    const schedule = await stripe.subscriptionSchedules.create({ from_subscription: sub.id })
    const [{ start_date, end_date }] = schedule.phases as [Stripe.SubscriptionSchedule.Phase]
    const phases = [
      { start_date, end_date, items: [{ price: dear.id }] },
      { items: [{ price: dear.id, quantity: 2 }], metadata: { a: 'b' } },
    ]
    conforms('subscription_schedule', await stripe.subscriptionSchedules.update(schedule.id, { phases }))
    conforms('subscription_schedule', await stripe.subscriptionSchedules.release(schedule.id))
    const customer = sub.customer as string
    const flow_data = { type: 'subscription_update' as const, subscription_update: { subscription: sub.id } }
    conforms('billing_portal.session', await stripe.billingPortal.sessions.create({ customer, flow_data }))
  }

  /** Purchases of every kind: by card, by debit (waiting, paid, refused), discounted, taxed, from the balance. */
  async function purchases({ stripe, control, to }: Bench): Promise<void> {
    const coupon = await stripe.coupons.create({
      percent_off: 50,
      duration: 'repeating',
      duration_in_months: 3,
    })
    const named = { promotion: { type: 'coupon', coupon: coupon.id }, code: 'HALF' } as const
    const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 20, inclusive: true })
    conforms('coupon', coupon)
    conforms('promotion_code', await stripe.promotionCodes.create(named))
    conforms('tax_rate', rate)
    const customer = await payer(stripe)
    const entry = { amount: -300, currency: 'usd', metadata: { why: 'goodwill' } }
    conforms(
      'customer_balance_transaction',
      await stripe.customers.createBalanceTransaction(customer.id, entry),
    )
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: (await plan(stripe)).id, tax_rates: [rate.id] }],
      discounts: [{ coupon: coupon.id }],
      expand: ['discounts.source.coupon', 'latest_invoice.discounts'],
    })
    conforms('subscription', sub)
    for (const discount of sub.discounts) conforms('discount', discount)
    for (const outcome of ['card', 'succeeds', 'fails']) {
      for (const currency of ['usd', 'eur']) {
        const session = await sessionFor(stripe, await pack(stripe, 1500, currency), 2, {
          customer_creation: 'always',
          allow_promotion_codes: true,
          automatic_tax: { enabled: true },
        })
        const how = outcome === 'card' ? {} : { method: 'bank_debit', outcome }
        await control('POST', `checkout/${session.id}/pay`, { promotion_code: 'HALF', ...how })
        const paid = await stripe.checkout.sessions.retrieve(session.id, {
          expand: [
            'line_items',
            'payment_intent.latest_charge',
            'payment_intent.payment_method',
            'total_details.breakdown',
          ],
        })
        conforms('checkout.session', paid)
        conforms('payment_method', (paid.payment_intent as Stripe.PaymentIntent).payment_method)
        for (const line of (await stripe.checkout.sessions.listLineItems(session.id)).data)
          conforms('item', line)
      }
    }
    await stripe.coupons.del(coupon.id)
    await to('2027-01-20T00:00:00Z')
    await stripe.customers.del(customer.id)
    conforms('deleted_customer', await stripe.customers.retrieve(customer.id))
  }

  it('match the document, as created, paid, declined, on trial and ended', async () => {
    const world = await bench('2027-01-01T00:00:00Z')
    const { stripe } = world
    const hook = await receiver()
    conforms(
      'webhook_endpoint',
      await stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['*'] }),
    )
    await everything(world)
    await changing(world)
    await subscribed(stripe, 'year', { trial_period_days: 10 })
    await subscribed(stripe, 'month', { cancel_at_period_end: true })
    const refusing = await payer(stripe, 'pm_card_chargeCustomerFail')
    const price = await plan(stripe)
    await stripe.subscriptions.create({ customer: refusing.id, items: [{ price: price.id }] })
    await purchases(world)
    await stripe.setupIntents.create({ customer: refusing.id, payment_method: 'pm_card_visa', confirm: true })
    await world.to('2027-03-15T00:00:00Z')

    const lists: [string, AsyncIterable<unknown>][] = [
      ['customer', stripe.customers.list()],
      ['product', stripe.products.list()],
      ['price', stripe.prices.list()],
      ['subscription', stripe.subscriptions.list({ status: 'all' })],
      ['invoice', stripe.invoices.list({ expand: ['data.payments'] })],
      ['invoice_payment', stripe.invoicePayments.list()],
      ['invoiceitem', stripe.invoiceItems.list()],
      ['subscription_schedule', stripe.subscriptionSchedules.list()],
      ['billing_portal.configuration', stripe.billingPortal.configurations.list()],
      ['payment_intent', stripe.paymentIntents.list()],
      ['charge', stripe.charges.list()],
      ['checkout.session', stripe.checkout.sessions.list()],
      ['promotion_code', stripe.promotionCodes.list()],
      ['tax_rate', stripe.taxRates.list()],
      ['setup_intent', stripe.setupIntents.list()],
      ['event', stripe.events.list()],
      ['webhook_endpoint', stripe.webhookEndpoints.list()],
      ['payment_method', stripe.paymentMethods.list({ customer: refusing.id })],
    ]
    for (const [schema, list] of lists) {
      let count = 0
      for await (const object of list) {
        conforms(schema, object)
        count += 1
      }
      assert.ok(count > 0, `no ${schema} was checked`)
    }
    const invoice = (await stripe.invoices.list({ limit: 1 })).data[0] as Stripe.Invoice
    for (const line of (await stripe.invoices.listLineItems(invoice.id)).data) conforms('line_item', line)
    const objects = hook.got.map(({ event }) => event.data.object as { object: string })
    for (const object of objects)
      if (object.object !== 'invoice' || 'id' in object) conforms(object.object, object)
  })
})
