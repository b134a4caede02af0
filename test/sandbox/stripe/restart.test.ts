// What survives: the journal through restarts and torn writes, the guards, the clock, the page.
import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startStripeSandbox } from '../../../src/sandbox/stripe/index.ts'
import {
  bench,
  client,
  closeAll,
  pack,
  payer,
  plan,
  receiver,
  sessionFor,
  subscribed,
  VERSION,
} from './world.ts'

describe('stripe sandbox: restart and guards', () => {
  let folder = ''
  let file = ''

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'stripe-sandbox-'))
    file = join(folder, 'journal.jsonl')
  })
  afterEach(async () => {
    await closeAll()
    rmSync(folder, { recursive: true })
  })

  it('goes on where it stopped: objects, keys, deadlines, undelivered webhooks', async () => {
    const hook = await receiver()
    hook.answer = () => 500
    const first = await bench('2027-01-01T00:00:00Z', { file })
    await first.stripe.webhookEndpoints.create({
      url: hook.url,
      enabled_events: ['invoice.paid'],
      api_version: VERSION,
    })
    const sub = await subscribed(first.stripe)
    const made = await first.stripe.customers.create({ name: 'kept' }, { idempotencyKey: 'kept' })
    await first.sandbox.deliverDue()
    await first.close()

    hook.answer = () => 200
    const second = await bench('2027-01-01T00:01:00Z', { file })
    const again = await second.stripe.customers.create({ name: 'kept' }, { idempotencyKey: 'kept' })
    assert.equal(again.id, made.id)
    const ids = new Set((await second.stripe.customers.list()).data.map((customer) => customer.id))
    for (let i = 0; i < 20; i += 1) {
      const { id } = await second.stripe.customers.create({})
      assert.ok(!ids.has(id))
      ids.add(id)
    }
    await second.to('2027-02-01T02:00:00Z')
    assert.equal((await second.stripe.invoices.list({ subscription: sub.id, status: 'paid' })).data.length, 2)
    assert.equal(new Set(hook.got.map(({ event }) => event.id)).size, 2)
  })

  it('remembers over a restart what a bank has still to say, and what a customer is going to do', async () => {
    const first = await bench('2027-01-01T00:00:00Z', { file })
    const price = await pack(first.stripe, 1500)
    const debit = await sessionFor(first.stripe, price, 1)
    const late = await sessionFor(first.stripe, price, 1)
    await first.control('POST', `checkout/${debit.id}/pay`, { method: 'bank_debit' })
    await first.control('POST', `checkout/${late.id}/pay`, { submit: 'at_expiry' })
    await first.close()
    const second = await bench('2027-01-01T00:01:00Z', { file })
    await second.to('2027-01-07T00:00:00Z')
    for (const { id } of [debit, late])
      assert.equal((await second.stripe.checkout.sessions.retrieve(id)).payment_status, 'paid')
  })

  it('survives a kill: nothing that was answered is lost, a torn last line never happened', async () => {
    const first = await bench('2027-01-01T00:00:00Z', { file })
    const kept = await first.stripe.customers.create({ name: 'kept' })
    const size = readFileSync(file).length
    const torn = await first.stripe.customers.create({ name: 'torn' })
    const copy = `${file}.copy`
    writeFileSync(copy, readFileSync(file))
    truncateSync(copy, size + 40)
    const second = await bench('2027-01-01T00:00:00Z', { file: copy })
    assert.equal((await second.stripe.customers.retrieve(kept.id)).id, kept.id)
    await assert.rejects(second.stripe.customers.retrieve(torn.id), { code: 'resource_missing' })
    assert.equal((await second.stripe.events.list()).data.length, 1)
    await second.stripe.customers.create({ name: 'after' })
    await second.close()
    appendFileSync(copy, '[["customer","cus_half')
    const third = await bench('2027-01-01T00:00:00Z', { file: copy })
    assert.equal((await third.stripe.customers.list()).data.length, 2)
  })

  it('does not start in production or near a live key', async () => {
    const live = ['sk', 'live', 'x'].join('_')
    await assert.rejects(startStripeSandbox({ port: 0, secretKey: live }), /live/)
    const before = process.env['NODE_ENV']
    process.env['NODE_ENV'] = 'production'
    try {
      await assert.rejects(startStripeSandbox({ port: 0 }), /production/)
    } finally {
      if (before === undefined) delete process.env['NODE_ENV']
      else process.env['NODE_ENV'] = before
    }
  })

  it('says clearly when its port is taken', async () => {
    const { sandbox } = await bench('2027-01-01T00:00:00Z')
    await assert.rejects(startStripeSandbox({ port: sandbox.port }), { code: 'EADDRINUSE' })
  })

  it('moves its own clock deadline by deadline, never back, and keeps it over a restart', async () => {
    const hook = await receiver()
    const alone = await startStripeSandbox({ port: 0, file })
    const stripe = client(alone.url)
    await stripe.webhookEndpoints.create({
      url: hook.url,
      enabled_events: ['invoice.paid'],
      api_version: VERSION,
    })
    const [customer, price] = [await payer(stripe), await plan(stripe)]
    const sub = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }] })
    const clock = (method: string, path: string, body?: unknown): Promise<Response> =>
      fetch(`${alone.url}/_sandbox/${path}`, { method, ...(body ? { body: JSON.stringify(body) } : {}) })
    const moved = await clock('POST', 'clock/advance', { seconds: 40 * 86_400 })
    const { unix_ms } = (await moved.json()) as { unix_ms: number }
    assert.ok(unix_ms >= Date.now() + 40 * 86_400_000 - 5000)
    assert.equal((await stripe.invoices.list({ subscription: sub.id })).data.length, 2)
    assert.equal(hook.got.length, 2)
    assert.equal((await clock('POST', 'clock/advance', { to: '2020-01-01T00:00:00Z' })).status, 400)
    assert.equal((await clock('POST', 'clock/advance', {})).status, 400)
    assert.equal((await clock('POST', 'nothing', {})).status, 404)
    await alone.close()
    const again = await startStripeSandbox({ port: 0, file })
    const answer = await fetch(`${again.url}/_sandbox/clock`)
    assert.ok(((await answer.json()) as { unix_ms: number }).unix_ms >= unix_ms)
    await again.close()
  })

  it('asks the given clock to move instead of moving alone', async () => {
    const asked: number[] = []
    const clock = {
      now: () => 1_800_000_000_000,
      advance: (ms: number) => {
        asked.push(ms)
        return Promise.resolve()
      },
    }
    const { control } = await bench('2027-01-01T00:00:00Z', { clock })
    await control('POST', 'clock/advance', { seconds: 60 })
    assert.deepEqual(asked, [1_800_000_060_000])
  })

  it('declines, abandons and pays at the page, once', async () => {
    const { stripe, control, to } = await bench('2027-01-01T00:00:00Z')
    const price = await plan(stripe)
    const open = (): ReturnType<typeof stripe.checkout.sessions.create> =>
      stripe.checkout.sessions.create({
        mode: 'subscription',
        line_items: [{ price: price.id, quantity: 1 }],
        success_url: 'https://example.com/ok',
        cancel_url: 'https://example.com/no',
      })
    const session = await open()
    const refused = await control('POST', `checkout/${session.id}/decline`, { email: 'eve@example.com' })
    assert.deepEqual([refused.status, refused.body['error'].code], [200, 'card_declined'])
    assert.equal((await stripe.checkout.sessions.retrieve(session.id)).status, 'open')
    assert.equal((await stripe.subscriptions.list({ status: 'all' })).data.length, 0)
    assert.equal(
      (await control('POST', `checkout/${session.id}/pay`, { payment_method: 'pm_card_chargeDeclined' }))
        .status,
      402,
    )
    const paid = await control('POST', `checkout/${session.id}/pay`, { payment_method: 'pm_card_mastercard' })
    assert.equal(paid.body['session'].payment_status, 'paid')
    assert.equal((await stripe.paymentIntents.list()).data.length, 1)
    assert.equal((await stripe.charges.list()).data.length, 3)
    assert.equal((await control('POST', `checkout/${session.id}/pay`)).status, 400)

    const left = await open()
    const gone = await control('POST', `checkout/${left.id}/abandon`)
    assert.deepEqual(
      [gone.body['session'].status, gone.body['redirect_url']],
      ['expired', 'https://example.com/no'],
    )
    const forgotten = await open()
    await to('2027-01-02T00:00:00Z')
    assert.equal((await stripe.checkout.sessions.retrieve(forgotten.id)).status, 'expired')
    assert.equal((await stripe.events.list({ type: 'checkout.session.expired' })).data.length, 2)
  })

  it('sells a pack and saves a card by checkout', async () => {
    const { stripe, control } = await bench('2027-01-01T00:00:00Z')
    const customer = await stripe.customers.create({})
    const session = await stripe.checkout.sessions.create({
      mode: 'payment',
      customer: customer.id,
      line_items: [
        { price_data: { currency: 'eur', unit_amount: 900, product_data: { name: 'Pack' } }, quantity: 3 },
      ],
      success_url: 'https://example.com/ok',
      payment_intent_data: { metadata: { order: 'ord_2' }, setup_future_usage: 'off_session' },
    })
    await control('POST', `checkout/${session.id}/pay`)
    const done = await stripe.checkout.sessions.retrieve(session.id, {
      expand: ['payment_intent', 'line_items'],
    })
    assert.deepEqual([done.status, done.payment_status, done.amount_total], ['complete', 'paid', 2700])
    assert.equal(done.line_items?.data[0]?.quantity, 3)
    assert.ok(typeof done.payment_intent === 'object' && done.payment_intent?.metadata['order'] === 'ord_2')
    assert.equal((await stripe.customers.listPaymentMethods(customer.id)).data.length, 1)
    const { body } = await control('GET', `oracle/${customer.id}`)
    assert.deepEqual(
      [body['paid'][0].invoice, body['paid'][0].amount, body['totals'].eur.net],
      [null, 2700, 2700],
    )
    const setup = await stripe.checkout.sessions.create({
      mode: 'setup',
      customer: customer.id,
      currency: 'eur',
      success_url: 'https://example.com/ok',
    })
    await control('POST', `checkout/${setup.id}/pay`, { payment_method: 'pm_card_mastercard' })
    assert.equal((await stripe.customers.listPaymentMethods(customer.id)).data[0]?.card?.brand, 'mastercard')
  })

  it('starts a trial by checkout with a card and no charge', async () => {
    const { stripe, control, to } = await bench('2027-01-01T00:00:00Z')
    const price = await plan(stripe)
    const session = await stripe.checkout.sessions.create({
      mode: 'subscription',
      line_items: [{ price: price.id, quantity: 1 }],
      success_url: 'https://example.com/ok',
      subscription_data: { trial_period_days: 7 },
    })
    await control('POST', `checkout/${session.id}/pay`, { email: 'a@example.com' })
    const done = await stripe.checkout.sessions.retrieve(session.id)
    assert.deepEqual([done.payment_status, done.amount_total], ['no_payment_required', 0])
    assert.equal((await stripe.charges.list()).data.length, 0)
    await to('2027-01-08T01:00:00Z')
    assert.equal((await stripe.charges.list()).data[0]?.amount, 2000)
  })
})
