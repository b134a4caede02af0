// Payments that fail: when they are tried again, what the subscription becomes, and how it recovers.
import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import type { StripeSandboxOptions } from '../../../src/sandbox/stripe/index.ts'
import { bench, closeAll, payer, plan, seconds, types, type Bench } from './world.ts'

const start = '2027-01-01T00:00:00Z'
/** A month later, when the draft's hour is over. */
const due = '2027-02-01T01:00:00Z'

interface Failing extends Bench {
  sub: Stripe.Subscription
  use: (card: string) => Promise<void>
  read: () => Promise<Stripe.Subscription>
  latest: () => Promise<Stripe.Invoice>
}

/** A subscription whose card was good for the first month only. */
async function failing(
  card = 'pm_card_chargeCustomerFail',
  options: Partial<StripeSandboxOptions> = {},
): Promise<Failing> {
  const world = await bench(start, options)
  const { stripe } = world
  const [customer, price] = [await payer(stripe), await plan(stripe)]
  const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
  const use = async (name: string): Promise<void> => {
    const { id } = await stripe.paymentMethods.attach(name, { customer: customer.id })
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: id } })
  }
  await use(card)
  const read = (): Promise<Stripe.Subscription> => stripe.subscriptions.retrieve(sub.id)
  return {
    ...world,
    sub,
    use,
    read,
    latest: async () => stripe.invoices.retrieve((await read()).latest_invoice as string),
  }
}

