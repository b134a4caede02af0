import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { assertBooks, DAY_MS, give } from '../support/ledger.ts'
import {
  changes,
  dumpOf,
  type Foreseen,
  type Freezer,
  freezer,
  noticesSince,
  postingsSince,
  seqOf,
} from '../support/foreseen.ts'
import { type Answer, openCheckout, settled, type Stack, startStack, subscribe } from '../support/stack.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

/** A command in a state that was made for it. */
interface Asked {
  path: string
  body?: object
  /** whose wallet and notices are compared; none when the command is refused before anybody's are touched */
  account?: string
  /** dates as the good answer tells them */
  dates?: (answer: Record<string, string | null>) => (string | null | undefined)[]
  refused?: string
}

/** Every state of a command, by a word for it. */
type States = Record<string, () => Promise<Asked>>

describe('?dry_run=true of every command', function () {
  this.timeout(240_000)
  let stack: Stack
  let proxy: StripeProxy
  let time: Freezer
  before(async () => {
    stack = await startStack({ worker: false })
    proxy = await startStripeProxy(stack.sandbox.url)
    stack.deps.stripe.sandboxUrl = proxy.url
    await stack.startWorker()
    time = await freezer(stack)
  })
  after(async () => {
    await stack?.stop()
    await proxy?.close()
  })
  afterEach(() => assertBooks(stack.database))

  const newAccount = async (credits?: string) => {
    const { id } = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body
    if (credits !== undefined) await give(stack.database.pool, id, credits)
    return id
  }
  const pages = { success_url: 'https://example.com/ok', cancel_url: 'https://example.com/no' }
  const post = async (path: string, body: object = {}): Promise<Record<string, string>> => {
    const answer = await stack.call<Record<string, string>>('POST', path, body)
    assert.ok(answer.status < 300, JSON.stringify(answer.body))
    return answer.body
  }
  const held = async (amount = '3') => {
    const account = await newAccount('10')
    const { id } = await post(`/v1/accounts/${account}/holds`, { amount })
    return { account, hold: id ?? '' }
  }
  // Stripe counts whole seconds, and our order does not
  const page = ({ created_at }: Record<string, string | null>) => [
    new Date(Date.parse(created_at ?? '') + 3_600_000).toISOString(),
  ]
  const month = (answer: Record<string, string | null>) => [answer['current_period_end']]
  const end = (answer: Record<string, string | null>) => [answer['cancel_at']]
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

  /** What is written as a command but is plain configuration: it does nothing that a preview could tell. */
  const EXEMPT: Record<string, string> = {}

  const COMMANDS: Record<string, States> = {
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
        return { path, body: { amount: '3' }, account, dates: ({ expires_at }) => [expires_at] }
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
      'a plan, first thing': async () => plan(await newAccount()),
      'a year, by a customer of old': async () => {
        const { account, session } = await openCheckout(stack)
        await stack.stripe.checkout.sessions.expire(session)
        await settled(stack)
        return plan(account, 'tier_2_20', 'year')
      },
      'beside an open page': async () => ({
        ...(await plan((await openCheckout(stack)).account)),
        refused: 'checkout_open',
      }),
      'beside a live one': async () => ({
        ...(await plan((await subscribe(stack)).account)),
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
      'free, in debt and with credits that have expired': async () => {
        const account = await newAccount('1')
        await post(`/v1/accounts/${account}/spend`, { amount: '2.5', overdraft: true })
        await give(stack.database.pool, account, '3', {
          expiresAt: new Date(stack.clock.now() + 600_000).toISOString(),
        })
        await stack.clock.advance(stack.clock.now() + DAY_MS)
        return free(account)
      },
      'free, once more in a month that was granted': async () => {
        const { account, id } = await enrolled()
        await post(`/v1/subscriptions/${id}/cancel`)
        return { ...(await free(account)), refused: 'subscription_exists' }
      },
      'free, when the month before was cancelled': async () => {
        const { account, id } = await enrolled()
        await post(`/v1/subscriptions/${id}/cancel`)
        await stack.clock.advance(stack.clock.now() + 40 * DAY_MS)
        return free(account)
      },
      'free, while another is paid for': async () => free((await subscribe(stack)).account),
    },
    'POST /v1/subscriptions/{id}/cancel': {
      paid: async () => {
        const { account, order } = await subscribe(stack)
        return cancel(order, account)
      },
      'paid, some days later': async () => {
        const { account, subscription } = await subscribe(stack)
        await stack.clock.advance(stack.clock.now() + 12 * DAY_MS)
        return cancel(subscription, account)
      },
      'cancelling already': async () => {
        const { account, order } = await subscribe(stack)
        await post(`/v1/subscriptions/${order}/cancel`)
        return cancel(order, account)
      },
      'ended in Stripe, and nobody knows yet': async () => {
        const { account, order, subscription } = await subscribe(stack)
        await stack.stripe.subscriptions.cancel(subscription)
        await settled(stack)
        await stack.database.owner.query(`update subscription set status = 'active' where id = $1`, [
          subscription,
        ])
        return { ...cancel(order, account), refused: 'subscription_ended' }
      },
      'not paid yet': async () => {
        const { account, order } = await openCheckout(stack)
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
        pack((await openCheckout(stack)).account, { quantity: 2, save_payment_method: true }),
      'too many': async () => ({
        ...(await pack(await newAccount(), { quantity: 100_000 })),
        refused: 'purchase_limit',
      }),
      'no such pack': async () => ({
        ...(await pack(await newAccount(), { pack: 'nothing' })),
        refused: 'pack_not_found',
      }),
    },
  }

  it('every command takes it and says that it answers a Preview, but plain configuration', async () => {
    const { body } = await stack.call<{ paths: Record<string, Record<string, Described>> }>(
      'GET',
      '/openapi.json',
    )
    const commands = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => path.startsWith('/v1/') && method !== 'get')
        .map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
    )
    const names = commands.map(({ name }) => name)
    assert.deepEqual(names.sort(), [...Object.keys(COMMANDS), ...Object.keys(EXEMPT)].sort())
    for (const { name, operation } of commands) {
      if (name in EXEMPT) continue
      assert.ok(
        operation.parameters.some((each) => each.name === 'dry_run'),
        name,
      )
      assert.match(JSON.stringify(operation.responses['200']), /schemas\/Preview/, name)
    }
  })

  for (const [name, states] of Object.entries(COMMANDS)) {
    for (const [state, prepare] of Object.entries(states)) {
      it(`${name}, ${state}: changes nothing, and says what then happens`, async () => {
        await check(name, await prepare())
      })
    }
  }

  async function check(name: string, asked: Asked): Promise<void> {
    await settled(stack)
    await time.freeze()
    try {
      await foreseeAndDo(name.split(' ')[0] ?? '', asked)
    } finally {
      await time.thaw()
    }
  }

  async function foreseeAndDo(method: string, asked: Asked): Promise<void> {
    const { path, body = {}, account, dates, refused } = asked
    const { database } = stack
    const key = randomUUID()
    const before = await dumpOf(stack)
    const marker = proxy.seen.length
    const preview = await stack.call<Foreseen>(method, `${path}?dry_run=true`, body, key)
    assert.equal(preview.status, 200, JSON.stringify(preview.body))
    assert.deepEqual(changes(before, await dumpOf(stack)), [])
    assert.deepEqual(changesSince(marker), [])

    const { seq, lots, notices } = await seqOf(database, account)
    const made: Answer<Record<string, string | null>> = await stack.call(method, path, body, key)
    assert.equal(made.headers.get('idempotent-replayed'), null)
    await settled(stack)
    const { outcome, refusal, effects } = preview.body
    if (made.status >= 400) {
      const { type: _, title: __, request_id: ___, ...facts } = made.body
      assert.deepEqual({ outcome, refusal }, { outcome: 'refused', refusal: facts })
    } else assert.deepEqual({ outcome, refusal }, { outcome: 'done', refusal: null })
    assert.equal(refusal?.code, refused)

    assertCalls(effects.stripe, changesSince(marker))
    if (account !== undefined) {
      assert.deepEqual(effects.postings, await postingsSince(database, account, { seq, lots }))
      assert.deepEqual(effects.notices, await noticesSince(database, account, notices))
    }
    const foreseen = effects.dates.map((date) => date.at)
    assert.deepEqual(foreseen, made.status < 400 && dates !== undefined ? dates(made.body) : [])
  }

  /** Requests that change something in Stripe. */
  const changesSince = (marker: number) => proxy.seen.slice(marker).filter(({ method }) => method !== 'GET')

  /** Each call as it was foreseen, in order, and no other. */
  function assertCalls(foreseen: Foreseen['effects']['stripe'], seen: StripeProxy['seen']): void {
    const told = (calls: { method: string; path: string }[]) =>
      calls.map(({ method, path }) => `${method} ${path.replace(/\{\w*\}/g, '…')}`)
    const masked = seen.map((call, index) => {
      // an id that was not known is the one that an earlier call has made
      const parts = foreseen[index]?.path.split('/') ?? []
      const path = call.path.split('/').map((part, at) => (parts[at]?.startsWith('{') === true ? '…' : part))
      return { method: call.method, path: path.join('/') }
    })
    assert.deepEqual(told(masked), told(foreseen))
    foreseen.forEach(({ params }, index) => {
      const sent = new URLSearchParams(seen[index]?.body)
      for (const [param, value] of Object.entries(params)) {
        if (value === null) assert.ok(sent.get(param), param)
        else assert.equal(sent.get(param), value, param)
      }
    })
  }
})

interface Described {
  parameters: { name: string }[]
  responses: Record<string, unknown>
}
