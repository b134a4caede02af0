// The customer portal: what a customer may do there, and what it does to the subscription.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'
const half = '2027-04-16T00:00:00Z'
const may = seconds('2027-05-01T00:00:00Z')

type Features = Stripe.BillingPortal.ConfigurationCreateParams.Features

interface Visit extends Bench {
  sub: Stripe.Subscription
  basic: Stripe.Price
  pro: Stripe.Price
  session: Stripe.BillingPortal.Session
  does: (verb: string, body?: unknown) => ReturnType<Bench['control']>
  page: () => Promise<string>
  read: () => Promise<Stripe.Subscription>
}

async function visit(
  features?: (prices: { basic: Stripe.Price; pro: Stripe.Price }) => Features,
  more: Partial<Stripe.BillingPortal.SessionCreateParams> = {},
): Promise<Visit> {
  const world = await bench(start)
  const { stripe, control } = world
  const [customer, basic, pro] = [await payer(stripe), await plan(stripe), await plan(stripe, 'month', 5000)]
  const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: basic.id }] })
  await world.to(half)
  const configuration = features
    ? (await stripe.billingPortal.configurations.create({ features: features({ basic, pro }) })).id
    : undefined
  const session = await stripe.billingPortal.sessions.create({
    customer: customer.id,
    return_url: 'https://example.com/account',
    ...(configuration === undefined ? {} : { configuration }),
    ...more,
  })
  return {
    ...world,
    sub,
    basic,
    pro,
    session,
    does: (verb, body) => control('POST', `portal/${session.id}/${verb}`, body),
    page: async () => (await fetch(session.url)).text(),
    read: () => stripe.subscriptions.retrieve(sub.id),
  }
}