describe('stripe sandbox: failed payments', () => {
  afterEach(closeAll)

  it('tries again after the gaps that are set, saying when next, and then ends as set', async () => {
    const { control, to, latest, read, stripe } = await failing()
    assert.deepEqual((await control('GET', 'dunning')).body, { retries: [3, 5, 7], after: 'cancel' })
    assert.equal((await control('POST', 'dunning', { retries: [1, 2], after: 'unpaid' })).status, 200)
    const seen: unknown[] = []
    for (const when of [due, '2027-02-02T01:00:00Z', '2027-02-04T01:00:00Z']) {
      await to(when)
      const { attempt_count, next_payment_attempt, status } = await latest()
      seen.push([attempt_count, next_payment_attempt, status, (await read()).status])
    }
    assert.deepEqual(seen, [
      [1, seconds('2027-02-02T01:00:00Z'), 'open', 'past_due'],
      [2, seconds('2027-02-04T01:00:00Z'), 'open', 'past_due'],
      [3, null, 'open', 'unpaid'],
    ])
    const failures = await stripe.events.list({ type: 'invoice.payment_failed' })
    const told = failures.data.map(({ data }) => data.object as Stripe.Invoice).reverse()
    assert.deepEqual(
      told.map((invoice) => [invoice.attempt_count, invoice.next_payment_attempt]),
      seen.map((each) => (each as unknown[]).slice(0, 2)),
    )
    assert.equal((await control('POST', 'dunning', { retries: [99] })).status, 400)
    assert.equal((await control('POST', 'dunning', { after: 'never' })).status, 400)
  })

  it('stays past due when that is what follows the last attempt', async () => {
    const { to, latest, read } = await failing(undefined, { afterRetries: 'past_due' })
    await to('2027-02-20T00:00:00Z')
    const invoice = await latest()
    assert.deepEqual(
      [(await read()).status, invoice.status, invoice.attempt_count, invoice.next_payment_attempt],
      ['past_due', 'open', 4, null],
    )
  })

  it('is active again when somebody pays the late invoice on its page, with the card used from then on', async () => {
    const { to, latest, read, control, stripe } = await failing()
    await to(due)
    const invoice = await latest()
    const page = await (await fetch(invoice.hosted_invoice_url ?? '')).text()
    assert.match(page, /Invoice to be paid[\s\S]*\$20\.00/)
    const refused = await control('POST', `invoices/${invoice.id}/pay`, {
      payment_method: 'pm_card_chargeCustomerFail',
    })
    assert.equal(refused.status, 402)
    assert.equal((await latest()).attempt_count, 1, 'only the schedule counts after the first')
    const paid = await control('POST', `invoices/${invoice.id}/pay`, { payment_method: 'pm_card_mastercard' })
    const { status, attempt_count: attempts } = paid.body['invoice']
    assert.deepEqual([paid.status, status, attempts], [200, 'paid', 1])
    assert.equal((await read()).status, 'active')
    assert.match(await (await fetch(invoice.hosted_invoice_url ?? '')).text(), /This invoice is paid/)
    assert.equal((await control('POST', `invoices/${invoice.id}/pay`)).status, 400)
    await to('2027-03-01T02:00:00Z')
    assert.deepEqual([(await latest()).status, (await read()).status], ['paid', 'active'])
    assert.equal((await stripe.charges.list()).data[0]?.payment_method_details?.card?.brand, 'mastercard')
  })

  it('waits for the customer when the bank asks, and recovers when it is told yes', async () => {
    const { to, latest, read, control, stripe } = await failing('pm_card_authenticationRequired')
    await to(due)
    const invoice = await latest()
    const told = await types(stripe, seconds(due))
    assert.ok(
      told.includes('invoice.payment_action_required') && told.includes('payment_intent.requires_action'),
    )
    assert.deepEqual([(await read()).status, invoice.status], ['past_due', 'open'])
    assert.match(await (await fetch(invoice.hosted_invoice_url ?? '')).text(), /Your bank asks/)
    const no = await control('POST', `invoices/${invoice.id}/authenticate`, { passes: false })
    assert.equal(no.body['payment_intent_status'], 'requires_payment_method')
    assert.equal((await control('POST', `invoices/${invoice.id}/authenticate`)).status, 400)
    await to('2027-02-04T01:00:00Z')
    const yes = await control('POST', `invoices/${invoice.id}/authenticate`)
    assert.deepEqual([yes.status, yes.body['invoice'].status, (await read()).status], [200, 'paid', 'active'])
  })

  it('asks the bank on the page, too', async () => {
    const { to, latest, control } = await failing()
    await to(due)
    const { id } = await latest()
    const asked = await control('POST', `invoices/${id}/pay`, {
      payment_method: 'pm_card_authenticationRequired',
    })
    assert.deepEqual([asked.status, asked.body['payment_intent_status']], [200, 'requires_action'])
    assert.equal((await control('POST', `invoices/${id}/authenticate`)).body['invoice'].status, 'paid')
  })

  it('recovers an unpaid subscription by its most recent invoice, whose draft must be let go', async () => {
    const { to, latest, read, use, stripe } = await failing(undefined, { afterRetries: 'unpaid' })
    await to('2027-03-01T02:00:00Z')
    assert.equal((await read()).status, 'unpaid')
    const [draft, late] = (await stripe.invoices.list()).data
    assert.deepEqual([draft?.status, draft?.auto_advance, late?.status], ['draft', false, 'open'])
    await use('pm_card_visa')
    await stripe.invoices.pay(late?.id ?? '')
    assert.equal((await read()).status, 'unpaid')
    await stripe.invoices.update(draft?.id ?? '', { auto_advance: true })
    await to('2027-03-01T03:00:00Z')
    assert.deepEqual([(await latest()).status, (await read()).status], ['paid', 'active'])
  })

  for (const [how, status] of [
    ['markUncollectible', 'uncollectible'],
    ['voidInvoice', 'void'],
  ] as const) {
    it(`is active again when the late invoice is ${status}`, async () => {
      const { to, latest, read, stripe } = await failing()
      await to(due)
      const { id } = await latest()
      await stripe.invoices[how](id)
      assert.deepEqual([(await read()).status, (await latest()).status], ['active', status])
      await to('2027-02-20T00:00:00Z')
      assert.equal((await stripe.invoices.retrieve(id)).attempt_count, 1)
    })
  }

  it('lets an uncollectible invoice be paid after all, and a voided one not', async () => {
    const { to, latest, use, stripe } = await failing()
    await to(due)
    const { id } = await latest()
    await stripe.invoices.markUncollectible(id)
    await use('pm_card_visa')
    assert.equal((await stripe.invoices.pay(id)).status, 'paid')
    await use('pm_card_chargeCustomerFail')
    await to('2027-03-01T01:00:00Z')
    const next = await latest()
    await stripe.invoices.voidInvoice(next.id)
    await assert.rejects(stripe.invoices.pay(next.id), /void cannot be paid/)
    await assert.rejects(stripe.invoices.voidInvoice(next.id), /isn't open/)
  })

  it('expires a subscription whose first invoice is voided', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe, 'pm_card_chargeCustomerFail'), await plan(stripe)]
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    await stripe.invoices.voidInvoice(sub.latest_invoice as string)
    assert.equal((await stripe.subscriptions.retrieve(sub.id)).status, 'incomplete_expired')
  })
})
