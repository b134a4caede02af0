import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { CHECKOUT_OPEN_MS } from '../../src/domain/checkout.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, settled, type Stack, startStack } from '../support/stack.ts'
import { deliver, settledEvent } from '../support/webhook.ts'

interface Purchase {
  id: string
  status: string
  granted: string | null
  payment: { id: string; amount_minor: string } | null
  checkout: { id: string } | null
}

interface Preview {
  outcome: string
  refusal: { code: string } | null
  effects: {
    postings: unknown[]
    notices: unknown[]
    stripe: { method: string; path: string; params: Record<string, string | null> }[]
    dates: { what: string; at: string }[]
  }
}

const RETURN = 'https://example.com/credits'

describe('packs of credits, bought through two APIs', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack({ apis: 2 })
  })
  after(() => stack?.stop())
  beforeEach(() =>
    stack.control('webhooks', { deliver: true, drop: false, double: false, delay: 0, reorder: false }),
  )
  afterEach(() => assertBooks(stack.database))

  const newAccount = async () => (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id

  /** An order of packs with its page open. */
  async function order(
    account: string,
    more: Record<string, unknown> = {},
  ): Promise<{ id: string; session: string }> {
    const { status, body } = await stack.ask<Purchase>('POST', '/v1/purchases', {
      account,
      pack: 'credits_10',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
      ...more,
    })
    assert.deepEqual([status, body.status], [201, 'open'], JSON.stringify(body))
    return { id: body.id, session: body.checkout?.id ?? 'no page' }
  }
  const pay = (session: string, how: Record<string, unknown> = {}) =>
    stack.control(`checkout/${session}/pay`, how)
  const read = async (id: string) => (await stack.call<Purchase>('GET', `/v1/purchases/${id}`)).body
  const isOver = (id: string) =>
    eventually('its workflow is over', async () => {
      const { status } = await stack.temporal.workflow.getHandle(`checkout/${id}`).describe()
      return status.name === 'COMPLETED'
    })
  const grants = async (account: string) => {
    const { rows } = await stack.database.pool.query<{ key: string; amount: string }>(
      `select key, amount::text from posting where account_id = $1 and kind = 'grant' order by seq`,
      [account],
    )
    return rows
  }
  const notices = async (account: string) => {
    const { rows } = await stack.database.owner.query<{ kind: string; data: Record<string, unknown> }>(
      'select kind, data from notice where account_id = $1 order by recorded_at, key',
      [account],
    )
    return rows
  }
  /** What Stripe has told about a session or its payment, oldest first. */
  async function eventsOf(session: string): Promise<Stripe.Event[]> {
    const { payment_intent } = await stack.stripe.checkout.sessions.retrieve(session)
    const found: Stripe.Event[] = []
    for await (const event of stack.stripe.events.list({ limit: 100 })) {
      const { id } = event.data.object as { id: string }
      if (id === session || id === payment_intent) found.push(event)
    }
    return found.reverse()
  }

  it('are bought on a hosted page: paid once, granted once, never lapsing, told once', async () => {
    const account = await newAccount()
    const { id, session } = await order(account, { quantity: 3, metadata: { cart: '7' } })
    await pay(session)
    await settled(stack)
    const { body } = await stack.call('GET', `/v1/purchases/${id}`)
    const payment = (await stack.stripe.checkout.sessions.retrieve(session)).payment_intent
    assert.ok(typeof payment === 'string')
    const { created_at, payment: shown, ...rest } = body
    assert.deepEqual(rest, {
      id,
      object: 'purchase',
      status: 'paid',
      account,
      pack: 'credits_10',
      quantity: 3,
      credits: '30',
      amount_minor: '3000',
      currency: 'usd',
      checkout: null,
      granted: '30',
      metadata: { cart: '7' },
    })
    const { paid_at, ...paid } = shown as { paid_at: string }
    assert.deepEqual(paid, { id: payment, amount_minor: '3000', currency: 'usd' })
    // Stripe counts whole seconds
    assert.ok(Date.parse(paid_at) > Date.parse(String(created_at)) - 1_000)
    const { rows } = await stack.database.pool.query(
      'select kind, expires_at, payment_id, granted::text from lot where account_id = $1',
      [account],
    )
    assert.deepEqual(rows, [{ kind: 'pack', expires_at: null, payment_id: payment, granted: '30.00000000' }])
    const told = await notices(account)
    assert.deepEqual(
      told.map(({ kind }) => kind),
      ['purchase_completed'],
    )
    assert.equal(told[0]?.data['balance'], '30')
    await isOver(id)
    // nothing of ours in Stripe but our ids
    const { metadata } = await stack.stripe.paymentIntents.retrieve(payment)
    assert.deepEqual(metadata, { perennial_account: account, perennial_order: id })
    const listed = await stack.call<{ data: Purchase[] }>('GET', `/v1/purchases?account=${account}`)
    assert.deepEqual(listed.body.data, [body])
    // an order of packs is no subscription, and no subscription's order is a purchase
    assert.equal((await stack.call('GET', `/v1/subscriptions/${id}`)).status, 404)
    const { body: subscriptions } = await stack.call<{ data: unknown[] }>(
      'GET',
      `/v1/subscriptions?account=${account}`,
    )
    assert.deepEqual(subscriptions.data, [])
  })

  it('are previewed: what an order would do is what it then does, and what it would be refused for is refused', async () => {
    const account = await newAccount()
    const asked = { account, pack: 'credits_25', quantity: 2, success_url: RETURN, cancel_url: RETURN }
    const preview = (body: object) =>
      stack.call<Preview>('POST', '/v1/purchases?dry_run=true', body, 'the-same-key')
    const { status, body } = await preview(asked)
    assert.deepEqual(
      [status, body.outcome, body.effects.postings, body.effects.notices],
      [200, 'done', [], []],
    )
    assert.deepEqual(
      body.effects.stripe.map(({ method, path }) => `${method} ${path}`),
      ['POST /v1/customers', 'POST /v1/checkout/sessions'],
    )
    const limit = await preview({ ...asked, pack: 'credits_500', quantity: 3 })
    assert.deepEqual(
      [limit.status, limit.body.outcome, limit.body.refusal?.code],
      [200, 'refused', 'purchase_limit'],
    )
    const { rowCount } = await stack.database.owner.query('select 1 from checkout where account_id = $1', [
      account,
    ])
    assert.equal(rowCount, 0)
    // the key was not used up
    const done = await stack.ask<Purchase>('POST', '/v1/purchases', asked, 'the-same-key')
    assert.equal(done.status, 201, JSON.stringify(done.body))
    const opened = done.body.checkout?.id ?? 'no page'
    const session = await stack.stripe.checkout.sessions.retrieve(opened, { expand: ['line_items'] })
    const [line] = session.line_items?.data ?? []
    const { params = {} } = body.effects.stripe[1] ?? {}
    assert.deepEqual(
      [params['mode'], params['line_items[0][price]'], params['line_items[0][quantity]']],
      [session.mode, line?.price?.id, `${line?.quantity}`],
    )
    const [date] = body.effects.dates
    assert.equal(date?.what, 'checkout_expires')
    assert.ok(Math.abs(Date.parse(date.at) / 1000 - session.expires_at) < 60)
    await stack.control(`checkout/${opened}/abandon`, {})
  })

  it('RC-2: twenty purchases of one account that complete at once sum exactly', async () => {
    await stack.database.owner.query(`update catalog set limits = limits || '{"purchaseHourMax": 20}'`)
    const account = await newAccount()
    await stack.control('webhooks', { drop: {} })
    const orders = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        order(account, { pack: index % 2 === 0 ? 'credits_10' : 'credits_25' }),
      ),
    )
    for (const { session } of orders) await pay(session)
    const events: Stripe.Event[] = []
    for await (const event of stack.stripe.events.list({ type: 'checkout.session.completed', limit: 100 }))
      if ((event.data.object as Stripe.Checkout.Session).metadata?.['perennial_account'] === account)
        events.push(event)
    assert.equal(events.length, 20)
    const at = (index: number) => stack.apis[index % 2]?.url ?? stack.apiUrl
    const answers = await Promise.all(events.map((event, index) => deliver(stack, event, at(index))))
    assert.deepEqual(new Set(answers), new Set([200]))
    await settled(stack)
    assert.equal((await grants(account)).length, 20)
    assert.equal(await balanceOf(stack, account), '350')
    const { rows } = await stack.database.pool.query<{ paid: string }>(
      'select sum(amount_minor) as paid from payment where account_id = $1',
      [account],
    )
    assert.deepEqual(rows, [{ paid: '35000' }])
  })

  it('RC-2: every webhook of a purchase doubled, and in whatever order, grants once', async () => {
    const account = await newAccount()
    const { id, session } = await order(account)
    await stack.control('webhooks', { drop: {} })
    await pay(session)
    const events = (await eventsOf(session)).filter(
      ({ type }) => type === 'checkout.session.completed' || type.startsWith('payment_intent.'),
    )
    assert.deepEqual(new Set(events.map(({ type }) => type)).has('payment_intent.succeeded'), true)
    for (const event of [...events.toReversed(), ...events]) {
      assert.equal(await deliver(stack, event), 200)
      await settledEvent(stack, event.id)
    }
    assert.deepEqual(
      (await grants(account)).map(({ key }) => key),
      [`purchase:${id}`],
    )
  })

  it('with every webhook lost are granted by their own deadline, and abandoned by it', async () => {
    await stack.control('webhooks', { drop: {} })
    const account = await newAccount()
    const paid = await order(account)
    const abandoned = await order(account)
    await pay(paid.session)
    await stack.clock.advance(stack.clock.now() + CHECKOUT_OPEN_MS + 120_000)
    assert.equal((await read(paid.id)).status, 'paid')
    assert.equal((await read(abandoned.id)).status, 'abandoned')
    assert.equal(await balanceOf(stack, account), '10')
    for (const { id } of [paid, abandoned]) await isOver(id)
    const { rows } = await stack.database.pool.query(
      `select 1 from checkout where account_id = $1 and (deadline_at is not null or state in ('opening', 'open'))`,
      [account],
    )
    assert.deepEqual(rows, [])
    assert.equal(
      (await stack.call<{ held: string }>('GET', `/v1/accounts/${account}/balance`)).body.held,
      '0',
    )
    const kinds = (await notices(account)).map(({ kind }) => kind)
    assert.deepEqual(kinds.sort(), ['purchase_abandoned', 'purchase_completed'])
  })

  it('abandoned by the customer leave nothing: no workflow, no open row, and the day’s limit is free again', async () => {
    const account = await newAccount()
    // both together are all that a day allows
    const first = await order(account, { pack: 'credits_500', quantity: 2 })
    await order(account, { pack: 'credits_500', quantity: 2 })
    const more = () =>
      stack.ask<{ code: string; left: string }>('POST', '/v1/purchases', {
        account,
        pack: 'credits_10',
        success_url: 'https://example.com/ok',
        cancel_url: 'https://example.com/no',
      })
    const refused = await more()
    assert.deepEqual([refused.status, refused.body.code, refused.body.left], [409, 'purchase_day_limit', '0'])
    await stack.control(`checkout/${first.session}/abandon`, {})
    await settled(stack)
    assert.equal((await read(first.id)).status, 'abandoned')
    await isOver(first.id)
    assert.equal((await more()).status, 201)
  })

  it('paid by a bank debit are granted days later, when the money has come, and not when it has not', async () => {
    const account = await newAccount()
    const good = await order(account)
    const bad = await order(account, { pack: 'credits_25' })
    await pay(good.session, { method: 'bank_debit' })
    await pay(bad.session, { method: 'bank_debit', outcome: 'fails' })
    await settled(stack)
    for (const { id } of [good, bad]) assert.equal((await read(id)).status, 'processing')
    assert.equal(await balanceOf(stack, account), '0')
    // nobody tells: its own deadline finds it
    await stack.control('webhooks', { drop: {} })
    await stack.clock.advance(stack.clock.now() + 8 * DAY_MS)
    assert.equal((await read(good.id)).granted, '10')
    assert.equal((await read(bad.id)).status, 'failed')
    assert.equal(await balanceOf(stack, account), '10')
    for (const { id } of [good, bad]) await isOver(id)
    const kinds = (await notices(account)).map(({ kind }) => kind)
    assert.deepEqual(kinds.sort(), ['purchase_completed', 'purchase_failed'])
  })

  it('bought with codes are granted as what is paid: half for half, and nothing for nothing', async () => {
    const account = await newAccount()
    for (const percent_off of [50, 100]) {
      const { id } = await stack.stripe.coupons.create({ percent_off, duration: 'once' })
      const promotion = { type: 'coupon' as const, coupon: id }
      await stack.stripe.promotionCodes.create({ promotion, code: `OFF${percent_off}` })
    }
    const half = await order(account, { quantity: 3 })
    const free = await order(account, { quantity: 3 })
    await pay(half.session, { promotion_code: 'OFF50' })
    await pay(free.session, { promotion_code: 'OFF100' })
    await settled(stack)
    assert.equal(await balanceOf(stack, account), '15')
    const paid = await read(half.id)
    assert.deepEqual([paid.status, paid.granted, paid.payment?.amount_minor], ['paid', '15', '1500'])
    const nothing = await read(free.id)
    assert.deepEqual([nothing.status, nothing.granted], ['paid', '0'])
    assert.deepEqual([nothing.payment?.id, nothing.payment?.amount_minor], [free.session, '0'])
    assert.deepEqual(
      (await grants(account)).map(({ key }) => key),
      [`purchase:${half.id}`],
    )
  })

  it('paid after they had ended are granted, marked late, and shown to a person for approval', async () => {
    const account = await newAccount()
    const { id, session } = await order(account)
    await stack.control(`checkout/${session}/abandon`, {})
    await settled(stack)
    assert.equal((await read(id)).status, 'abandoned')
    const intent = await stack.stripe.paymentIntents.create({
      amount: 1000,
      currency: 'usd',
      payment_method: 'pm_card_visa',
      confirm: true,
      automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      metadata: { perennial_account: account, perennial_order: id },
    })
    await settled(stack)
    const late = await eventually('the late payment', async () => {
      const purchase = await read(id)
      return purchase.status === 'late' && purchase
    })
    assert.equal(late.granted, '10')
    assert.equal(late.payment?.id, intent.id)
    assert.equal(await balanceOf(stack, account), '10')
    const { rows } = await stack.database.owner.query(
      'select kind, requested_by, state, plan from approval where account_id = $1',
      [account],
    )
    const posting = (await grants(account)).length === 1 && rows[0]?.plan.posting
    assert.match(posting, /^pst_/)
    const plan = {
      order: id,
      payment: intent.id,
      amountMinor: '1000',
      currency: 'usd',
      credits: '10',
      posting,
    }
    assert.deepEqual(rows, [{ kind: 'late_payment', requested_by: 'system', state: 'pending', plan }])
    await eventually('the alert', async () => {
      const { rowCount } = await stack.database.owner.query(
        `select 1 from alert where kind = 'needs_attention' and subject = $1 and detail = 'late_payment'
            and resolved_at is null`,
        [`checkout/${id}`],
      )
      return rowCount === 1
    })
    // told again, it stays as it is, and the alert stands
    const [event] = (await stack.stripe.events.list({ type: 'payment_intent.succeeded', limit: 1 })).data
    assert.ok(event)
    await deliver(stack, { ...event, id: `${event.id}again` })
    await settled(stack)
    assert.equal((await grants(account)).length, 1)
    const { rowCount } = await stack.database.owner.query(
      `select 1 from alert where subject = $1 and resolved_at is null`,
      [`checkout/${id}`],
    )
    assert.equal(rowCount, 1)
    // a person says that it stays, and nobody need look any more
    const [{ id: approval } = { id: '' }] = (
      await stack.database.owner.query<{ id: string }>('select id from approval where account_id = $1', [
        account,
      ])
    ).rows
    const approved = await stack.ask('POST', `/v1/approvals/${approval}/approve`, {})
    assert.deepEqual([approved.status, approved.body['state']], [200, 'executed'])
    const after = await stack.database.owner.query(
      `select 1 from alert where subject = $1 and resolved_at is null`,
      [`checkout/${id}`],
    )
    assert.equal(after.rowCount, 0)
    assert.equal(await balanceOf(stack, account), '10')
  })
})
