/** Every command of the API in the states that matter to it. What moves the clock far comes before there is much to bill. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { approvalKey } from '../../src/domain/id.ts'
import { requestApproval } from '../../src/store/approval.ts'
import { transaction } from '../../src/store/connect.ts'
import { DAY_MS, give } from './ledger.ts'
import { deliveryOf, type Receiver, tell } from './outbox.ts'
import { openCheckout, settled, type Stack, subscribe } from './stack.ts'

/** A command in a state that was made for it. */
export interface Asked {
  path: string
  body?: object
  /** whose wallet and notices are compared; none when the command is refused before anybody's are touched */
  account?: string
  /** dates as the good answer tells them */
  dates?: (answer: Record<string, string | null>) => Dates | Promise<Dates>
  refused?: string
}

type Dates = { what: string; at: string | null | undefined }[]

/** Every state of a command, by a word for it. */
export type States = Record<string, () => Promise<Asked>>

/** @param at the stack, once it is there: states are made when they are asked for */
export function commandsIn(at: () => { stack: Stack; receiver: Receiver }): Record<string, States> {
  const newAccount = async (credits?: string) => {
    const { id } = (await at().stack.call<{ id: string }>('POST', '/v1/accounts', {})).body
    if (credits !== undefined) await give(at().stack.database.pool, id, credits)
    return id
  }
  const pages = { success_url: 'https://example.com/ok', cancel_url: 'https://example.com/no' }
  const post = async (path: string, body: object = {}): Promise<Record<string, string>> => {
    const answer = await at().stack.ask<Record<string, string>>('POST', path, body)
    assert.ok(answer.status < 300, JSON.stringify(answer.body))
    return answer.body
  }
  const held = async (amount = '3') => {
    const account = await newAccount('10')
    const { id } = await post(`/v1/accounts/${account}/holds`, { amount })
    return { account, hold: id ?? '' }
  }
  // Stripe counts whole seconds, and our order does not
  /** One that is there for whatever changes nothing about it. */
  let standing: Promise<Awaited<ReturnType<typeof subscribe>>> | undefined
  const subscribed = () => (standing ??= subscribe(at().stack))
  let leaving: Promise<{ account: string; order: string }> | undefined
  const cancelling = () =>
    (leaving ??= (async () => {
      const { account, order } = await subscribe(at().stack)
      await post(`/v1/subscriptions/${order}/cancel`)
      return { account, order }
    })())
  const page = ({ created_at }: Record<string, string | null>) => [
    { what: 'checkout_expires', at: new Date(Date.parse(created_at ?? '') + 3_600_000).toISOString() },
  ]
  const month = (answer: Record<string, string | null>) => [
    { what: 'credits_next', at: answer['current_period_end'] },
  ]
  const periodEnd = (answer: Record<string, string | null>) => [
    { what: 'plan_changes', at: answer['current_period_end'] },
  ]
  const end = (answer: Record<string, string | null>) => [
    { what: 'subscription_ends', at: answer['cancel_at'] },
  ]
  const plan = async (account: string, plan = 'tier_2_20', interval = 'month'): Promise<Asked> => {
    return { path: '/v1/subscriptions', body: { account, plan, interval, ...pages }, account, dates: page }
  }
  const free = async (account: string): Promise<Asked> => {
    return { path: '/v1/subscriptions', body: { account, plan: 'free' }, account, dates: month }
  }
  const pack = async (account: string, more: object = {}): Promise<Asked> => {
    const body = { account, pack: 'credits_10', ...pages, ...more }
    return { path: '/v1/purchases', body, account, dates: page }
  }
  const enrolled = async () => {
    const account = await newAccount()
    return { account, id: (await post('/v1/subscriptions', { account, plan: 'free' }))['id'] ?? '' }
  }
  const cancel = (id: string, account?: string): Asked => ({
    path: `/v1/subscriptions/${id}/cancel`,
    ...(account === undefined ? {} : { account }),
    dates: end,
  })

  const change = (id: string, body: object, account: string): Asked => ({
    path: `/v1/subscriptions/${id}/change`,
    body,
    account,
  })
  /** Who has bought ten credits, with a card that was kept. */
  const buyer = async () => {
    const account = await newAccount()
    const order = await post('/v1/purchases', (await pack(account, { save_payment_method: true })).body)
    const { checkout } = order as unknown as { checkout: { id: string } }
    await at().stack.control(`checkout/${checkout.id}/pay`, {})
    await settled(at().stack)
    return account
  }
  const low = async () => {
    const account = await buyer()
    await post(`/v1/accounts/${account}/spend`, { amount: '9' })
    return account
  }
  const customerOf = async (account: string) => {
    const { rows } = await at().stack.database.owner.query<{ id: string }>(
      'select stripe_customer_id as id from account where id = $1',
      [account],
    )
    return rows[0]?.id ?? ''
  }
  const topUp = (account: string, more: object = {}): Asked => ({
    path: `/v1/accounts/${account}/top_up`,
    body: {
      enabled: true,
      pack: 'credits_25',
      threshold: '5',
      monthly_max_minor: '10000',
      return_url: 'https://example.com/credits',
      ...more,
    },
    account,
  })
  const expiry = ({ approval }: Record<string, unknown>) => [
    { what: 'approval_expires', at: (approval as { expires_at: string }).expires_at },
  ]
  /** An adjustment that another person asks for. */
  const askedByAnother = async (direction: 'credit' | 'debit') => {
    const account = await newAccount('10')
    const { id } = await transaction(at().stack.database.pool, (client) =>
      requestApproval(client, {
        kind: 'adjustment',
        account,
        plan: { direction, amount: '3', overdraft: false, expiresAt: null, priority: 100 },
        key: approvalKey.adjustment(account, randomUUID()),
        requestedBy: 'key_of_another',
        reasonCode: 'test',
      }),
    )
    return { account, id }
  }
  const endpoint = async () =>
    (await post('/v1/webhook_endpoints', { url: at().receiver.url, events: ['balance.low'] }))['id'] ?? ''

  return {
    'POST /v1/accounts': {
      new: async () => ({
        path: '/v1/accounts',
        body: { external_id: randomUUID(), email: 'ada@example.com' },
      }),
      async taken() {
        const external_id = randomUUID()
        await post('/v1/accounts', { external_id })
        return { path: '/v1/accounts', body: { external_id }, refused: 'external_id_taken' }
      },
    },
    'POST /v1/accounts/{account}/spend': {
      async rich() {
        const account = await newAccount('10')
        return { path: `/v1/accounts/${account}/spend`, body: { amount: '3', metadata: { a: 'b' } }, account }
      },
      async 'in debt'() {
        const account = await newAccount('1')
        return { path: `/v1/accounts/${account}/spend`, body: { amount: '3', overdraft: true }, account }
      },
      async poor() {
        const account = await newAccount('1')
        const path = `/v1/accounts/${account}/spend`
        return { path, body: { amount: '3' }, account, refused: 'insufficient_credits' }
      },
    },
    'POST /v1/accounts/{account}/holds': {
      async rich() {
        const account = await newAccount('10')
        const path = `/v1/accounts/${account}/holds`
        return {
          path,
          body: { amount: '3' },
          account,
          dates: ({ expires_at }) => [{ what: 'hold_lapses', at: expires_at }],
        }
      },
    },
    'POST /v1/holds/{hold}/capture': {
      async held() {
        const { account, hold } = await held()
        return { path: `/v1/holds/${hold}/capture`, body: { amount: '2' }, account }
      },
    },
    'POST /v1/holds/{hold}/release': {
      async held() {
        const { account, hold } = await held()
        return { path: `/v1/holds/${hold}/release`, body: {}, account }
      },
    },
    'POST /v1/spends/{spend}/reverse': {
      async spent() {
        const account = await newAccount('10')
        const { id } = await post(`/v1/accounts/${account}/spend`, { amount: '3' })
        return { path: `/v1/spends/${id}/reverse`, body: { amount: '1' }, account }
      },
    },
    'POST /v1/grants': {
      async any() {
        const account = await newAccount('1')
        const body = { account, amount: '5', kind: 'goodwill', reason_code: 'outage' }
        return { path: '/v1/grants', body, account }
      },
    },
    'POST /v1/subscriptions': {
      'free, when the month before was cancelled': async () => {
        const { account, id } = await enrolled()
        await post(`/v1/subscriptions/${id}/cancel`)
        await at().stack.clock.advance(at().stack.clock.now() + 40 * DAY_MS)
        return free(account)
      },
      'free, in debt and with credits that have expired': async () => {
        const account = await newAccount('1')
        await post(`/v1/accounts/${account}/spend`, { amount: '2.5', overdraft: true })
        await give(at().stack.database.pool, account, '3', {
          expiresAt: new Date(at().stack.clock.now() + 600_000).toISOString(),
        })
        await at().stack.clock.advance(at().stack.clock.now() + DAY_MS)
        return free(account)
      },
      'a plan, first thing': async () => plan(await newAccount()),
      'a year, by a customer of old': async () => {
        const { account, session } = await openCheckout(at().stack)
        await at().stack.stripe.checkout.sessions.expire(session)
        await settled(at().stack)
        return plan(account, 'tier_2_20', 'year')
      },
      'beside an open page': async () => ({
        ...(await plan((await openCheckout(at().stack)).account)),
        refused: 'checkout_open',
      }),
      'beside a live one': async () => ({
        ...(await plan((await subscribed()).account)),
        refused: 'subscription_exists',
      }),
      'no such plan': async () => ({
        ...(await plan(await newAccount(), 'nothing')),
        refused: 'plan_not_found',
      }),
      'no such account': async () => ({
        path: '/v1/subscriptions',
        body: { account: 'acc_0', plan: 'free' },
        refused: 'account_not_found',
      }),
      'free, first thing': async () => free(await newAccount()),
      'free, once more in a month that was granted': async () => {
        const { account, id } = await enrolled()
        await post(`/v1/subscriptions/${id}/cancel`)
        return { ...(await free(account)), refused: 'subscription_exists' }
      },
      'free, while another is paid for': async () => free((await subscribed()).account),
    },
    'POST /v1/subscriptions/{id}/cancel': {
      paid: async () => {
        const { account, order } = await subscribe(at().stack)
        return cancel(order, account)
      },
      'cancelling already': async () => {
        const { account, order } = await cancelling()
        return cancel(order, account)
      },
      'ended in Stripe, and nobody knows yet': async () => {
        const { account, order, subscription } = await subscribe(at().stack)
        await at().stack.stripe.subscriptions.cancel(subscription)
        await settled(at().stack)
        await at().stack.database.owner.query(`update subscription set status = 'active' where id = $1`, [
          subscription,
        ])
        return { ...cancel(order, account), refused: 'subscription_ended' }
      },
      'not paid yet': async () => {
        const { account, order } = await openCheckout(at().stack)
        return { ...cancel(order, account), refused: 'subscription_not_started' }
      },
      'no such': async () => ({ ...cancel('ord_0'), refused: 'subscription_not_found' }),
      free: async () => {
        const { account, id } = await enrolled()
        return cancel(id, account)
      },
      'free, cancelling already': async () => {
        const { account, id } = await enrolled()
        await post(`/v1/subscriptions/${id}/cancel`)
        return cancel(id, account)
      },
    },
    'POST /v1/purchases': {
      one: async () => pack(await newAccount()),
      'two, and the card is kept': async () =>
        pack((await openCheckout(at().stack)).account, { quantity: 2, save_payment_method: true }),
      'too many': async () => ({
        ...(await pack(await newAccount(), { quantity: 100_000 })),
        refused: 'purchase_limit',
      }),
      'no such pack': async () => ({
        ...(await pack(await newAccount(), { pack: 'nothing' })),
        refused: 'pack_not_found',
      }),
    },
    'POST /v1/subscriptions/{id}/change': {
      'more, at once': async () => {
        const { account, order } = await subscribe(at().stack)
        return change(order, { plan: 'tier_6_50' }, account)
      },
      'more seats, some days later': async () => {
        const { account, order } = await subscribe(at().stack)
        await at().stack.clock.advance(at().stack.clock.now() + 10 * DAY_MS)
        return change(order, { plan: 'tier_2_20', quantity: 3 }, account)
      },
      'a year for a month': async () => {
        const { account, order, subscription } = await subscribe(at().stack)
        const months = async () => {
          const { rows } = await at().stack.database.owner.query<{ due_at: Date }>(
            'select due_at from entitlement where subscription_id = $1 and granted_at is null order by due_at',
            [subscription],
          )
          return rows.map((row) => ({ what: 'credits_next', at: row.due_at.toISOString() }))
        }
        return { ...change(order, { plan: 'tier_2_20', interval: 'year' }, account), dates: months }
      },
      'less, at the end of the period': async () => {
        const { account, order } = await subscribe(at().stack, 'tier_6_50')
        return { ...change(order, { plan: 'tier_2_20' }, account), dates: periodEnd }
      },
      'less, where another change was to come': async () => {
        const { account, order } = await subscribe(at().stack, 'tier_12_100')
        await post(`/v1/subscriptions/${order}/change`, { plan: 'tier_6_50' })
        return { ...change(order, { plan: 'tier_2_20' }, account), dates: periodEnd }
      },
      'what it is': async () => {
        const { account, order } = await subscribed()
        return change(order, { plan: 'tier_2_20' }, account)
      },
      'what is not sold': async () => {
        const { account, order } = await subscribed()
        return { ...change(order, { plan: 'nothing' }, account), refused: 'plan_not_found' }
      },
      cancelling: async () => {
        const { account, order } = await cancelling()
        return { ...change(order, { plan: 'tier_6_50' }, account), refused: 'subscription_cancelling' }
      },
      'of a free plan': async () => {
        const { account, id } = await enrolled()
        return { ...change(id, { plan: 'tier_6_50' }, account), refused: 'plan_is_free' }
      },
    },
    'POST /v1/subscriptions/{id}/resume': {
      cancelling: async () => {
        const { account, order } = await subscribe(at().stack)
        await post(`/v1/subscriptions/${order}/cancel`)
        return { path: `/v1/subscriptions/${order}/resume`, account }
      },
      'going on': async () => {
        const { account, order } = await subscribed()
        return { path: `/v1/subscriptions/${order}/resume`, account }
      },
      paused: async () => {
        const { account, order, subscription } = await subscribe(at().stack)
        await at().stack.stripe.subscriptions.pause(subscription, {
          bill_for: { unused_time_from: { type: 'none' } },
        })
        return { path: `/v1/subscriptions/${order}/resume`, account }
      },
      'paused some days later, and the rest of the period given back': async () => {
        const { account, order, subscription } = await subscribe(at().stack)
        await at().stack.clock.advance(at().stack.clock.now() + 10 * DAY_MS)
        await at().stack.stripe.subscriptions.pause(subscription)
        return { path: `/v1/subscriptions/${order}/resume`, account }
      },
      'only its collection paused': async () => {
        const { account, order, subscription } = await subscribe(at().stack)
        await at().stack.stripe.subscriptions.update(subscription, {
          pause_collection: { behavior: 'void' },
        })
        return { path: `/v1/subscriptions/${order}/resume`, account }
      },
    },
    'DELETE /v1/subscriptions/{id}/pending_change': {
      scheduled: async () => {
        const { account, order } = await subscribe(at().stack, 'tier_6_50')
        await post(`/v1/subscriptions/${order}/change`, { plan: 'tier_2_20' })
        return { path: `/v1/subscriptions/${order}/pending_change`, account }
      },
      'nothing to come': async () => {
        const { account, order } = await subscribed()
        return {
          path: `/v1/subscriptions/${order}/pending_change`,
          account,
          refused: 'pending_change_not_found',
        }
      },
    },
    'POST /v1/adjustments': {
      async credit() {
        const account = await newAccount('10')
        const body = { account, direction: 'credit', amount: '5', reason_code: 'lost' }
        return { path: '/v1/adjustments', body, account, dates: expiry }
      },
      async 'more than is there'() {
        const account = await newAccount('10')
        const body = { account, direction: 'debit', amount: '50', reason_code: 'lost' }
        return { path: '/v1/adjustments', body, account, dates: expiry }
      },
    },
    'POST /v1/approvals/{id}/approve': {
      async 'a credit'() {
        const { account, id } = await askedByAnother('credit')
        return { path: `/v1/approvals/${id}/approve`, account }
      },
      async 'a debit that cannot be made any more'() {
        const { account, id } = await askedByAnother('debit')
        await post(`/v1/accounts/${account}/spend`, { amount: '10' })
        return { path: `/v1/approvals/${id}/approve`, account, refused: 'approval_stale' }
      },
      async 'by who asked for it'() {
        const account = await newAccount('10')
        const body = { account, direction: 'credit', amount: '5', reason_code: 'lost' }
        const { approval } = (await post('/v1/adjustments', body)) as unknown as { approval: { id: string } }
        return {
          path: `/v1/approvals/${approval.id}/approve`,
          account,
          refused: 'approver_is_requester',
        }
      },
    },
    'POST /v1/approvals/{id}/reject': {
      async 'a credit'() {
        const { account, id } = await askedByAnother('credit')
        return { path: `/v1/approvals/${id}/reject`, body: { reason_code: 'not_justified' }, account }
      },
    },
    'POST /v1/accounts/{account}/top_up': {
      'without a card': async () => ({ ...topUp(await newAccount('10')), refused: 'payment_method_missing' }),
      'with a card, and credits left': async () => topUp(await buyer()),
      'with a card, and low': async () => topUp(await low()),
      'with a card, and so low that it takes several, up to a sum': async () =>
        topUp(await low(), { threshold: '80', monthly_max_minor: '7000' }),
      'in a currency that the pack is not sold in': async () => ({
        ...topUp(await low(), { currency: 'eur' }),
        refused: 'pack_not_found',
      }),
      'low, and the card is gone': async () => {
        const account = await low()
        for (const { id } of (
          await at().stack.stripe.paymentMethods.list({ customer: await customerOf(account) })
        ).data)
          await at().stack.stripe.paymentMethods.detach(id)
        return topUp(account)
      },
    },
    'POST /v1/portal_sessions': {
      async 'of a customer'() {
        const { account } = await openCheckout(at().stack)
        return { path: '/v1/portal_sessions', body: { account, return_url: pages.success_url }, account }
      },
      async 'of nobody yet'() {
        const account = await newAccount()
        const body = { account, return_url: pages.success_url }
        return { path: '/v1/portal_sessions', body, account, refused: 'customer_not_found' }
      },
    },
    'POST /v1/webhook_endpoints': {
      any: async () => ({ path: '/v1/webhook_endpoints', body: { url: at().receiver.url } }),
    },
    'POST /v1/webhook_endpoints/{endpoint}': {
      any: async () => ({ path: `/v1/webhook_endpoints/${await endpoint()}`, body: { enabled: false } }),
      'no such': async () => ({
        path: '/v1/webhook_endpoints/we_0',
        body: { enabled: false },
        refused: 'endpoint_not_found',
      }),
    },
    'POST /v1/webhook_endpoints/{endpoint}/rotate_secret': {
      any: async () => ({ path: `/v1/webhook_endpoints/${await endpoint()}/rotate_secret` }),
    },
    'POST /v1/webhook_endpoints/{endpoint}/deliveries/{delivery}/resend': {
      async any() {
        const id = await endpoint()
        const account = await newAccount()
        const notice = await tell(at().stack.database, account)
        const { id: delivery } = await deliveryOf(at().stack.database, notice, id)
        return { path: `/v1/webhook_endpoints/${id}/deliveries/${delivery}/resend`, account }
      },
    },
  }
}
