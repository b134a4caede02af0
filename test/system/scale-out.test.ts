import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Decimal } from 'decimal.js'
import { approvalKey } from '../../src/domain/id.ts'
import { requestApproval } from '../../src/store/approval.ts'
import { transaction } from '../../src/store/connect.ts'
import { assertBooks, give } from '../support/ledger.ts'
import {
  answered,
  type Answer,
  balanceOf,
  eventually,
  openCheckout,
  settled,
  type Stack,
  startStack,
  subscribe,
} from '../support/stack.ts'
import { deliveryOf, tell } from '../support/outbox.ts'
import { deliver } from '../support/webhook.ts'

/** One request that is sent many times at once, and how often it has had its effect. */
interface Race {
  path: string
  body: unknown
  effects: () => Promise<number>
}

describe('two API processes behind a proxy', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack({ apis: 2 })
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const count = async (sql: string, values: unknown[] = []) => {
    const { rows } = await stack.database.owner.query<{ count: string }>(
      `select count(*) as count from ${sql}`,
      values,
    )
    return Number(rows[0]?.count)
  }
  const newAccount = async (credits: string) => {
    const { id } = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body
    await give(stack.database.pool, id, credits)
    return id
  }
  /** A hold of 3 credits. */
  const held = async () => {
    const account = await newAccount('10')
    const path = `/v1/accounts/${account}/holds`
    return { account, ...(await stack.call<{ id: string }>('POST', path, { amount: '3' })).body }
  }
  /** A correction that waits for another person than asked. */
  const askedByAnother = async () => {
    const account = await newAccount('10')
    const { id } = await transaction(stack.database.pool, (client) =>
      requestApproval(client, {
        kind: 'adjustment',
        account,
        plan: { direction: 'debit', amount: '3', overdraft: false, expiresAt: null, priority: 100 },
        key: approvalKey.adjustment(account, randomUUID()),
        requestedBy: 'key_of_another',
        reasonCode: 'test',
      }),
    )
    return { account, id }
  }
  /** An endpoint that is told of low balances; nobody is there. */
  const newEndpoint = async () => {
    const body = { url: 'https://receiver.invalid/hooks', events: ['balance.low'] }
    return (await stack.call<{ id: string }>('POST', '/v1/webhook_endpoints', body)).body
  }
  /** Does something many times at once, in turns at each API by its own address. */
  const atBoth = <T>(times: number, act: (url: string, index: number) => Promise<T>): Promise<T[]> =>
    Promise.all(
      Array.from({ length: times }, (_, index) =>
        act(stack.apis[index % stack.apis.length]?.url ?? 'no API', index),
      ),
    )

  /** Every POST under /v1 by its path in the API's own document. */
  const RACES: Record<string, () => Promise<Race>> = {
    async '/v1/accounts'() {
      const external_id = randomUUID()
      const effects = () => count('customer where external_id = $1', [external_id])
      return { path: '/v1/accounts', body: { external_id }, effects }
    },
    async '/v1/accounts/{account}/spend'() {
      const account = await newAccount('10')
      const effects = () => count(`posting where account_id = $1 and kind = 'spend'`, [account])
      return { path: `/v1/accounts/${account}/spend`, body: { amount: '3' }, effects }
    },
    async '/v1/accounts/{account}/holds'() {
      const account = await newAccount('10')
      const effects = () => count('hold where account_id = $1', [account])
      return { path: `/v1/accounts/${account}/holds`, body: { amount: '3' }, effects }
    },
    async '/v1/holds/{hold}/capture'() {
      const { account, id } = await held()
      const effects = () => count(`posting where account_id = $1 and kind = 'capture'`, [account])
      return { path: `/v1/holds/${id}/capture`, body: { amount: '2', final: false }, effects }
    },
    async '/v1/holds/{hold}/release'() {
      const { id } = await held()
      const effects = () => count(`hold where id = $1 and state = 'released' and closed_at is not null`, [id])
      return { path: `/v1/holds/${id}/release`, body: {}, effects }
    },
    async '/v1/spends/{spend}/reverse'() {
      const account = await newAccount('10')
      const path = `/v1/accounts/${account}/spend`
      const { id } = (await stack.call<{ id: string }>('POST', path, { amount: '3' })).body
      const effects = () => count('reversal where account_id = $1', [account])
      return { path: `/v1/spends/${id}/reverse`, body: { amount: '1' }, effects }
    },
    async '/v1/grants'() {
      const account = await newAccount('10')
      const body = { account, amount: '5', kind: 'goodwill', reason_code: 'outage' }
      const effects = () => count(`posting where account_id = $1 and reason_code = 'outage'`, [account])
      return { path: '/v1/grants', body, effects }
    },
    async '/v1/adjustments'() {
      const account = await newAccount('10')
      const body = { account, direction: 'credit', amount: '5', reason_code: 'lost' }
      return {
        path: '/v1/adjustments',
        body,
        effects: () => count('approval where account_id = $1', [account]),
      }
    },
    async '/v1/approvals/{id}/approve'() {
      const { account, id } = await askedByAnother()
      const effects = () => count(`posting where account_id = $1 and kind = 'adjustment'`, [account])
      return { path: `/v1/approvals/${id}/approve`, body: {}, effects }
    },
    async '/v1/approvals/{id}/reject'() {
      const { id } = await askedByAnother()
      const effects = () => count(`approval where id = $1 and state = 'rejected'`, [id])
      return { path: `/v1/approvals/${id}/reject`, body: { reason_code: 'not_justified' }, effects }
    },
    async '/v1/subscriptions'() {
      const account = await newAccount('1')
      const [success_url, cancel_url] = ['https://example.com/ok', 'https://example.com/no']
      const body = { account, plan: 'tier_2_20', interval: 'month', success_url, cancel_url }
      const before = (await stack.stripe.checkout.sessions.list({ limit: 100 })).data.length
      return {
        path: '/v1/subscriptions',
        body,
        async effects() {
          const sessions = (await stack.stripe.checkout.sessions.list({ limit: 100 })).data.length - before
          assert.equal(sessions, await count('checkout where account_id = $1', [account]))
          return sessions
        },
      }
    },
    async '/v1/purchases'() {
      const account = await newAccount('1')
      const [success_url, cancel_url] = ['https://example.com/ok', 'https://example.com/no']
      const before = (await stack.stripe.checkout.sessions.list({ limit: 100 })).data.length
      return {
        path: '/v1/purchases',
        body: { account, pack: 'credits_10', success_url, cancel_url },
        async effects() {
          const sessions = (await stack.stripe.checkout.sessions.list({ limit: 100 })).data.length - before
          assert.equal(sessions, await count('checkout where account_id = $1', [account]))
          return sessions
        },
      }
    },
    async '/v1/accounts/{account}/top_up'() {
      const account = await newAccount('10')
      await stack.database.owner.query('update account set stripe_customer_id = $2 where id = $1', [
        account,
        `cus_${account.slice(4)}`,
      ])
      const body = {
        enabled: true,
        pack: 'credits_10',
        threshold: '5',
        monthly_max_minor: '5000',
        return_url: 'https://example.com/credits',
      }
      // how often it was set going
      const effects = () => count('top_up, generate_series(1, generation) where account_id = $1', [account])
      return { path: `/v1/accounts/${account}/top_up`, body, effects }
    },
    async '/v1/webhook_endpoints'() {
      const url = `https://${randomUUID()}.example/hooks`
      const effects = () => count('webhook_endpoint where url = $1', [url])
      return { path: '/v1/webhook_endpoints', body: { url }, effects }
    },
    async '/v1/webhook_endpoints/{endpoint}'() {
      const { id } = await newEndpoint()
      const effects = () => count(`audit_log where subject = $1 and reason_code = 'changed'`, [id])
      return { path: `/v1/webhook_endpoints/${id}`, body: { enabled: false }, effects }
    },
    async '/v1/webhook_endpoints/{endpoint}/rotate_secret'() {
      const { id } = await newEndpoint()
      const effects = () => count(`audit_log where subject = $1 and reason_code = 'secret_rotated'`, [id])
      return { path: `/v1/webhook_endpoints/${id}/rotate_secret`, body: {}, effects }
    },
    async '/v1/webhook_endpoints/{endpoint}/deliveries/{delivery}/resend'() {
      const { id } = await newEndpoint()
      const notice = await tell(stack.database, await newAccount('1'))
      const delivery = await deliveryOf(stack.database, notice, id)
      const effects = () => count(`audit_log where subject = $1 and reason_code = 'resent'`, [delivery.id])
      return { path: `/v1/webhook_endpoints/${id}/deliveries/${delivery.id}/resend`, body: {}, effects }
    },
    async '/v1/subscriptions/{id}/change'() {
      const { subscription } = await subscribe(stack)
      return {
        path: `/v1/subscriptions/${subscription}/change`,
        body: { plan: 'tier_6_50' },
        async effects() {
          const invoices = (await stack.stripe.invoices.list({ subscription })).data.length - 1
          assert.equal(
            invoices,
            await count(`command where owner = $1 and operation = 'change'`, [subscription]),
          )
          return invoices
        },
      }
    },
    async '/v1/subscriptions/{id}/resume'() {
      const { subscription } = await subscribe(stack)
      await stack.call('POST', `/v1/subscriptions/${subscription}/cancel`, {})
      return {
        path: `/v1/subscriptions/${subscription}/resume`,
        body: {},
        async effects() {
          const { cancel_at_period_end: ends } = await stack.stripe.subscriptions.retrieve(subscription)
          assert.equal(ends, false)
          return await count(`command where owner = $1 and operation = 'resume'`, [subscription])
        },
      }
    },
    async '/v1/portal_sessions'() {
      const { account } = await subscribe(stack)
      return {
        path: '/v1/portal_sessions',
        body: { account, return_url: 'https://example.com/billing' },
        effects: () =>
          count(`command where scope = $1 and operation = 'portal' and state = 'done'`, [account]),
      }
    },
    async '/v1/subscriptions/{id}/cancel'() {
      const { subscription } = await subscribe(stack)
      return {
        path: `/v1/subscriptions/${subscription}/cancel`,
        body: {},
        async effects() {
          const events = stack.stripe.events.list({ type: 'customer.subscription.updated', limit: 100 })
          let cancels = 0
          for await (const { data } of events) {
            const { id } = data.object as { id: string }
            if (id === subscription && 'cancel_at_period_end' in (data.previous_attributes ?? {}))
              cancels += 1
          }
          assert.equal(
            cancels,
            await count(`command where owner = $1 and operation = 'cancel'`, [subscription]),
          )
          return cancels
        },
      }
    },
  }

  it('has a race for every kind of POST', async () => {
    const { body } = await stack.call<{ paths: Record<string, object> }>('GET', '/openapi.json')
    const posts = Object.entries(body.paths).flatMap(([path, methods]) =>
      path.startsWith('/v1/') && 'post' in methods ? path : [],
    )
    assert.deepEqual(posts.sort(), Object.keys(RACES).sort())
  })

  for (const [name, prepare] of Object.entries(RACES)) {
    it(`POST ${name}: one key sent to both at the same moment has one effect and one answer`, async () => {
      const { path, body, effects } = await prepare()
      const key = randomUUID()
      const answers = await atBoth(12, (url) =>
        answered(stack, () => stack.call('POST', path, body, key, url)),
      )
      assert.equal(await effects(), 1)
      const done = answers.filter(({ status }) => status !== 409)
      for (const each of answers.filter(({ status }) => status === 409)) {
        assert.equal(each.body['code'], 'idempotency_in_progress')
      }
      assert.ok(done.length > 0)
      // whichever of the two is asked later says what was said first
      const again: Answer[] = []
      for (const { url } of stack.apis) again.push(await stack.call('POST', path, body, key, url))
      for (const { headers } of again) assert.equal(headers.get('idempotent-replayed'), 'true')
      const told = (each: Answer) => JSON.stringify([each.status, each.body])
      assert.equal(new Set([...done, ...again].map(told)).size, 1, [...done, ...again].map(told).join('\n'))
      assert.equal(await effects(), 1)
    })
  }

  it('one account spent from both is never overdrawn and sums exactly', async () => {
    const account = await newAccount('100')
    const amounts = ['0.1', '0.33333333', '2.5', '0.00000001', '1']
    const answers = await atBoth(300, async (url, index) => {
      const amount = amounts[index % amounts.length] as string
      const { status } = await stack.call(
        'POST',
        `/v1/accounts/${account}/spend`,
        { amount },
        `sum-${index}`,
        url,
      )
      return { amount, status }
    })
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200, 402]))
    const spent = answers
      .filter(({ status }) => status === 200)
      .reduce((sum, { amount }) => sum.plus(amount), new Decimal(0))
    const balance = new Decimal(await balanceOf(stack, account))
    assert.ok(balance.gte(0), balance.toString())
    assert.equal(balance.plus(spent).toString(), '100')
  })

  it('one webhook delivered to both is stored once and grants once', async () => {
    await stack.control('webhooks', { drop: {} })
    const { account, session } = await openCheckout(stack)
    await stack.control(`checkout/${session}/pay`, {})
    const paid = (await stack.stripe.events.list({ type: 'invoice.paid', limit: 1 })).data[0]
    await stack.control('webhooks', { drop: false })
    assert.ok(paid)
    const answers = await atBoth(20, (url) => deliver(stack, paid, url))
    assert.deepEqual(new Set(answers), new Set([200]))
    await settled(stack)
    assert.equal(await count('processed_webhook_events where event_id = $1', [paid.id]), 1)
    assert.equal(await count(`posting where account_id = $1 and kind = 'grant'`, [account]), 1)
  })

  it('kill -9 of one during spends: the callers retry through the other, and each key is there once', async () => {
    const account = await newAccount('1000')
    let retries = 0
    const spend = async (key: string): Promise<Answer> => {
      try {
        return await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '1.5' }, key)
      } catch {
        // nobody knows whether it was spent
        retries += 1
        return await spend(key)
      }
    }
    const keys = Array.from({ length: 60 }, (_, index) => `kill-${index}`)
    const before = stack.connections()
    const lock = await stack.database.owner.connect()
    let answers: Answer[]
    try {
      await lock.query('begin')
      await lock.query('select 1 from wallet where account_id = $1 for update', [account])
      const asked = keys.map(spend)
      await eventually('both have spends, and Postgres some that wait', async () => {
        const { rowCount } = await stack.database.owner.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        const given = stack.connections().map((now, index) => now - (before[index] ?? 0))
        return given.every((each) => each >= keys.length / 2) && (rowCount ?? 0) > 1
      })
      await stack.apis[0]?.kill()
      // what the dead one had asked may still be done by Postgres, which never notices
      await lock.query('rollback')
      answers = await Promise.all(asked)
    } finally {
      lock.release()
      await stack.stopApi()
      await stack.startApi()
    }
    // one that comes back before the proxy has noticed tries again
    assert.ok(retries >= keys.length / 2)
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
    const { rows } = await stack.database.owner.query<{ key: string }>(
      `select key from posting where account_id = $1 and kind = 'spend'`,
      [account],
    )
    assert.equal(rows.length, keys.length)
    for (const key of keys) assert.equal(rows.filter((row) => row.key.endsWith(`:${key}`)).length, 1, key)
    assert.equal(await balanceOf(stack, account), '910')
  })
})