describe('stripe sandbox: the customer portal', () => {
  afterEach(closeAll)

  it('shows the plan and cancels it by a date, as the portal does in flexible mode, and takes that back', async () => {
    const { page, does, read, to } = await visit()
    assert.match(await page(), /1 × Pro month[\s\S]*\$20\.00 \/ month[\s\S]*Cancel the plan/)
    const { status } = await does('cancel', { feedback: 'too_expensive', comment: 'sorry' })
    assert.equal(status, 200)
    const leaving = await read()
    assert.deepEqual(
      [leaving.cancel_at, leaving.cancel_at_period_end, leaving.cancellation_details?.feedback],
      [may, false, 'too_expensive'],
    )
    assert.match(await page(), /Ends[\s\S]*2027-05-01[\s\S]*Keep the plan/)
    await does('resume')
    assert.equal((await read()).cancel_at, null)
    assert.equal((await does('resume')).status, 400)
    await does('cancel')
    await to('2027-05-01T02:00:00Z')
    assert.equal((await read()).status, 'canceled')
    assert.match(await page(), /No plan is running/)
  })

  it('changes plan and quantity with the prorations its configuration says', async () => {
    const { does, read, stripe, pro, page } = await visit(({ basic, pro: dear }) => ({
      subscription_update: {
        enabled: true,
        default_allowed_updates: ['price', 'quantity'],
        proration_behavior: 'always_invoice',
        products: [basic, dear].map(({ id, product }) => ({ product: product as string, prices: [id] })),
      },
    }))
    assert.match(await page(), /Change the plan/)
    assert.doesNotMatch(await page(), /Cancel the plan/)
    assert.equal((await does('change', { price: pro.id, quantity: '2' })).status, 200)
    const after = await read()
    assert.deepEqual([after.items.data[0]?.price.id, after.items.data[0]?.quantity], [pro.id, 2])
    const invoice = await stripe.invoices.retrieve(after.latest_invoice as string)
    assert.deepEqual([invoice.amount_paid, invoice.billing_reason], [4000, 'subscription_update'])
    const other = await plan(stripe, 'month', 1)
    assert.match(JSON.stringify((await does('change', { price: other.id })).body), /not offered/)
    assert.equal((await does('change', { quantity: 0 })).status, 400)
    assert.equal((await does('cancel')).status, 400)
    assert.equal((await does('card')).status, 400)
  })

  it('changes nothing when the card is declined, and takes another card', async () => {
    const { does, read, stripe, sub, basic, pro } = await visit(({ basic: cheap, pro: dear }) => ({
      payment_method_update: { enabled: true },
      subscription_update: {
        enabled: true,
        default_allowed_updates: ['price'],
        proration_behavior: 'always_invoice',
        products: [cheap, dear].map(({ id, product }) => ({ product: product as string, prices: [id] })),
      },
    }))
    await does('card', { payment_method: 'pm_card_chargeCustomerFail' })
    assert.equal((await does('change', { price: pro.id })).status, 402)
    assert.equal((await read()).items.data[0]?.price.id, basic.id)
    await does('card', { payment_method: 'pm_card_mastercard' })
    assert.equal((await does('change', { price: pro.id })).status, 200)
    const customer = (await stripe.customers.retrieve(sub.customer as string)) as Stripe.Customer
    const saved = customer.invoice_settings.default_payment_method as string
    assert.equal((await stripe.paymentMethods.retrieve(saved)).card?.brand, 'mastercard')
    await does('card', { payment_method: 'pm_card_amex', subscription: sub.id })
    const own = (await read()).default_payment_method as string
    assert.equal((await stripe.paymentMethods.retrieve(own)).card?.brand, 'amex')
  })

  it('lets a downgrade wait for the period’s end by a schedule of its own', async () => {
    const { does, read, stripe, pro, basic, to } = await visit(({ basic: cheap, pro: dear }) => ({
      subscription_cancel: { enabled: true },
      subscription_update: {
        enabled: true,
        default_allowed_updates: ['price'],
        products: [cheap, dear].map(({ id, product }) => ({ product: product as string, prices: [id] })),
        schedule_at_period_end: { conditions: [{ type: 'decreasing_item_amount' }] },
      },
    }))
    await does('change', { price: pro.id })
    assert.equal((await read()).items.data[0]?.price.id, pro.id)
    await does('change', { price: basic.id })
    const waiting = await read()
    assert.deepEqual([waiting.items.data[0]?.price.id, typeof waiting.schedule], [pro.id, 'string'])
    assert.match(JSON.stringify((await does('cancel')).body), /managed by the subscription schedule/)
    assert.equal((await does('change', { price: pro.id })).status, 400)
    await to('2027-05-01T02:00:00Z')
    assert.equal((await read()).items.data[0]?.price.id, basic.id)
    assert.ok((await stripe.subscriptionSchedules.list()).data.length === 1)
  })

  it('ends at once where so configured, and pays unused time back', async () => {
    const { does, read, stripe } = await visit(() => ({
      subscription_cancel: { enabled: true, mode: 'immediately', proration_behavior: 'always_invoice' },
    }))
    await does('cancel')
    const ended = await read()
    const last = await stripe.invoices.retrieve(ended.latest_invoice as string)
    assert.deepEqual([ended.status, last.total], ['canceled', -1000])
  })

  it('is opened for one thing, and goes back where it was told', async () => {
    const world = await visit()
    const { stripe, sub, control, read } = world
    const flow_data = {
      type: 'subscription_cancel' as const,
      subscription_cancel: { subscription: sub.id },
      after_completion: { type: 'redirect' as const, redirect: { return_url: 'https://example.com/bye' } },
    }
    const customer = sub.customer as string
    const session = await stripe.billingPortal.sessions.create({ customer, flow_data })
    assert.equal(session.flow?.subscription_cancel?.subscription, sub.id)
    const { body } = await control('POST', `portal/${session.id}/cancel`)
    assert.deepEqual([body['redirect_url'], (await read()).cancel_at], ['https://example.com/bye', may])
    const confirm = await stripe.billingPortal.sessions.create({
      customer,
      flow_data: {
        type: 'subscription_update_confirm',
        subscription_update_confirm: {
          subscription: sub.id,
          items: [{ id: sub.items.data[0]?.id ?? '', price: world.pro.id }],
        },
      },
    })
    await control('POST', `portal/${confirm.id}/change`)
    assert.equal((await read()).items.data[0]?.price.id, world.pro.id)
    const other = (await payer(stripe)).id
    await assert.rejects(
      stripe.billingPortal.sessions.create({ customer: other, flow_data }),
      /another customer/,
    )
  })
})
