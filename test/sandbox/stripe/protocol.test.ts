// The protocol around the objects: keys, versions, errors, idempotency, cursors, expansion.
import assert from 'node:assert/strict'
import http from 'node:http'
// oxlint-disable-next-line import/no-named-as-default -- the named export is a type only under CommonJS
import Stripe from 'stripe'
import { bench, client, closeAll, payer, plan, subscribed, VERSION } from './world.ts'

const start = '2027-01-01T00:00:00Z'

async function fails(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const error: unknown = await promise.then(
    () => assert.fail('it was answered'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof Stripe.errors.StripeError, String(error))
  return error
}

async function raw(
  url: string,
  path: string,
  init: { key?: string; headers?: Record<string, string> } = {},
): Promise<{ status: number; headers: Headers; body: { error?: Record<string, string>; id?: string } }> {
  const answer = await fetch(url + path, {
    headers: {
      ...(init.key === '' ? {} : { authorization: `Bearer ${init.key ?? 'sk_test_raw'}` }),
      'content-type': 'application/x-www-form-urlencoded',
      ...init.headers,
    },
  })
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as { id?: string } }
}

describe('stripe sandbox: the protocol', () => {
  afterEach(closeAll)

  it('takes test and restricted keys only', async () => {
    const { sandbox, stripe } = await bench(start)
    await client(sandbox.url, 'rk_test_limited').customers.list()
    await stripe.customers.list()
    for (const key of ['', 'sk_live_abcdefghijkl', 'nonsense']) {
      const { status, body } = await raw(sandbox.url, '/v1/customers', { key })
      assert.equal(status, 401)
      assert.equal(body.error?.['type'], 'invalid_request_error')
    }
    const error = await fails(client(sandbox.url, 'sk_live_abcdefghijkl').customers.list())
    assert.equal(error.type, 'StripeAuthenticationError')
  })

  it('speaks one version', async () => {
    const { sandbox } = await bench(start)
    const headers = { 'stripe-version': '2024-06-20' }
    assert.equal((await raw(sandbox.url, '/v1/customers', { headers })).status, 400)
    const right = await raw(sandbox.url, '/v1/customers', { headers: { 'stripe-version': VERSION } })
    assert.equal(right.status, 200)
    assert.match(right.headers.get('request-id') ?? '', /^req_/)
  })

  it('answers Stripe errors with type, code and parameter', async () => {
    const { stripe, sandbox } = await bench(start)
    const gone = await fails(stripe.customers.retrieve('cus_nope'))
    assert.deepEqual([gone.statusCode, gone.code, gone.param], [404, 'resource_missing', 'id'])
    assert.equal(gone.message, "No such customer: 'cus_nope'")
    const inBody = await fails(
      stripe.subscriptions.create({ customer: 'cus_nope', items: [{ price: 'price_nope' }] }),
    )
    assert.deepEqual([inBody.statusCode, inBody.code, inBody.param], [400, 'resource_missing', 'customer'])
    const absent = await fails(stripe.prices.create({ product: 'x' } as Stripe.PriceCreateParams))
    assert.deepEqual([absent.code, absent.param], ['parameter_missing', 'currency'])
    const unknown = await fails(stripe.customers.create({ shoe_size: 44 } as Stripe.CustomerCreateParams))
    assert.deepEqual([unknown.code, unknown.param], ['parameter_unknown', 'shoe_size'])
    const nested = await fails(
      stripe.customers.create({ invoice_settings: { colour: 'red' } } as Stripe.CustomerCreateParams),
    )
    assert.equal(nested.param, 'invoice_settings[colour]')
    const number = await raw(sandbox.url, '/v1/customers?limit=ten')
    assert.equal(number.body.error?.['code'], 'parameter_invalid_integer')
    assert.equal((await raw(sandbox.url, '/v1/unicorns')).status, 404)
    assert.equal((await raw(sandbox.url, '/v1/customers?limit=101')).status, 400)
    const declined = await fails(
      stripe.paymentIntents.create({
        amount: 500,
        currency: 'usd',
        payment_method: 'pm_card_chargeDeclined',
        confirm: true,
      }),
    )
    assert.ok(declined instanceof Stripe.errors.StripeCardError)
    assert.deepEqual(
      [declined.statusCode, declined.code, declined.decline_code],
      [402, 'card_declined', 'generic_decline'],
    )
    assert.equal(declined.payment_intent?.status, 'requires_payment_method')
    assert.equal((await stripe.charges.list()).data[0]?.status, 'failed')
  })

  it('replays an answer under its idempotency key, also a decline, and refuses another request with it', async () => {
    const { stripe } = await bench(start)
    const first = await stripe.customers.create({ name: 'Ada' }, { idempotencyKey: 'k1' })
    const again = await stripe.customers.create({ name: 'Ada' }, { idempotencyKey: 'k1' })
    assert.equal(again.id, first.id)
    assert.equal(again.lastResponse.headers['idempotent-replayed'], 'true')
    assert.equal(again.lastResponse.headers['original-request'], first.lastResponse.requestId)
    assert.equal(first.lastResponse.headers['idempotency-key'], 'k1')
    assert.equal((await stripe.customers.list()).data.length, 1)
    const other = await fails(stripe.customers.create({ name: 'Bob' }, { idempotencyKey: 'k1' }))
    assert.deepEqual([other.statusCode, other.type], [400, 'StripeIdempotencyError'])
    const elsewhere = await fails(stripe.products.create({ name: 'Ada' }, { idempotencyKey: 'k1' }))
    assert.equal(elsewhere.type, 'StripeIdempotencyError')

    const decline = { amount: 500, currency: 'usd', payment_method: 'pm_card_chargeDeclined', confirm: true }
    const one = await fails(stripe.paymentIntents.create(decline, { idempotencyKey: 'k2' }))
    const two = await fails(stripe.paymentIntents.create(decline, { idempotencyKey: 'k2' }))
    assert.deepEqual([two.statusCode, two.message], [one.statusCode, one.message])
    assert.equal((await stripe.charges.list()).data.length, 1)
  })

  it('keeps no answer of a request that failed validation, and forgets a key after a day', async () => {
    const { stripe, to } = await bench(start)
    await fails(stripe.products.create({} as Stripe.ProductCreateParams, { idempotencyKey: 'v' }))
    const made = await stripe.products.create({ name: 'P' }, { idempotencyKey: 'v' })
    await to('2027-01-01T23:59:59Z')
    assert.equal((await stripe.products.create({ name: 'P' }, { idempotencyKey: 'v' })).id, made.id)
    await to('2027-01-02T00:00:01Z')
    assert.notEqual((await stripe.products.create({ name: 'P' }, { idempotencyKey: 'v' })).id, made.id)
  })

  it('repeats no answer to a DELETE: a key has no effect there', async () => {
    const { stripe } = await bench(start)
    const customer = await stripe.customers.create({})
    await stripe.customers.del(customer.id, {}, { idempotencyKey: 'gone' })
    const error = await fails(stripe.customers.del(customer.id, {}, { idempotencyKey: 'gone' }))
    assert.deepEqual([error.statusCode, error.code], [404, 'resource_missing'])
  })

  it('turns away a second request while the first with its key is in flight', async () => {
    const { stripe, sandbox } = await bench(start)
    const request = http.request(`${sandbox.url}/v1/customers`, {
      method: 'POST',
      headers: {
        authorization: 'Bearer sk_test_raw',
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': 8,
        'idempotency-key': 'busy',
        expect: '100-continue',
      },
    })
    await new Promise((resolve) => {
      request.on('continue', resolve)
      request.flushHeaders()
    })
    const error = await fails(stripe.customers.create({ name: 'Ada' }, { idempotencyKey: 'busy' }))
    assert.deepEqual([error.statusCode, error.code], [409, 'idempotency_key_in_use'])
    const answered = new Promise<http.IncomingMessage>((resolve) => request.on('response', resolve))
    request.end('name=Ada')
    assert.equal((await answered).resume().statusCode, 200)
    const replay = await stripe.customers.create({ name: 'Ada' }, { idempotencyKey: 'busy' })
    assert.equal(replay.lastResponse.headers['idempotent-replayed'], 'true')
  })

  it('leaves nothing of a subscription that error_if_incomplete refused, yet replays the refusal', async () => {
    const { stripe } = await bench(start)
    const [customer, price] = [await payer(stripe, 'pm_card_chargeCustomerFail'), await plan(stripe)]
    const before = (await stripe.events.list({ limit: 100 })).data.length
    const params: Stripe.SubscriptionCreateParams = {
      customer: customer.id,
      items: [{ price: price.id }],
      payment_behavior: 'error_if_incomplete',
    }
    for (let i = 0; i < 2; i += 1) {
      const error = await fails(stripe.subscriptions.create(params, { idempotencyKey: 'sub' }))
      assert.equal(error.code, 'card_declined')
    }
    assert.equal((await stripe.subscriptions.list({ status: 'all' })).data.length, 0)
    assert.equal((await stripe.events.list({ limit: 100 })).data.length, before)
  })

  it('pages forwards and backwards, filters by creation', async () => {
    const { stripe, to } = await bench(start)
    const ids: string[] = []
    for (let i = 0; i < 7; i += 1) {
      await to(Date.parse(start) + i * 1000)
      ids.unshift((await stripe.customers.create({ name: `c${i}` })).id)
    }
    const first = await stripe.customers.list({ limit: 3 })
    assert.deepEqual([first.data.map((c) => c.id), first.has_more], [ids.slice(0, 3), true])
    const next = await stripe.customers.list({ limit: 3, starting_after: ids[2] ?? '' })
    assert.deepEqual([next.data.map((c) => c.id), next.has_more], [ids.slice(3, 6), true])
    const back = await stripe.customers.list({ limit: 2, ending_before: ids[4] ?? '' })
    assert.deepEqual([back.data.map((c) => c.id), back.has_more], [ids.slice(2, 4), true])
    const chronological: string[] = []
    for await (const event of stripe.events.list({ ending_before: await oldest(stripe), limit: 2 }))
      chronological.push((event.data.object as Stripe.Customer).id)
    assert.deepEqual(chronological, ids.slice(0, 6).reverse())
    const at = Date.parse(start) / 1000
    const some = await stripe.customers.list({ created: { gte: at + 2, lt: at + 4 } })
    assert.deepEqual(
      some.data.map((c) => c.id),
      ids.slice(3, 5),
    )
    const wrong = await fails(stripe.customers.list({ starting_after: 'cus_nope' }))
    assert.deepEqual([wrong.code, wrong.param], ['resource_missing', 'starting_after'])
  })

  it('expands references, nested, in lists, and fields that exist only on demand', async () => {
    const { stripe } = await bench(start)
    const sub = await subscribed(stripe)
    const full = await stripe.subscriptions.retrieve(sub.id, {
      expand: ['customer', 'latest_invoice.payments', 'items.data.price.product'],
    })
    assert.equal((full.customer as Stripe.Customer).email, 'ada@example.com')
    const invoice = full.latest_invoice as Stripe.Invoice
    assert.equal(typeof invoice.payments?.data[0]?.payment.payment_intent, 'string')
    const { payments } = await stripe.invoices.retrieve(invoice.id ?? '', {
      expand: ['payments.data.payment.payment_intent'],
    })
    const paidBy = payments?.data[0]?.payment.payment_intent
    assert.ok(typeof paidBy === 'object')
    assert.equal(paidBy.status, 'succeeded')
    const product = full.items.data[0]?.price.product as Stripe.Product | undefined
    assert.equal(product?.name, 'Pro month')
    const listed = await stripe.invoices.list({ expand: ['data.customer', 'data.payments'] })
    const owner = listed.data[0]?.customer as Stripe.Customer | undefined
    assert.equal(owner?.id, sub.customer)
    assert.equal(listed.data[0]?.payments?.data.length, 1)
    assert.equal((await stripe.invoices.retrieve(listed.data[0]?.id ?? '')).payments, undefined)
    const found = await stripe.invoicePayments.list({
      payment: { type: 'payment_intent', payment_intent: paidBy.id },
    })
    assert.equal(found.data[0]?.invoice, listed.data[0]?.id)
    const bad = await fails(stripe.customers.list({ expand: ['data.shoes'] }))
    assert.equal(bad.message, 'This property cannot be expanded (data.shoes).')
  })

  it('finds prices by lookup key and moves a key on request', async () => {
    const { stripe } = await bench(start)
    const product = await stripe.products.create({ name: 'P' })
    const base = {
      product: product.id,
      currency: 'usd',
      recurring: { interval: 'month' as const },
      lookup_key: 'pro',
    }
    const old = await stripe.prices.create({ ...base, unit_amount: 100 })
    assert.match(
      (await fails(stripe.prices.create({ ...base, unit_amount: 200 }))).message,
      /already uses that lookup key/,
    )
    const moved = await stripe.prices.create({ ...base, unit_amount: 200, transfer_lookup_key: true })
    const found = await stripe.prices.list({ lookup_keys: ['pro'], expand: ['data.product'] })
    assert.deepEqual(
      found.data.map((price) => price.id),
      [moved.id],
    )
    assert.equal(found.data[0]?.unit_amount_decimal?.toString(), '200')
    assert.equal((await stripe.prices.retrieve(old.id)).lookup_key, null)
    // an archived price keeps its key
    await stripe.prices.update(moved.id, { active: false })
    assert.match(
      (await fails(stripe.prices.create({ ...base, unit_amount: 300 }))).message,
      /already uses that lookup key/,
    )
  })

  it('lists archived prices only when asked, and at most ten lookup keys at once', async () => {
    const { stripe } = await bench(start)
    const { id } = await plan(stripe)
    await stripe.prices.update(id, { active: false, lookup_key: 'old' })
    assert.deepEqual((await stripe.prices.list()).data, [])
    assert.deepEqual((await stripe.prices.list({ lookup_keys: ['old'] })).data, [])
    const [archived] = (await stripe.prices.list({ lookup_keys: ['old'], active: false })).data
    assert.equal(archived?.id, id)
    const many = Array.from({ length: 11 }, (_, n) => `key_${n}`)
    assert.equal((await fails(stripe.prices.list({ lookup_keys: many }))).param, 'lookup_keys')
    assert.deepEqual((await stripe.prices.list({ lookup_keys: many.slice(1) })).data, [])
  })

  it('changes of a price what Stripe lets be changed, and nothing else', async () => {
    const { stripe } = await bench(start)
    const { id } = await plan(stripe)
    for (const change of [{ unit_amount: 1 }, { currency: 'eur' }, { recurring: { interval: 'year' } }]) {
      const refused = await fails(stripe.prices.update(id, change as Stripe.PriceUpdateParams))
      assert.equal(refused.code, 'parameter_unknown')
    }
    const changed = await stripe.prices.update(id, { metadata: { a: 'b' }, lookup_key: 'pro' })
    assert.deepEqual([changed.metadata, changed.lookup_key, changed.unit_amount], [{ a: 'b' }, 'pro', 2000])
    assert.equal((await stripe.prices.update(id, { lookup_key: '' })).lookup_key, null)
  })

  it('sells no price that is archived or whose product is, and no subscription at a one-time price', async () => {
    const { stripe } = await bench(start)
    const customer = (await payer(stripe)).id
    const price = await plan(stripe)
    const buy = (id = price.id) => stripe.subscriptions.create({ customer, items: [{ price: id }] })
    const product = price.product as string
    await stripe.products.update(product, { active: false })
    assert.match((await fails(buy())).message, /because its product is not active/)
    await stripe.products.update(product, { active: true })
    await stripe.prices.update(price.id, { active: false })
    assert.match((await fails(buy())).message, /The price specified is inactive/)
    await stripe.prices.update(price.id, { active: true })
    await buy()
    const once = await stripe.prices.create({ product, currency: 'usd', unit_amount: 1000 })
    assert.deepEqual([once.type, once.recurring], ['one_time', null])
    assert.match((await fails(buy(once.id))).message, /type=one_time/)
  })
})

async function oldest(stripe: Stripe): Promise<string> {
  return (await stripe.events.list({ limit: 100 })).data.at(-1)?.id ?? ''
}
