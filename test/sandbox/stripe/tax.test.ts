// Tax on top of prices and within them: rates the merchant keeps, and automatic tax at the sandbox's one rate.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, pack, payer, plan, sessionFor } from './world.ts'

const start = '2027-01-01T00:00:00Z'
const home = { address: { country: 'US', postal_code: '94080', state: 'CA' } }

async function located(stripe: Stripe, more: Stripe.CustomerUpdateParams = {}): Promise<Stripe.Customer> {
  const customer = await payer(stripe)
  return stripe.customers.update(customer.id, { ...home, ...more })
}

async function firstInvoice(
  stripe: Stripe,
  customer: string,
  price: string,
  more: Partial<Stripe.SubscriptionCreateParams>,
): Promise<Stripe.Invoice> {
  const sub = await stripe.subscriptions.create({
    customer,
    items: [{ price }],
    expand: ['latest_invoice'],
    ...more,
  })
  return sub.latest_invoice as Stripe.Invoice
}

const amounts = (invoice: Stripe.Invoice): (number | null)[] => [
  invoice.subtotal,
  invoice.subtotal_excluding_tax,
  invoice.total_excluding_tax,
  invoice.total,
  invoice.amount_paid,
]

describe('stripe sandbox: tax', () => {
  afterEach(closeAll)

  it('adds an exclusive rate and finds an inclusive one in the price, after discounts', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const made = { display_name: 'VAT', percentage: 20 }
    const over = await stripe.taxRates.create({ ...made, inclusive: false })
    const within = await stripe.taxRates.create({ ...made, inclusive: true })
    const { id: coupon } = await stripe.coupons.create({ percent_off: 10, duration: 'forever' })
    const discounts = [{ coupon }]
    const added = await firstInvoice(stripe, customer.id, price.id, {
      default_tax_rates: [over.id],
      discounts,
    })
    assert.deepEqual(amounts(added), [2000, 2000, 1800, 2160, 2160])
    const tax = {
      tax_rate_details: { tax_rate: over.id },
      taxability_reason: 'standard_rated',
      type: 'tax_rate_details',
    }
    const exclusive = [{ ...tax, amount: 360, tax_behavior: 'exclusive', taxable_amount: 1800 }]
    assert.deepEqual(added.total_taxes, exclusive)
    assert.deepEqual(added.lines.data[0]?.taxes, exclusive)
    assert.deepEqual(
      added.default_tax_rates.map(({ id }) => id),
      [over.id],
    )
    const found = await firstInvoice(stripe, customer.id, price.id, {
      items: [{ price: price.id, tax_rates: [within.id] }],
      discounts,
    })
    assert.deepEqual(amounts(found), [2000, 1667, 1500, 1800, 1800])
    assert.deepEqual(
      found.total_taxes?.map(({ amount, tax_behavior, taxable_amount }) => [
        amount,
        tax_behavior,
        taxable_amount,
      ]),
      [[300, 'inclusive', 1500]],
    )
  })

  it('taxes automatically at the rate that the control plane sets, by the behaviour of the price', async () => {
    const { stripe, control } = await bench(start)
    const customer = await located(stripe)
    const price = await plan(stripe)
    const automatic_tax = { enabled: true }
    assert.deepEqual(
      amounts(await firstInvoice(stripe, customer.id, price.id, { automatic_tax })),
      [2000, 2000, 2000, 2200, 2200],
    )
    await control('POST', 'tax', { percentage: 25 })
    const gross = await stripe.prices.create({
      product: price.product as string,
      currency: 'usd',
      unit_amount: 2000,
      recurring: { interval: 'month' },
      tax_behavior: 'inclusive',
    })
    const invoice = await firstInvoice(stripe, customer.id, gross.id, { automatic_tax })
    assert.deepEqual(amounts(invoice), [2000, 1600, 1600, 2000, 2000])
    assert.deepEqual([invoice.automatic_tax.enabled, invoice.automatic_tax.status], [true, 'complete'])
  })

  it('goes on taxing renewals, and stops when it is switched off', async () => {
    const { stripe, to } = await bench(start)
    const [customer, price] = [await located(stripe), await plan(stripe)]
    const sub = await stripe.subscriptions.create({
      customer: customer.id,
      items: [{ price: price.id }],
      automatic_tax: { enabled: true },
    })
    await to('2027-02-02T00:00:00Z')
    await stripe.subscriptions.update(sub.id, { automatic_tax: { enabled: false } })
    await to('2027-03-02T00:00:00Z')
    const invoices = await stripe.invoices.list({ subscription: sub.id })
    assert.deepEqual(
      invoices.data.map(({ amount_paid }) => amount_paid),
      [2000, 2200, 2200],
    )
  })

  it('taxes no exempt customer, and says why', async () => {
    const { stripe } = await bench(start)
    const price = await plan(stripe)
    for (const [tax_exempt, reason] of [
      ['exempt', 'customer_exempt'],
      ['reverse', 'reverse_charge'],
    ] as const) {
      const customer = await located(stripe, { tax_exempt })
      const invoice = await firstInvoice(stripe, customer.id, price.id, { automatic_tax: { enabled: true } })
      assert.deepEqual(
        [invoice.total, invoice.total_taxes?.[0]?.amount, invoice.total_taxes?.[0]?.taxability_reason],
        [2000, 0, reason],
      )
    }
  })

  it('does not tax automatically without knowing where the customer is', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const automatic_tax = { enabled: true }
    const refused = { code: 'customer_tax_location_invalid' }
    await assert.rejects(firstInvoice(stripe, customer.id, price.id, { automatic_tax }), refused)
    const open = sessionFor(stripe, await pack(stripe, 1000), 1, { customer: customer.id, automatic_tax })
    await assert.rejects(open, refused)
  })

  it('asks on the page where the customer is, charges the tax, and keeps the address if it may', async () => {
    const { stripe, control } = await bench(start)
    const customer = await payer(stripe)
    const session = await sessionFor(stripe, await pack(stripe, 1000), 3, {
      customer: customer.id,
      automatic_tax: { enabled: true },
      customer_update: { address: 'auto' },
    })
    assert.deepEqual([session.amount_total, session.automatic_tax.status], [3000, 'requires_location_inputs'])
    assert.match(await (await fetch(session.url ?? '')).text(), /Tax<\/td><td>\$3\.00/)
    await control('POST', `checkout/${session.id}/pay`)
    const paid = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent', 'customer', 'total_details.breakdown', 'line_items'],
    })
    assert.deepEqual(
      [paid.amount_subtotal, paid.total_details?.amount_tax, paid.amount_total, paid.automatic_tax.status],
      [3000, 300, 3300, 'complete'],
    )
    assert.equal((paid.payment_intent as Stripe.PaymentIntent).amount_received, 3300)
    assert.equal((paid.customer as Stripe.Customer).address?.country, 'US')
    const [tax] = paid.total_details?.breakdown?.taxes ?? []
    assert.deepEqual([tax?.amount, tax?.rate.percentage, tax?.taxable_amount], [300, 10, 3000])
    const [line] = paid.line_items?.data ?? []
    assert.deepEqual([line?.amount_subtotal, line?.amount_tax, line?.amount_total], [3000, 300, 3300])
  })

  it('charges a subscription by checkout what its first invoice says, with tax and discount', async () => {
    const { stripe, control } = await bench(start)
    const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 19, inclusive: false })
    const { id: coupon } = await stripe.coupons.create({ percent_off: 33.3, duration: 'once' })
    const session = await sessionFor(stripe, await plan(stripe, 'month', 999), 3, {
      mode: 'subscription',
      discounts: [{ coupon }],
      subscription_data: { default_tax_rates: [rate.id] },
    })
    await control('POST', `checkout/${session.id}/pay`)
    const done = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['subscription.latest_invoice'],
    })
    const invoice = (done.subscription as Stripe.Subscription).latest_invoice as Stripe.Invoice
    assert.equal(session.amount_total, 2379)
    assert.deepEqual(
      [done.amount_total, invoice.total, invoice.amount_paid, invoice.status],
      [2379, 2379, 2379, 'paid'],
    )
  })

  it('refuses rates beside automatic tax and archived ones', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await located(stripe), await plan(stripe)]
    const rate = await stripe.taxRates.create({ display_name: 'VAT', percentage: 19, inclusive: false })
    const rates = { default_tax_rates: [rate.id] }
    await assert.rejects(
      firstInvoice(stripe, customer.id, price.id, { ...rates, automatic_tax: { enabled: true } }),
      /tax rates with automatic tax/,
    )
    await stripe.taxRates.update(rate.id, { active: false })
    await assert.rejects(firstInvoice(stripe, customer.id, price.id, rates), /archived/)
    assert.deepEqual((await stripe.taxRates.list({ active: true })).data, [])
  })
})
