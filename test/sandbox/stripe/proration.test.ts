// Changes in the middle of a period: what they credit, what they debit, on which invoice.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, receiver, seconds, subscribed, types, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'
/** April has thirty days, so a third of it is ten. */
const third = '2027-04-11T00:00:00Z'
const half = '2027-04-16T00:00:00Z'

interface Running extends Bench {
  sub: Stripe.Subscription
  item: string
  basic: Stripe.Price
  pro: Stripe.Price
}

async function running(begin = start): Promise<Running> {
  const world = await bench(begin)
  const { stripe } = world
  const [customer, basic, pro] = [await payer(stripe), await plan(stripe), await plan(stripe, 'month', 5000)]
  const sub = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: basic.id }],
    billing_mode: { type: 'flexible' },
  })
  return { ...world, sub, item: sub.items.data[0]?.id ?? '', basic, pro }
}

function change(
  { stripe, sub, item }: Running,
  price: Stripe.Price,
  more: Partial<Stripe.SubscriptionUpdateParams> = {},
): Promise<Stripe.Subscription> {
  return stripe.subscriptions.update(sub.id, { items: [{ id: item, price: price.id }], ...more })
}

async function latest({ stripe }: Bench, sub: Stripe.Subscription): Promise<Stripe.Invoice> {
  return stripe.invoices.retrieve(sub.latest_invoice as string)
}

function amounts(invoice: Stripe.Invoice): number[] {
  return invoice.lines.data.map((line) => line.amount)
}

