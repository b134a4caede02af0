// Subscription schedules: phases that begin by themselves, and what else may happen to their subscription.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds, types, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'
const half = '2027-04-16T00:00:00Z'
const may = '2027-05-01T00:00:00Z'

interface Scheduled extends Bench {
  sub: Stripe.Subscription
  basic: Stripe.Price
  pro: Stripe.Price
  schedule: Stripe.SubscriptionSchedule
  /** The phase that runs, to be given again with those to come. */
  running: (more?: Partial<Phase>) => Phase
  plans: (...phases: Phase[]) => Promise<Stripe.SubscriptionSchedule>
  read: () => Promise<Stripe.Subscription>
  told: () => Promise<string[]>
}

type Phase = Stripe.SubscriptionScheduleUpdateParams.Phase

async function scheduled(): Promise<Scheduled> {
  const world = await bench(start)
  const { stripe } = world
  const [customer, basic, pro] = [await payer(stripe), await plan(stripe), await plan(stripe, 'month', 5000)]
  const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: pro.id }] })
  await world.to(half)
  const schedule = await stripe.subscriptionSchedules.create({ from_subscription: sub.id })
  const running = (more: Partial<Phase> = {}): Phase => ({
    start_date: seconds(start),
    end_date: seconds(may),
    items: [{ price: pro.id, quantity: 1 }],
    ...more,
  })
  return {
    ...world,
    sub,
    basic,
    pro,
    schedule,
    running,
    plans: (...phases) =>
      stripe.subscriptionSchedules.update(schedule.id, { phases: [running(), ...phases] }),
    read: () => stripe.subscriptions.retrieve(sub.id),
    told: async () =>
      (await types(stripe))
        .filter((type) => type.startsWith('subscription_schedule.'))
        .map((t) => t.slice(22)),
  }
}

async function latest({ stripe, read }: Scheduled): Promise<[string | null, number[]]> {
  const invoice = await stripe.invoices.retrieve((await read()).latest_invoice as string)
  return [invoice.billing_reason, invoice.lines.data.map((line) => line.amount)]
}

