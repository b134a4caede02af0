// Whatever the changes and their instants: what prorations come to.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type Stripe from 'stripe'
import { bench, closeAll, payer, plan, seconds, type Bench } from './world.ts'

const start = '2027-04-01T00:00:00Z'

async function latest({ stripe }: Bench, sub: Stripe.Subscription): Promise<Stripe.Invoice> {
  return stripe.invoices.retrieve(sub.latest_invoice as string)
}

describe('stripe sandbox: any prorations', () => {
  afterEach(closeAll)

  it('nets to zero when a change is taken back in the same second', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 999_999 }),
        fc.integer({ min: 1, max: 999_999 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 0, max: 30 * 86_400 - 1 }),
        async (from, to, quantity, after) => {
          const world = await bench(start)
          const { stripe } = world
          const [one, two] = [await plan(stripe, 'month', from), await plan(stripe, 'month', to)]
          const customer = (await payer(stripe)).id
          const sub = await stripe.subscriptions.create({ customer, items: [{ price: one.id }] })
          const id = sub.items.data[0]?.id ?? ''
          await world.to(Date.parse(start) + after * 1000)
          const proration_behavior = 'always_invoice' as const
          const there = await stripe.subscriptions.update(sub.id, {
            items: [{ id, price: two.id, quantity }],
            proration_behavior,
          })
          const back = await stripe.subscriptions.update(sub.id, {
            items: [{ id, price: one.id, quantity: 1 }],
            proration_behavior,
          })
          const totals = [(await latest(world, there)).total, (await latest(world, back)).total]
          assert.equal((totals[0] ?? 0) + (totals[1] ?? 0), 0)
          await closeAll()
        },
      ),
      { numRuns: 25 },
    )
  })

  it('comes to time × price within a minor unit a line over any chain of changes', async () => {
    const length = 30 * 86_400
    const step = fc.record({
      after: fc.integer({ min: 0, max: 5 * 86_400 }),
      amount: fc.integer({ min: 1, max: 99_999 }),
      quantity: fc.integer({ min: 1, max: 5 }),
      now: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        const world = await bench(start)
        const { stripe } = world
        const first = await plan(stripe, 'month', 2000)
        const customer = (await payer(stripe)).id
        const sub = await stripe.subscriptions.create({ customer, items: [{ price: first.id }] })
        const id = sub.items.data[0]?.id ?? ''
        let [clock, unit, due] = [0, 2000, 0]
        for (const { after, amount, quantity, now } of steps) {
          const until = Math.min(length - 1, clock + after)
          due += (unit * (until - clock)) / length
          clock = until
          unit = amount * quantity
          await world.to(Date.parse(start) + clock * 1000)
          const price = await plan(stripe, 'month', amount)
          await stripe.subscriptions.update(sub.id, {
            items: [{ id, price: price.id, quantity }],
            proration_behavior: now ? 'always_invoice' : 'create_prorations',
          })
        }
        due += (unit * (length - clock)) / length
        await world.to('2027-05-01T00:30:00Z')
        const lines: Stripe.InvoiceLineItem[] = []
        for await (const invoice of stripe.invoices.list({ subscription: sub.id }))
          for await (const line of stripe.invoices.listLineItems(invoice.id, { limit: 100 }))
            if (line.period.start < seconds('2027-05-01T00:00:00Z')) lines.push(line)
        const billed = lines.reduce((sum, line) => sum + line.amount, 0)
        assert.ok(Math.abs(billed - due) <= lines.length, `${billed} for ${due}`)
        await closeAll()
      }),
      { numRuns: 25 },
    )
  })
})