describe('stripe sandbox: prorations', () => {
  afterEach(closeAll)

  it('credits the unused time at the old price and debits the remaining time at the new one, at once', async () => {
    const world = await running()
    await world.to(third)
    const first = world.sub.latest_invoice as string
    const after = await change(world, world.pro, { proration_behavior: 'always_invoice' })
    const invoice = await latest(world, after)
    assert.deepEqual(
      [invoice.billing_reason, invoice.status, invoice.total, amounts(invoice)],
      ['subscription_update', 'paid', 2000, [-1333, 3333]],
    )
    const [credit, debit] = invoice.lines.data.map((line) => line.parent?.subscription_item_details)
    assert.deepEqual([credit?.proration, debit?.proration], [true, true])
    assert.deepEqual(debit?.proration_details?.credited_items, null)
    const [original] = (await world.stripe.invoices.retrieve(first)).lines.data
    assert.deepEqual(credit?.proration_details?.credited_items, {
      invoice: first,
      invoice_line_items: [original?.id],
    })
    const end = seconds('2027-05-01T00:00:00Z')
    for (const line of invoice.lines.data) assert.deepEqual(line.period, { start: seconds(third), end })
    assert.equal(after.items.data[0]?.current_period_end, end)
    assert.equal(after.items.data[0]?.price.id, world.pro.id)
    assert.equal((await world.stripe.invoiceItems.list({ invoice: invoice.id })).data.length, 2)
  })

  it('lets them wait for the renewal unless asked otherwise', async () => {
    const world = await running()
    await world.to(third)
    const after = await change(world, world.pro)
    assert.equal(after.latest_invoice, world.sub.latest_invoice)
    assert.equal((await world.stripe.invoiceItems.list({ pending: true })).data.length, 2)
    await world.to('2027-05-01T02:00:00Z')
    const renewal = await latest(world, await world.stripe.subscriptions.retrieve(world.sub.id))
    assert.deepEqual(
      [renewal.billing_reason, renewal.status, renewal.amount_paid, amounts(renewal)],
      ['subscription_cycle', 'paid', 7000, [-1333, 3333, 5000]],
    )
    assert.equal((await world.stripe.invoiceItems.list({ pending: true })).data.length, 0)
  })

  it('makes none when told so, and credits later only what was really debited', async () => {
    // the example of docs.stripe.com/billing/subscriptions/prorations (calculation logic with no prorations)
    const world = await running()
    await world.to(third)
    await change(world, world.pro, { proration_behavior: 'none' })
    await world.to('2027-04-21T00:00:00Z')
    const after = await change(world, world.basic, { proration_behavior: 'always_invoice' })
    const invoice = await latest(world, after)
    assert.deepEqual([invoice.total, invoice.status, amounts(invoice)], [0, 'paid', [-667, 667]])
  })

  it('leaves what a downgrade gives back on the customer, for the next invoice', async () => {
    const world = await running()
    await change(world, world.pro, { proration_behavior: 'always_invoice' })
    await world.to(half)
    const down = await change(world, world.basic, { proration_behavior: 'always_invoice' })
    const invoice = await latest(world, down)
    assert.deepEqual([invoice.status, invoice.total, invoice.amount_due], ['paid', -1500, 0])
    const customer = (await world.stripe.customers.retrieve(world.sub.customer as string)) as Stripe.Customer
    assert.equal(customer.balance, -1500)
    await world.to('2027-05-01T02:00:00Z')
    const renewal = await latest(world, await world.stripe.subscriptions.retrieve(world.sub.id))
    assert.deepEqual([renewal.total, renewal.amount_paid], [2000, 500])
  })

  it('prorates quantity, added and removed items, each for itself', async () => {
    const world = await running()
    const { stripe, sub, item, pro } = world
    await world.to(half)
    const seats = await stripe.subscriptions.update(sub.id, {
      items: [{ id: item, quantity: 3 }],
      proration_behavior: 'always_invoice',
    })
    assert.deepEqual(amounts(await latest(world, seats)), [-1000, 3000])
    const two = await stripe.subscriptions.update(sub.id, {
      items: [{ price: pro.id, quantity: 2 }],
      proration_behavior: 'always_invoice',
    })
    assert.deepEqual(amounts(await latest(world, two)), [5000])
    const one = await stripe.subscriptions.update(sub.id, {
      items: [{ id: item, deleted: true }],
      proration_behavior: 'always_invoice',
    })
    assert.deepEqual(amounts(await latest(world, one)), [-3000])
    assert.deepEqual(
      one.items.data.map(({ price, quantity }) => [price.id, quantity]),
      [[pro.id, 2]],
    )
    await assert.rejects(
      stripe.subscriptions.update(sub.id, { items: [{ id: one.items.data[0]?.id ?? '', deleted: true }] }),
      /at least one/,
    )
  })

  it('starts the year at once when the anchor is set to now', async () => {
    const world = await running()
    const year = await plan(world.stripe, 'year', 20_000)
    await world.to(third)
    const after = await change(world, year, {
      billing_cycle_anchor: { type: 'now' },
      proration_behavior: 'create_prorations',
    })
    const invoice = await latest(world, after)
    assert.deepEqual([invoice.status, amounts(invoice)], ['paid', [-1333, 20_000]])
    assert.equal(invoice.lines.data[1]?.parent?.subscription_item_details?.proration, false)
    const [item] = after.items.data
    assert.deepEqual(
      [after.billing_cycle_anchor, item?.current_period_start, item?.current_period_end],
      [seconds(third), seconds(third), seconds('2028-04-11T00:00:00Z')],
    )
    await world.to('2028-04-11T02:00:00Z')
    const renewed = await latest(world, await world.stripe.subscriptions.retrieve(world.sub.id))
    assert.deepEqual([renewed.billing_reason, amounts(renewed)], ['subscription_cycle', [20_000]])
  })

  it('does not give back later what a new cycle without prorations left', async () => {
    const world = await running()
    await world.to(third)
    const reset = { billing_cycle_anchor: { type: 'now' as const }, proration_behavior: 'none' as const }
    const anew = await change(world, world.pro, reset)
    assert.deepEqual(amounts(await latest(world, anew)), [5000])
    await world.to('2027-04-26T00:00:00Z')
    const down = await change(world, world.basic, { proration_behavior: 'always_invoice' })
    assert.deepEqual(amounts(await latest(world, down)), [-2500, 1000])
  })

  it('keeps the anchor otherwise: a year to its next boundary, a month to its own', async () => {
    const world = await running('2027-01-01T00:00:00Z')
    const year = await plan(world.stripe, 'year', 36_500)
    await world.to('2027-01-01T00:00:00Z')
    const yearly = await change(world, year, { proration_behavior: 'always_invoice' })
    assert.deepEqual(amounts(await latest(world, yearly)), [-2000, 36_500])
    assert.equal(yearly.items.data[0]?.current_period_end, seconds('2028-01-01T00:00:00Z'))
    await world.to('2027-01-11T00:00:00Z')
    const monthly = await change(world, world.basic, { proration_behavior: 'always_invoice' })
    const invoice = await latest(world, monthly)
    assert.deepEqual(amounts(invoice), [-35_500, Math.round((2000 * 21) / 31)])
    const [item] = monthly.items.data
    assert.deepEqual(
      [monthly.billing_cycle_anchor, item?.current_period_start, item?.current_period_end],
      ['2027-01-01T00:00:00Z', '2027-01-01T00:00:00Z', '2027-02-01T00:00:00Z'].map(seconds),
    )
  })

  it('prorates as of the date that is given, within the period', async () => {
    const world = await running()
    await world.to(half)
    const options = { proration_behavior: 'always_invoice' as const, proration_date: seconds(third) }
    const after = await change(world, world.pro, options)
    assert.deepEqual(amounts(await latest(world, after)), [-1333, 3333])
    // what was debited from a later date on is given back from then on only
    const earlier = { ...options, proration_date: seconds('2027-04-06T00:00:00Z') }
    const back = await change(world, world.basic, earlier)
    assert.deepEqual(amounts(await latest(world, back)), [-3333, 1667])
    const outside = { proration_behavior: 'always_invoice' as const, proration_date: seconds(start) - 1 }
    await assert.rejects(change(world, world.basic, outside), { param: 'proration_date' })
  })

  it('previews the invoice of a change exactly, and changes nothing', async () => {
    const world = await running()
    const { stripe, sub, item, pro } = world
    const year = await plan(stripe, 'year', 20_000)
    const hook = await receiver()
    await stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['invoice.created'] })
    await world.to(third)
    await world.sandbox.deliverDue()
    const changes = [
      { items: [{ id: item, price: pro.id }], proration_behavior: 'always_invoice' as const },
      { items: [{ id: item, quantity: 7 }], proration_behavior: 'always_invoice' as const },
      { items: [{ id: item, price: year.id }], billing_cycle_anchor: { type: 'now' as const } },
    ]
    const lines = (invoice: Stripe.Invoice): unknown =>
      invoice.lines.data.map(({ amount, period, description, quantity, pricing }) => [
        amount,
        period,
        description,
        quantity,
        pricing?.price_details?.price,
      ])
    for (const subscription_details of changes) {
      const events = await types(stripe)
      const preview = await stripe.invoices.createPreview({ subscription: sub.id, subscription_details })
      const { body } = await world.control('GET', 'webhooks')
      assert.deepEqual([await types(stripe), body['queue'].pending], [events, 0])
      const real = await latest(world, await stripe.subscriptions.update(sub.id, subscription_details))
      await world.sandbox.deliverDue()
      assert.deepEqual(lines(preview), lines(real))
      assert.deepEqual(
        [preview.total, preview.amount_due, preview.starting_balance, preview.ending_balance],
        [real.total, real.amount_due, real.starting_balance, real.ending_balance],
      )
      assert.deepEqual([preview.billing_reason, preview.status], ['upcoming', 'draft'])
      await assert.rejects(stripe.invoices.retrieve(preview.id), { code: 'resource_missing' })
    }
  })

  it('previews the renewal, with what waits for it, and a subscription that does not exist yet', async () => {
    const world = await running()
    const { stripe, sub, item, pro } = world
    await world.to(third)
    const details = { items: [{ id: item, price: pro.id }], proration_date: seconds(third) }
    const preview = await stripe.invoices.createPreview({
      subscription: sub.id,
      subscription_details: details,
    })
    assert.deepEqual(amounts(preview), [-1333, 3333, 5000])
    assert.deepEqual(amounts(await stripe.invoices.createPreview({ subscription: sub.id })), [2000])
    const fresh = await stripe.invoices.createPreview({
      customer: sub.customer as string,
      subscription_details: { items: [{ price: pro.id, quantity: 2 }] },
    })
    assert.deepEqual(amounts(fresh), [10_000])
    assert.equal((await stripe.subscriptions.list()).data.length, 1)
    await stripe.subscriptions.update(sub.id, { cancel_at_period_end: true })
    await assert.rejects(stripe.invoices.createPreview({ subscription: sub.id }), {
      code: 'invoice_upcoming_none',
    })
  })

  it('gives unused time back at an immediate end only when asked, and bills it then', async () => {
    const world = await running()
    const { stripe, sub } = world
    await world.to(half)
    await change(world, world.pro)
    const ended = await stripe.subscriptions.cancel(sub.id, { prorate: true, invoice_now: true })
    const invoice = await latest(world, ended)
    assert.deepEqual([ended.status, invoice.total], ['canceled', -1000])
    const other = await subscribed(stripe)
    await stripe.subscriptions.update(other.id, {
      items: [{ id: other.items.data[0]?.id ?? '', quantity: 2 }],
    })
    await stripe.subscriptions.cancel(other.id)
    assert.equal((await stripe.invoiceItems.list({ pending: true })).data.length, 0)
  })

  it('collects pending prorations at the end of a subscription that ends with its period', async () => {
    const world = await running()
    await world.to(half)
    await change(world, world.pro, { cancel_at_period_end: true })
    await world.to('2027-05-02T00:00:00Z')
    const ended = await world.stripe.subscriptions.retrieve(world.sub.id)
    const last = await latest(world, ended)
    assert.deepEqual([ended.status, last.status, amounts(last)], ['canceled', 'paid', [-1000, 2500]])
  })

  it('prorates an end within the period, and takes that back with it', async () => {
    const world = await running()
    const { stripe, sub } = world
    await world.to(third)
    const cancel_at = seconds('2027-04-21T00:00:00Z')
    const waits = async (): Promise<number[]> =>
      (await stripe.invoiceItems.list({ pending: true })).data.map(({ amount }) => amount).reverse()
    const ending = await stripe.subscriptions.update(sub.id, { cancel_at })
    assert.deepEqual([ending.items.data[0]?.current_period_end, await waits()], [cancel_at, [-1333, 667]])
    const kept = await stripe.subscriptions.update(sub.id, { cancel_at: '' })
    assert.equal(kept.items.data[0]?.current_period_end, seconds('2027-05-01T00:00:00Z'))
    assert.deepEqual(await waits(), [-1333, 667, -667, 1333])
    await stripe.subscriptions.update(sub.id, { cancel_at, proration_behavior: 'none' })
    assert.equal((await waits()).length, 4)
    await world.to('2027-04-21T02:00:00Z')
    const ended = await stripe.subscriptions.retrieve(sub.id)
    assert.deepEqual([ended.status, (await latest(world, ended)).total], ['canceled', 0])
  })

  it('bills nothing for a change within a trial', async () => {
    const { stripe } = await bench(start)
    const sub = await subscribed(stripe, 'month', { trial_period_days: 14 })
    const pro = await plan(stripe, 'month', 5000)
    const after = await stripe.subscriptions.update(sub.id, {
      items: [{ id: sub.items.data[0]?.id ?? '', price: pro.id }],
      proration_behavior: 'always_invoice',
      expand: ['latest_invoice'],
    })
    const invoice = after.latest_invoice as Stripe.Invoice
    assert.deepEqual([after.status, invoice.total, amounts(invoice)], ['trialing', 0, [0]])
  })
})