describe('stripe sandbox: subscription schedules', () => {
  afterEach(closeAll)

  it('is made from a subscription as it is, once', async () => {
    const { schedule, sub, read, stripe, pro } = await scheduled()
    assert.deepEqual(
      [schedule.status, schedule.end_behavior, schedule.current_phase],
      ['active', 'release', { start_date: seconds(start), end_date: seconds(may) }],
    )
    assert.deepEqual(schedule.phases[0]?.items[0]?.price, pro.id)
    const after = await stripe.subscriptions.retrieve(sub.id, { expand: ['schedule'] })
    assert.equal((after.schedule as Stripe.SubscriptionSchedule).id, schedule.id)
    await assert.rejects(
      stripe.subscriptionSchedules.create({ from_subscription: sub.id }),
      /already attached/,
    )
    assert.equal((await read()).status, 'active')
  })

  it('changes the plan at the period’s end on the renewal’s own invoice, then lets the subscription go', async () => {
    const world = await scheduled()
    const { plans, basic, to, read, stripe, schedule, told, control, sub } = world
    const set = await plans({
      items: [{ price: basic.id, quantity: 2 }],
      duration: { interval: 'month' },
      proration_behavior: 'none',
      metadata: { change: 'chg_1' },
    })
    assert.deepEqual(
      set.phases.map((phase) => [phase.start_date, phase.end_date]),
      [
        [seconds(start), seconds(may)],
        [seconds(may), seconds('2027-06-01T00:00:00Z')],
      ],
    )
    assert.equal((await read()).items.data[0]?.price.id, world.pro.id)
    const preview = await stripe.invoices.createPreview({ subscription: sub.id })
    assert.equal(preview.total, 4000)
    await to('2027-05-01T02:00:00Z')
    const after = await read()
    assert.deepEqual(
      after.items.data.map(({ price, quantity }) => [price.id, quantity]),
      [[basic.id, 2]],
    )
    assert.deepEqual(
      [await latest(world), after.metadata],
      [['subscription_cycle', [4000]], { change: 'chg_1' }],
    )
    assert.equal(after.schedule, schedule.id)
    await to('2027-06-01T02:00:00Z')
    const released = await stripe.subscriptionSchedules.retrieve(schedule.id)
    assert.deepEqual(
      [released.status, released.released_subscription, released.subscription],
      ['released', sub.id, null],
    )
    assert.deepEqual([(await read()).schedule, (await read()).status], [null, 'active'])
    assert.deepEqual(await told(), ['expiring', 'released'])
    assert.equal((await control('GET', `oracle/${sub.customer as string}`)).body['totals'].usd.paid, 13_000)
  })

  it('changes the plan within a period with the prorations its phase asks for', async () => {
    const world = await scheduled()
    const { stripe, schedule, running, basic, pro, to } = world
    const middle = seconds('2027-04-21T00:00:00Z')
    await stripe.subscriptionSchedules.update(schedule.id, {
      phases: [
        running({ end_date: middle }),
        { items: [{ price: basic.id }], end_date: seconds(may), proration_behavior: 'always_invoice' },
      ],
    })
    await to('2027-04-21T00:00:00Z')
    assert.deepEqual(await latest(world), ['subscription_update', [-1667, 667]])
    await to('2027-05-01T02:00:00Z')
    assert.deepEqual(await latest(world), ['subscription_cycle', [2000]])
    assert.notEqual(basic.id, pro.id)
  })

  it('begins a year at its phase’s start', async () => {
    const world = await scheduled()
    const { stripe, plans, to, read } = world
    const year = await plan(stripe, 'year', 20_000)
    const items = [{ price: year.id }]
    await assert.rejects(plans({ items }), { code: 'sandbox_not_simulated' })
    await plans({ items, billing_cycle_anchor: 'phase_start', duration: { interval: 'year' } })
    await to('2027-05-01T02:00:00Z')
    assert.deepEqual(await latest(world), ['subscription_cycle', [20_000]])
    const after = await read()
    assert.deepEqual(
      [after.billing_cycle_anchor, after.items.data[0]?.current_period_end],
      [seconds(may), seconds('2028-05-01T00:00:00Z')],
    )
  })

  it('ends the subscription with its last phase when told so, which shows when that phase begins', async () => {
    const { stripe, schedule, running, basic, to, read, told } = await scheduled()
    await stripe.subscriptionSchedules.update(schedule.id, {
      phases: [running(), { items: [{ price: basic.id }], duration: { interval: 'month' } }],
      end_behavior: 'cancel',
    })
    assert.equal((await read()).cancel_at, null)
    await to('2027-05-01T02:00:00Z')
    assert.equal((await read()).cancel_at, seconds('2027-06-01T00:00:00Z'))
    await to('2027-06-01T00:00:00Z')
    const [sub, done] = [await read(), await stripe.subscriptionSchedules.retrieve(schedule.id)]
    assert.deepEqual(
      [sub.status, sub.ended_at, done.status, done.completed_at],
      ['canceled', seconds('2027-06-01T00:00:00Z'), 'completed', seconds('2027-06-01T00:00:00Z')],
    )
    assert.equal((await told()).at(-1), 'completed')
  })

  it('is released: nothing of what it had planned happens', async () => {
    const { stripe, schedule, plans, basic, pro, to, read } = await scheduled()
    await plans({ items: [{ price: basic.id }] })
    const released = await stripe.subscriptionSchedules.release(schedule.id)
    assert.deepEqual([released.status, released.current_phase], ['released', null])
    await to('2027-05-01T02:00:00Z')
    assert.equal((await read()).items.data[0]?.price.id, pro.id)
    await assert.rejects(stripe.subscriptionSchedules.release(schedule.id), /released/)
  })

  it('is cancelled with its subscription, by itself or by the other, and aborted by delinquency', async () => {
    const one = await scheduled()
    const cancelled = await one.stripe.subscriptionSchedules.cancel(one.schedule.id)
    assert.deepEqual([cancelled.status, (await one.read()).status], ['canceled', 'canceled'])
    assert.deepEqual(await latest(one), ['subscription_cycle', [-2500]])
    const two = await scheduled()
    await two.stripe.subscriptions.cancel(two.sub.id)
    assert.equal((await two.stripe.subscriptionSchedules.retrieve(two.schedule.id)).status, 'canceled')
    assert.deepEqual(await two.told(), ['created', 'canceled'])
    const three = await scheduled()
    await three.plans({ items: [{ price: three.basic.id }], duration: { interval: 'year' } })
    const customer = three.sub.customer as string
    const bad = await three.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })
    await three.stripe.customers.update(customer, { invoice_settings: { default_payment_method: bad.id } })
    await three.to('2027-05-20T00:00:00Z')
    assert.equal((await three.read()).cancellation_details?.reason, 'payment_failed')
    assert.equal((await three.told()).at(-1), 'aborted')
  })

  it('changes its subscription at once when the phase that runs is changed', async () => {
    const world = await scheduled()
    const { stripe, schedule, running, pro, read } = world
    await stripe.subscriptionSchedules.update(schedule.id, {
      phases: [running({ items: [{ price: pro.id, quantity: 2 }] })],
      proration_behavior: 'always_invoice',
    })
    assert.equal((await read()).items.data[0]?.quantity, 2)
    assert.deepEqual(await latest(world), ['subscription_update', [-2500, 5000]])
  })

  it('is split by a direct change, which the next phase overwrites', async () => {
    const { stripe, schedule, plans, sub, basic, read, to } = await scheduled()
    await plans({ items: [{ price: basic.id }] })
    await to('2027-04-20T00:00:00Z')
    const id = sub.items.data[0]?.id ?? ''
    await stripe.subscriptions.update(sub.id, { items: [{ id, quantity: 5 }], proration_behavior: 'none' })
    const split = await stripe.subscriptionSchedules.retrieve(schedule.id)
    const cut = seconds('2027-04-20T00:00:00Z')
    assert.deepEqual(
      split.phases.map((phase) => [phase.start_date, phase.end_date, phase.items[0]?.quantity]),
      [
        [seconds(start), cut, 1],
        [cut, seconds(may), 5],
        [seconds(may), seconds('2027-06-01T00:00:00Z'), 1],
      ],
    )
    assert.deepEqual(split.current_phase, { start_date: cut, end_date: seconds(may) })
    await to('2027-05-01T00:00:00Z')
    assert.deepEqual(
      (await read()).items.data.map(({ price, quantity }) => [price.id, quantity]),
      [[basic.id, 1]],
    )
  })

  it('alone decides when its subscription ends', async () => {
    const { stripe, sub } = await scheduled()
    for (const change of [{ cancel_at_period_end: true }, { cancel_at: 'max_period_end' as const }])
      await assert.rejects(
        stripe.subscriptions.update(sub.id, change),
        /updating any cancelation behavior directly is not allowed/,
      )
  })

  it('gives a waiting change up when a phase begins', async () => {
    const { stripe, schedule, sub, running, basic, to, read } = await scheduled()
    const soon = '2027-04-16T06:00:00Z'
    await stripe.subscriptionSchedules.update(schedule.id, {
      phases: [running({ end_date: seconds(soon) }), { items: [{ price: basic.id }] }],
    })
    const customer = sub.customer as string
    const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })
    await stripe.customers.update(customer, { invoice_settings: { default_payment_method: bad.id } })
    const held = await stripe.subscriptions.update(sub.id, {
      items: [{ id: sub.items.data[0]?.id ?? '', quantity: 3 }],
      proration_behavior: 'always_invoice',
      payment_behavior: 'pending_if_incomplete',
    })
    assert.ok(held.pending_update)
    await to(soon)
    const after = await read()
    assert.deepEqual([after.pending_update, after.items.data[0]?.price.id], [null, basic.id])
    assert.equal((await stripe.invoices.retrieve(held.latest_invoice as string)).status, 'void')
  })

  it('refuses phases that do not follow one another', async () => {
    const { plans, running, stripe, schedule, basic } = await scheduled()
    const items = [{ price: basic.id }]
    const update = (...phases: Phase[]): Promise<unknown> =>
      stripe.subscriptionSchedules.update(schedule.id, { phases })
    await assert.rejects(update({ items }), /missing at least one phase with a `start_date`/)
    await assert.rejects(update(running({ start_date: seconds(half) })), /start date of the current phase/)
    await assert.rejects(plans({ items, start_date: seconds(may) + 1 }), { param: 'phases[1][start_date]' })
    await assert.rejects(plans({ items, end_date: seconds(may) }), { param: 'phases[1][end_date]' })
    await assert.rejects(update(running({ end_date: seconds(half) - 1 })), /end in the future/)
    await assert.rejects(plans({ items, trial: true }), { code: 'sandbox_not_simulated' })
  })
})
