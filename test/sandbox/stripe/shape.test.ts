// Every object type the simulator answers, against Stripe's published OpenAPI document where it is at hand.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { Ajv } from 'ajv'
import type Stripe from 'stripe'
import { differences } from '../../../src/sandbox/stripe/differences.ts'
import { bench, closeAll, payer, plan, receiver, subscribed, type Bench } from './world.ts'

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
      ['payment_intent', stripe.paymentIntents.list()],
      ['charge', stripe.charges.list()],
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
