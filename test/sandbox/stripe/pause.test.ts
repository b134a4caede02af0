// Pauses: of collecting payments, and of the whole subscription; and how each goes on.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, plan, seconds, subscribed, types, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'
const half = '2027-04-16T00:00:00Z'

async function last({ stripe }: Bench, id: string): Promise<Stripe.Invoice> {
  const [invoice] = (await stripe.invoices.list({ subscription: id })).data
  return invoice as Stripe.Invoice
}

function amounts(invoice: Stripe.Invoice): number[] {
  return invoice.lines.data.map((line) => line.amount)
}

/** A trial that ended without a card on 15 April. */
async function pausedTrial(): Promise<Bench & { sub: Stripe.Subscription; card: () => Promise<void> }> {
  const world = await bench(start)
  const { stripe } = world
  const [customer, price] = [await stripe.customers.create({}), await plan(stripe)]
  const sub = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: price.id }],
    trial_period_days: 14,
    trial_settings: { end_behavior: { missing_payment_method: 'pause' } },
  })
  await world.to('2027-04-20T00:00:00Z')
  const card = async (): Promise<void> => {
    const { id } = await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id })
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: id } })
  }
  return { ...world, sub: await stripe.subscriptions.retrieve(sub.id), card }
}

describe('stripe sandbox: pauses', () => {
  afterEach(closeAll)

  for (const [behavior, status] of [
    ['keep_as_draft', 'draft'],
    ['mark_uncollectible', 'uncollectible'],
    ['void', 'void'],
  ] as const) {
    it(`makes invoices and collects nothing with ${behavior}, until it is taken off`, async () => {
      const world = await bench(start)
      const { stripe, to } = world
      const sub = await subscribed(stripe)
      const paused = await stripe.subscriptions.update(sub.id, { pause_collection: { behavior } })
      assert.deepEqual([paused.status, paused.pause_collection], ['active', { behavior, resumes_at: null }])
      await to('2027-05-01T02:00:00Z')
      const invoice = await last(world, sub.id)
      assert.deepEqual([invoice.status, invoice.auto_advance, invoice.amount_paid], [status, false, 0])
      assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'active')
      assert.ok(!(await types(stripe)).includes('invoice.upcoming'))
      await stripe.subscriptions.update(sub.id, { pause_collection: '' })
      await to('2027-06-01T02:00:00Z')
      assert.deepEqual(
        [(await last(world, sub.id)).status, (await stripe.charges.list()).data.length],
        ['paid', 2],
      )
    })
  }

  it('collects again by itself at the date that was given', async () => {
    const world = await bench(start)
    const { stripe, to } = world
    const sub = await subscribed(stripe)
    const resumes_at = seconds('2027-04-20T00:00:00Z')
    await stripe.subscriptions.update(sub.id, { pause_collection: { behavior: 'void', resumes_at } })
    await to('2027-04-20T00:00:00Z')
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).pause_collection, null)
    await to('2027-05-01T02:00:00Z')
    assert.equal((await last(world, sub.id)).status, 'paid')
  })

  it('withholds the invoice of a change, too, and uses the customer’s balance first', async () => {
    const world = await bench(start)
    const { stripe, to } = world
    const sub = await subscribed(stripe)
    await stripe.subscriptions.update(sub.id, { pause_collection: { behavior: 'mark_uncollectible' } })
    await to(half)
    const change = (quantity: number): Promise<Stripe.Subscription> =>
      stripe.subscriptions.update(sub.id, {
        items: [{ id: sub.items.data[0]?.id ?? '', quantity }],
        proration_behavior: 'always_invoice',
      })
    const after = await change(2)
    assert.equal(after.items.data[0]?.quantity, 2)
    assert.deepEqual([(await last(world, sub.id)).status, after.status], ['uncollectible', 'active'])
    await stripe.customers.update(sub.customer as string, { balance: -5000 })
    await change(3)
    assert.equal((await last(world, sub.id)).status, 'paid')
  })

  it('pauses a trial that ends without a card, and resumes with a period that starts then', async () => {
    const world = await pausedTrial()
    const { stripe, sub, card } = world
    const details = sub.status_details?.paused
    assert.deepEqual(
      [sub.status, details?.subscription.type, details?.transitioned_at],
      ['paused', 'trial_end_without_payment_method', seconds('2027-04-15T00:00:00Z')],
    )
    await card()
    const after = await stripe.subscriptions.resume(sub.id)
    const [item] = after.items.data
    assert.deepEqual(
      [after.status, after.status_details, item?.current_period_start, item?.current_period_end],
      ['active', undefined, seconds('2027-04-20T00:00:00Z'), seconds('2027-05-20T00:00:00Z')],
    )
    const invoice = await last(world, sub.id)
    assert.deepEqual([invoice.status, amounts(invoice)], ['paid', [2000]])
    assert.ok((await types(stripe)).includes('customer.subscription.resumed'))
    await world.to('2027-05-20T02:00:00Z')
    assert.equal((await last(world, sub.id)).billing_reason, 'subscription_cycle')
    await assert.rejects(stripe.subscriptions.resume(sub.id), /Only paused/)
  })

  it('is past due when its resumption was attempted in vain', async () => {
    const { stripe, sub } = await pausedTrial()
    assert.equal((await stripe.subscriptions.resume(sub.id)).status, 'past_due')
  })

  it('stays paused until the invoice of its resumption is paid, if so asked, or for good', async () => {
    const world = await pausedTrial()
    const { stripe, sub, card, to } = world
    const ask = (): Promise<Stripe.Subscription> =>
      stripe.subscriptions.resume(sub.id, { payment_behavior: 'resume_on_payment_success' })
    await card()
    const first = await ask()
    assert.deepEqual([first.status, (await last(world, sub.id)).status], ['paused', 'open'])
    assert.equal(first.pending_update?.billing_cycle_anchor, seconds('2027-04-20T00:00:00Z'))
    await to('2027-04-20T23:00:00Z')
    assert.deepEqual(
      [(await stripe.subscriptions.retrieve(sub.id)).status, (await last(world, sub.id)).status],
      ['paused', 'void'],
    )
    await ask()
    await stripe.invoices.pay((await last(world, sub.id)).id)
    const after = await stripe.subscriptions.retrieve(sub.id)
    assert.deepEqual(
      [after.status, after.items.data[0]?.current_period_end],
      ['active', seconds('2027-05-20T23:00:00Z')],
    )
    assert.equal((await types(stripe)).filter((type) => type === 'customer.subscription.resumed').length, 1)
  })

  it('bills the rest of the period when it resumes with its anchor, or nothing', async () => {
    const world = await pausedTrial()
    const { stripe, sub, card, to } = world
    await card()
    const anchor = { billing_cycle_anchor: { type: 'unchanged' as const } }
    const after = await stripe.subscriptions.resume(sub.id, {
      ...anchor,
      proration_behavior: 'always_invoice',
    })
    assert.equal(after.items.data[0]?.current_period_end, seconds('2027-05-15T00:00:00Z'))
    assert.deepEqual(amounts(await last(world, sub.id)), [Math.round((2000 * 25) / 30)])
    await to('2027-05-15T02:00:00Z')
    assert.deepEqual(amounts(await last(world, sub.id)), [2000])
    const other = await pausedTrial()
    await other.card()
    const free = await other.stripe.subscriptions.resume(other.sub.id, {
      ...anchor,
      proration_behavior: 'none',
    })
    assert.equal(free.status, 'active')
    assert.equal((await last(other, other.sub.id)).billing_reason, 'subscription_create')
  })

  it('pauses on request: the period ends, unused time is given back, nothing is billed until it resumes', async () => {
    const world = await bench(start)
    const { stripe, to } = world
    const sub = await subscribed(stripe)
    await to(half)
    const paused = await stripe.subscriptions.pause(sub.id, { invoicing_behavior: 'invoice' })
    assert.deepEqual(
      [
        paused.status,
        paused.status_details?.paused.subscription.type,
        paused.items.data[0]?.current_period_end,
      ],
      ['paused', 'pause_requested', seconds(half)],
    )
    assert.deepEqual(amounts(await last(world, sub.id)), [-1000])
    await to('2027-07-10T00:00:00Z')
    assert.equal((await stripe.invoices.list({ subscription: sub.id })).data.length, 2)
    const preview = await stripe.invoices.createPreview({
      subscription: sub.id,
      subscription_details: { resume_at: 'now' },
    })
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'paused')
    await stripe.subscriptions.resume(sub.id)
    const invoice = await last(world, sub.id)
    assert.deepEqual([preview.total, amounts(preview)], [invoice.total, amounts(invoice)])
    assert.deepEqual([invoice.total, invoice.amount_paid], [2000, 1000])
    await stripe.subscriptions.pause(sub.id, { bill_for: { unused_time_from: { type: 'none' } } })
    await stripe.subscriptions.resume(sub.id)
    assert.deepEqual(amounts(await last(world, sub.id)), [2000])
    const trial = await subscribed(stripe, 'month', { trial_period_days: 9 })
    await assert.rejects(stripe.subscriptions.pause(trial.id), /status of trialing/)
    await stripe.subscriptionSchedules.create({ from_subscription: sub.id })
    await assert.rejects(stripe.subscriptions.pause(sub.id), /has a schedule/)
  })

  it('is cancelled while it is paused like any other', async () => {
    const { stripe, sub } = await pausedTrial()
    assert.equal((await stripe.subscriptions.cancel(sub.id)).status, 'canceled')
  })
})
