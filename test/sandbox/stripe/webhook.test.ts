// Webhooks: signed afresh at each attempt, retried for three days, held, dropped, doubled, shuffled on request.
import assert from 'node:assert/strict'
import type { Stripe } from 'stripe'
import { bench, closeAll, receiver, VERSION, type Bench, type Receiver } from './world.ts'

const start = '2027-01-01T00:00:00Z'

async function listening(
  options: { events?: string[] } = {},
): Promise<Bench & { hook: Receiver; secret: string }> {
  const world = await bench(start)
  const hook = await receiver()
  const endpoint = await world.stripe.webhookEndpoints.create({
    url: hook.url,
    enabled_events: (options.events ?? ['*']) as Stripe.WebhookEndpointCreateParams.EnabledEvent[],
    api_version: VERSION,
  })
  return { ...world, hook, secret: endpoint.secret ?? '' }
}

describe('stripe sandbox: webhooks', () => {
  afterEach(closeAll)

  it('signs with the machine time, whatever the business time', async () => {
    const { stripe, hook, secret, sandbox } = await listening()
    await stripe.customers.create({ name: 'Ada' })
    await sandbox.deliverDue()
    const [{ raw, headers }] = hook.got as [(typeof hook.got)[0]]
    const header = String(headers['stripe-signature'])
    const event = stripe.webhooks.constructEvent(raw, header, secret)
    assert.deepEqual([event.type, event.livemode, event.pending_webhooks], ['customer.created', false, 1])
    assert.throws(() => stripe.webhooks.constructEvent(raw.replace('Ada', 'Eve'), header, secret))
    assert.throws(() => stripe.webhooks.constructEvent(raw, header, 'whsec_other'))
    assert.equal((await stripe.events.retrieve(event.id)).pending_webhooks, 0)
  })

  it('tells an endpoint only of the types it asked for', async () => {
    const { stripe, hook, sandbox } = await listening({ events: ['product.created'] })
    await stripe.customers.create({})
    await stripe.products.create({ name: 'P' })
    await sandbox.deliverDue()
    assert.deepEqual(
      hook.got.map(({ event }) => event.type),
      ['product.created'],
    )
  })

  it('tries again with growing waits for three days of business time', async () => {
    const { stripe, hook, sandbox, to } = await listening()
    hook.answer = () => 500
    await stripe.customers.create({})
    await sandbox.deliverDue()
    const [event] = (await stripe.events.list()).data
    assert.equal(event?.pending_webhooks, 1)
    assert.equal(sandbox.nextDeadline(), Date.parse('2027-01-01T00:05:00Z'))
    await to('2027-01-01T00:35:00Z')
    assert.equal(hook.got.length, 3)
    await to('2027-01-05T00:00:00Z')
    const tries = hook.got.length
    assert.ok(tries > 6 && tries < 15, String(tries))
    assert.equal((await stripe.events.list({ delivery_success: false })).data[0]?.id, event.id)
    await to('2027-01-10T00:00:00Z')
    assert.equal(hook.got.length, tries)
  })

  it('delivers what failed once the endpoint is well again', async () => {
    const { stripe, hook, sandbox, to } = await listening()
    hook.answer = () => 503
    await stripe.customers.create({})
    await sandbox.deliverDue()
    hook.answer = () => 200
    await to('2027-01-01T00:05:00Z')
    assert.equal(hook.got.length, 2)
    assert.equal(hook.got[0]?.event.id, hook.got[1]?.event.id)
    assert.equal((await stripe.events.list({ delivery_success: true })).data.length, 1)
  })

  it('holds, releases, drops and doubles', async () => {
    const { stripe, hook, sandbox, control } = await listening()
    assert.equal((await control('POST', 'webhooks', { deliver: false })).body['deliver'], false)
    await stripe.customers.create({ name: 'held' })
    await sandbox.deliverDue()
    assert.deepEqual([hook.got.length, sandbox.nextDeadline()], [0, undefined])
    await control('POST', 'webhooks', {
      deliver: true,
      drop: { types: ['product.created'], count: 1 },
      double: true,
    })
    await sandbox.deliverDue()
    assert.equal(hook.got.length, 1)
    await stripe.products.create({ name: 'dropped' })
    await stripe.products.create({ name: 'doubled' })
    await sandbox.deliverDue()
    const names = hook.got.map(({ event }) => (event.data.object as { name?: string }).name)
    assert.deepEqual(names, ['held', 'doubled', 'doubled'])
    const seen = await stripe.events.list({ type: 'product.created' })
    assert.equal(seen.data.length, 2)
    const { body } = await control('GET', 'webhooks')
    assert.deepEqual([body['drop'], body['queue'].dropped], [false, 1])
    assert.equal((await control('POST', 'webhooks', { speed: 9 })).status, 400)
  })

  it('delays by business time', async () => {
    const { stripe, hook, sandbox, control, to } = await listening()
    await control('POST', 'webhooks', { delay: 3600 })
    await stripe.customers.create({})
    await sandbox.deliverDue()
    assert.equal(hook.got.length, 0)
    await to('2027-01-01T01:00:00Z')
    assert.equal(hook.got.length, 1)
  })

  it('shuffles the events of one step, by the seed', async () => {
    const { stripe, hook, sandbox, control } = await listening()
    await control('POST', 'webhooks', { reorder: true })
    const product = await stripe.products.create({ name: 'P' })
    const price = await stripe.prices.create({ product: product.id, currency: 'usd', unit_amount: 100 })
    const session = await stripe.checkout.sessions.create({
      mode: 'payment',
      customer_creation: 'always',
      line_items: [{ price: price.id, quantity: 1 }],
      success_url: 'https://example.com',
    })
    await sandbox.deliverDue()
    hook.got.length = 0
    await control('POST', `checkout/${session.id}/pay`)
    await sandbox.deliverDue()
    const made = (await stripe.events.list()).data.map((event) => event.type).reverse()
    const got = hook.got.map(({ event }) => event.type)
    assert.deepEqual([...got].sort(), made.slice(-got.length).sort())
    assert.notDeepEqual(got, made.slice(-got.length))
  })

  it('sends an event again, or a second event about the same fact', async () => {
    const { stripe, hook, sandbox, control } = await listening()
    await stripe.customers.create({})
    await sandbox.deliverDue()
    const id = hook.got[0]?.event.id
    await control('POST', 'webhooks/resend', { event: id })
    await control('POST', 'webhooks/resend', { event: id, as_new_event: true })
    await sandbox.deliverDue()
    assert.deepEqual([hook.got[1]?.event.id, hook.got[2]?.event.id === id], [id, false])
    assert.deepEqual(hook.got[2]?.event.data.object, hook.got[0]?.event.data.object)
    assert.equal((await control('POST', 'webhooks/resend', { event: 'evt_nope' })).status, 400)
  })

  it('has sixteen endpoints at most, shows a secret once, and tells none that is disabled or gone', async () => {
    const { stripe, hook, sandbox, to } = await listening()
    const [{ id }] = (await stripe.webhookEndpoints.list()).data as [Stripe.WebhookEndpoint]
    assert.equal((await stripe.webhookEndpoints.retrieve(id)).secret, undefined)
    const more = () => stripe.webhookEndpoints.create({ url: hook.url, enabled_events: ['charge.failed'] })
    for (let n = 1; n < 16; n += 1) await more()
    await assert.rejects(more(), /maximum of 16/)
    // one that waits for its next attempt is not tried any more
    hook.answer = () => 500
    await stripe.customers.create({})
    await sandbox.deliverDue()
    await stripe.webhookEndpoints.update(id, { disabled: true })
    await stripe.customers.create({})
    await to('2027-01-01T00:01:00Z')
    hook.answer = () => 200
    await stripe.webhookEndpoints.update(id, { disabled: false, enabled_events: ['product.created'] })
    await to('2027-01-02T00:00:00Z')
    assert.equal(hook.got.length, 1)
    await stripe.customers.create({})
    await stripe.products.create({ name: 'P' })
    await sandbox.deliverDue()
    assert.equal(hook.got.length, 2)
    await stripe.webhookEndpoints.del(id)
    await stripe.products.create({ name: 'Q' })
    await sandbox.deliverDue()
    assert.equal(hook.got.length, 2)
    await more()
  })

  it('lists events of thirty days, by at most twenty types, by time, oldest after one that is known', async () => {
    const { stripe, to } = await listening()
    await stripe.customers.create({})
    await to('2027-01-02T00:00:00Z')
    await stripe.products.create({ name: 'P' })
    await stripe.customers.create({})
    const listed = async (query: Stripe.EventListParams) =>
      (await stripe.events.list(query)).data.map((event) => event.type)
    assert.deepEqual(await listed({ types: ['product.*'] as string[] }), ['product.created'])
    assert.deepEqual(await listed({ created: { lt: Date.parse('2027-01-02T00:00:00Z') / 1000 } }), [
      'customer.created',
    ])
    await assert.rejects(listed({ types: Array.from({ length: 21 }, () => 'product.created') }), /up to 20/)
    const oldest = (await stripe.events.list()).data.at(-1)?.id ?? ''
    assert.deepEqual(await listed({ ending_before: oldest, limit: 1 }), ['product.created'])
    // what is too old is not shown even before it is swept, once a day
    await to('2027-01-30T23:00:00Z')
    await to('2027-01-31T00:00:01Z')
    assert.deepEqual(await listed({}), ['customer.created', 'product.created'])
    await assert.rejects(stripe.events.retrieve(oldest), /No such event/)
  })
})
