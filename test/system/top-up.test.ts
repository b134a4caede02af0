import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { workflowId } from '../../src/domain/id.ts'
import { parseCredits } from '../../src/domain/credits.ts'
import { spend } from '../../src/ledger/spend.ts'
import { wakeOwner } from '../../src/workflows/owner.ts'
import { runOf } from '../support/duty.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, settled, type Stack, startStack } from '../support/stack.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

const RETURN = 'https://example.com/credits'

interface TopUp {
  enabled: boolean
  declines: number
  next_attempt_at: string | null
  stopped: string | null
  month_minor: string
  currency: string | null
  last_attempt: {
    status: string
    payment: string | null
    granted: string | null
    decline_code: string
  } | null
}

describe('automatic top-up', function () {
  this.timeout(180_000)
  let stack: Stack
  let proxy: StripeProxy
  before(async () => {
    stack = await startStack({ worker: false })
    proxy = await startStripeProxy(stack.sandbox.url)
    stack.deps.stripe.sandboxUrl = proxy.url
    await stack.startWorker()
    await stack.database.owner.query(`update catalog set limits = limits || '{"purchaseHourMax": 100}'`)
  })
  after(async () => {
    await stack?.stop()
    await proxy?.close()
  })
  beforeEach(() => {
    proxy.decide = () => 'pass'
  })
  afterEach(() => assertBooks(stack.database))

  /** An account that has bought ten credits with a card that was kept. */
  async function buyer(card = 'pm_card_visa'): Promise<{ account: string; customer: string }> {
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    const { body } = await stack.ask<{ checkout: { id: string } }>('POST', '/v1/purchases', {
      account,
      pack: 'credits_10',
      save_payment_method: true,
      success_url: RETURN,
      cancel_url: RETURN,
    })
    await stack.control(`checkout/${body.checkout.id}/pay`, { payment_method: card })
    await settled(stack)
    const { customer } = await stack.stripe.checkout.sessions.retrieve(body.checkout.id)
    return { account, customer: customer as string }
  }
  /** From now on the bank declines whatever this customer is charged. */
  const declineFrom = async (customer: string, card = 'pm_card_chargeCustomerFail') => {
    const method = await stack.stripe.paymentMethods.attach(card, { customer })
    await stack.stripe.customers.update(customer, {
      invoice_settings: { default_payment_method: method.id },
    })
  }
  const enable = (account: string, more: Record<string, unknown> = {}) =>
    stack.ask<TopUp & { code: string }>('POST', `/v1/accounts/${account}/top_up`, {
      enabled: true,
      pack: 'credits_10',
      threshold: '5',
      monthly_max_minor: '10000',
      return_url: RETURN,
      ...more,
    })
  const read = async (account: string) =>
    (await stack.call<TopUp>('GET', `/v1/accounts/${account}/top_up`)).body
  const use = (account: string, amount: string) =>
    stack.call('POST', `/v1/accounts/${account}/spend`, { amount })
  /** A spend that no API saw. */
  const useUnseen = (account: string, amount: string, key: string) =>
    spend(stack.database.pool, {
      account,
      key,
      amount: parseCredits(amount),
      overdraft: false,
      actor: 'test',
      feature: undefined,
      metadata: undefined,
    })
  const attempts = async (account: string) => {
    const { rows } = await stack.database.owner.query<{ state: string; started_at: Date; ended_at: Date }>(
      'select state, started_at, ended_at from top_up_attempt where account_id = $1 order by ordinal',
      [account],
    )
    return rows
  }
  const states = async (account: string) => (await attempts(account)).map(({ state }) => state)
  /** What Stripe was asked to charge without the customer. */
  const charges = async (customer: string) => {
    const { data } = await stack.stripe.paymentIntents.list({ customer, limit: 100 })
    return data.filter(({ metadata }) => 'perennial_top_up' in metadata)
  }
  const notices = async (account: string) => {
    const { rows } = await stack.database.owner.query<{ kind: string; data: Record<string, string | null> }>(
      `select kind, data from notice where account_id = $1 and kind not like 'purchase%' order by recorded_at, key`,
      [account],
    )
    return rows
  }
  const idle = (account: string) =>
    eventually('its workflow is over', async () => {
      const { status } = await stack.temporal.workflow.getHandle(workflowId.topUp(account)).describe()
      return status.name === 'COMPLETED'
    })

  it('buys a pack when a spend has left less than the threshold, with the card that was kept', async () => {
    const { account, customer } = await buyer()
    const { status, body } = await enable(account)
    assert.deepEqual([status, body.enabled, body.last_attempt], [200, true, null])
    await settled(stack)
    assert.deepEqual(await attempts(account), [])
    // the API learns of a threshold within a few seconds
    await eventually('it is bought by itself', async () => {
      const made = await attempts(account)
      if (made.length === 0) await use(account, '0.5')
      return made[0]?.state === 'succeeded'
    })
    await settled(stack)
    const [charge, ...others] = await charges(customer)
    assert.deepEqual(others, [])
    assert.deepEqual([charge?.amount, charge?.status, charge?.currency], [1000, 'succeeded', 'usd'])
    const after = await read(account)
    assert.deepEqual(
      [
        after.month_minor,
        after.last_attempt?.status,
        after.last_attempt?.payment,
        after.last_attempt?.granted,
      ],
      ['1000', 'succeeded', charge?.id, '10'],
    )
    const { rows } = await stack.database.pool.query(
      `select p.key, l.kind, l.expires_at from posting p join lot l on l.account_id = p.account_id and l.key = p.key
        where p.account_id = $1 and p.reason_code = 'top_up'`,
      [account],
    )
    assert.deepEqual(rows, [{ key: `top_up:${charge?.id}`, kind: 'pack', expires_at: null }])
    assert.deepEqual(
      (await notices(account)).map(({ kind }) => kind),
      ['top_up_completed'],
    )
    await idle(account)
  })

  it('that was not woken is found by the sweeper', async () => {
    const { account } = await buyer()
    await enable(account)
    await settled(stack)
    await useUnseen(account, '9', 'unseen')
    await runOf(stack, 'sweep')
    await eventually('it is bought', async () => (await balanceOf(stack, account)) === '11')
  })

  it('never a storm: a thousand wakes and a card that declines make three charges, and a person one more', async () => {
    const { account, customer } = await buyer()
    await declineFrom(customer)
    await enable(account)
    const reach = { client: stack.temporal, taskQueue: stack.config.taskQueue }
    const storm = async () => {
      const wake = () => wakeOwner(reach, workflowId.topUp(account), { reason: 'low_balance' })
      for (let round = 0; round < 10; round += 1) await Promise.allSettled(Array.from({ length: 100 }, wake))
      await settled(stack)
    }
    await useUnseen(account, '9', 'low')
    await storm()
    assert.equal((await charges(customer)).length, 1)
    const first = await read(account)
    assert.equal(first.declines, 1)
    const wait = Date.parse(first.next_attempt_at ?? '') - stack.clock.now()
    assert.ok(wait > 3_500_000 && wait <= 3_600_000, `${wait}`)
    await stack.clock.advance(stack.clock.now() + 3 * DAY_MS)
    await storm()
    const { enabled, declines, stopped, last_attempt } = await read(account)
    assert.deepEqual([enabled, declines, stopped], [false, 3, 'declines'])
    assert.deepEqual([last_attempt?.status, last_attempt?.decline_code], ['declined', 'card_declined'])
    assert.equal((await charges(customer)).length, 3)
    const times = (await attempts(account)).map(({ started_at }) => started_at.getTime())
    assert.deepEqual(
      times.slice(1).map((at, index) => Math.round((at - (times[index] ?? 0)) / 3_600_000)),
      [1, 6],
    )
    assert.deepEqual(
      (await notices(account)).map(({ kind }) => kind),
      ['top_up_declined', 'top_up_declined', 'top_up_declined', 'top_up_stopped'],
    )
    await idle(account)
    // set going again, it counts anew
    await enable(account)
    await settled(stack)
    assert.equal((await charges(customer)).length, 4)
    assert.equal((await read(account)).declines, 1)
    await stack.ask('POST', `/v1/accounts/${account}/top_up`, { enabled: false })
  })

  it('spent faster than it buys has one in flight at a time, and ends at the sum of a month', async () => {
    const { account, customer } = await buyer()
    let flying = 0
    let most = 0
    proxy.decide = ({ method, path }) => {
      if (method === 'POST' && path === '/v1/payment_intents') most = Math.max(most, ++flying)
      if (method === 'GET' && path.startsWith('/v1/payment_intents/')) flying = 0
      return 'pass'
    }
    await enable(account, { monthly_max_minor: '4500', threshold: '9' })
    let spent = 0
    const spendAll = async () => {
      for (let index = 0; index < 30; index += 1) if ((await use(account, '3')).status === 200) spent += 3
    }
    await Promise.all([spendAll(), spendAll(), settled(stack)])
    const isOver = async () => {
      if ((await use(account, '3')).status === 200) spent += 3
      // whoever is low by now is woken, whether the API knows the threshold or has yet to read it again
      await settled(stack)
      return (await notices(account)).some(({ kind }) => kind === 'top_up_stopped')
    }
    await eventually('the month’s sum is reached', isOver, 90_000)
    assert.equal(most, 1)
    const made = await attempts(account)
    assert.deepEqual(
      made.map(({ state }) => state),
      Array.from({ length: 4 }, () => 'succeeded'),
    )
    made.slice(1).forEach(({ started_at }, index) => assert.ok(started_at >= (made[index]?.ended_at ?? 0)))
    assert.equal((await charges(customer)).length, 4)
    assert.equal(Number(await balanceOf(stack, account)) + spent, 50)
    const stop = (await notices(account)).find(({ kind }) => kind === 'top_up_stopped')
    assert.equal(stop?.data['reason'], 'monthly_cap')
    // the next month goes on
    await stack.clock.advance(stack.clock.now() + 31 * DAY_MS)
    assert.ok((await attempts(account)).length > 4)
    await stack.ask('POST', `/v1/accounts/${account}/top_up`, { enabled: false })
  })

  it('whose answer was lost is looked up: charged once, granted once', async () => {
    const { account, customer } = await buyer()
    let lost = 0
    proxy.decide = ({ method, path }) => {
      if (method !== 'POST' || path !== '/v1/payment_intents' || lost >= 3) return 'pass'
      lost += 1
      return lost === 1 ? 'cut answer' : { status: 500 }
    }
    await enable(account)
    await useUnseen(account, '9', 'lost')
    await settled(stack)
    assert.equal(lost >= 1, true)
    assert.equal((await charges(customer)).length, 1)
    assert.equal(await balanceOf(stack, account), '11')
    assert.equal((await attempts(account)).length, 1)
  })

  it('that the bank wants the customer for counts as a decline and sends him a link, which grants when he pays', async () => {
    const { account, customer } = await buyer()
    await declineFrom(customer, 'pm_card_authenticationRequired')
    await enable(account)
    await useUnseen(account, '9', 'auth')
    await settled(stack)
    assert.equal((await read(account)).declines, 1)
    const [notice, ...others] = await notices(account)
    assert.deepEqual([notice?.kind, others], ['payment_action_required', []])
    const { data } = await stack.stripe.checkout.sessions.list({ customer, limit: 1 })
    assert.ok(data[0]?.url)
    assert.equal(notice?.data['payUrl'], data[0].url)
    await stack.control(`checkout/${data[0].id}/pay`, {})
    await settled(stack)
    assert.equal(await balanceOf(stack, account), '11')
    // he has paid: the day that he had for it ends without another attempt
    await stack.clock.advance(stack.clock.now() + DAY_MS)
    assert.equal((await attempts(account)).length, 1)
  })

  it('whose own page the customer leaves is over with it, and it tries again by itself when his day has passed', async () => {
    const { account, customer } = await buyer()
    await declineFrom(customer, 'pm_card_authenticationRequired')
    await enable(account)
    await useUnseen(account, '9', 'left')
    await settled(stack)
    const [page] = (await stack.stripe.checkout.sessions.list({ customer, limit: 1 })).data
    await stack.control(`checkout/${page?.id}/abandon`, {})
    await settled(stack)
    const { rows } = await stack.database.pool.query<{ id: string; state: string; deadline_at: Date | null }>(
      'select id, state, deadline_at from checkout where session_id = $1',
      [page?.id],
    )
    const [order] = rows
    assert.deepEqual([order?.state, order?.deadline_at], ['abandoned', null])
    await eventually('its workflow is over', async () => {
      const { status } = await stack.temporal.workflow
        .getHandle(workflowId.checkout(order?.id ?? ''))
        .describe()
      return status.name === 'COMPLETED'
    })
    assert.equal((await read(account)).enabled, true)
    await declineFrom(customer, 'pm_card_visa')
    await stack.clock.advance(stack.clock.now() + DAY_MS)
    assert.equal(await balanceOf(stack, account), '11')
    assert.deepEqual(
      (await attempts(account)).map(({ state }) => state),
      ['declined', 'succeeded'],
    )
  })

  it('without a card stops, and is refused to whom never had one', async () => {
    const { account, customer } = await buyer()
    await enable(account)
    for (const { id } of (await stack.stripe.customers.listPaymentMethods(customer)).data)
      await stack.stripe.paymentMethods.detach(id)
    await useUnseen(account, '9', 'bare')
    await settled(stack)
    const { enabled, stopped } = await read(account)
    assert.deepEqual([enabled, stopped], [false, 'no_payment_method'])
    assert.deepEqual(
      (await notices(account)).map(({ kind, data }) => [kind, data['reason']]),
      [['top_up_stopped', 'no_payment_method']],
    )
    const stranger = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    const refused = await enable(stranger)
    assert.deepEqual([refused.status, refused.body.code], [409, 'payment_method_missing'])
    assert.equal((await stack.call('GET', `/v1/accounts/${stranger}/top_up`)).status, 404)
  })

  describe('that is paid after all', () => {
    const newAttempt = () => `top_${randomUUID().replaceAll('-', '')}`
    /** An attempt as a worker that died has left it. */
    async function attempted(
      account: string,
      customer: string,
      more: { id?: string; state?: string; payment?: string } = {},
    ): Promise<string> {
      const { id = newAttempt(), state = 'charging', payment = null } = more
      await stack.database.owner.query(
        `insert into top_up_attempt (id, account_id, ordinal, generation, state, price_id, amount_minor, currency,
                                     customer_id, payment_method, payment_id, started_at, ended_at)
         select $5, $1,
                (select count(*) + 1 from top_up_attempt where account_id = $1), 1, $2, price_id, 1000, 'usd', $3, 'pm_1',
                $4, business_now() - interval '1 minute', case when $2 in ('declined', 'failed') then business_now() end
           from catalog_price where lookup_key = 'pack.credits_10.v1'`,
        [account, state, customer, payment, id],
      )
      return id
    }
    const intent = async (customer: string, card: string, metadata: Record<string, string> = {}) => {
      const { id: payment_method } = await stack.stripe.paymentMethods.attach(card, { customer })
      const asked = { amount: 1000, currency: 'usd', customer, payment_method, metadata, confirm: true }
      return await stack.stripe.paymentIntents.create(asked)
    }
    const naming = (perennial_account: string, perennial_top_up: string) => ({
      perennial_account,
      perennial_top_up,
    })

    it('is found with the customer that it charged, who is gone by then', async () => {
      const { account, customer } = await buyer()
      await enable(account)
      await settled(stack)
      const id = newAttempt()
      // no event names the account: only Stripe's list has it
      await intent(customer, 'pm_card_visa', { perennial_top_up: id })
      await stack.stripe.customers.del(customer)
      await settled(stack)
      assert.equal(await balanceOf(stack, account), '10')
      await attempted(account, customer, { id })
      await stack.database.owner.query(
        'update top_up set deadline_at = business_now() where account_id = $1',
        [account],
      )
      await settled(stack)
      assert.deepEqual(await states(account), ['succeeded'])
      assert.equal(await balanceOf(stack, account), '20')
    })

    it('is granted although it had been taken for never made, each for itself', async () => {
      const { account, customer } = await buyer()
      await enable(account)
      await settled(stack)
      const first = await attempted(account, customer, { state: 'failed' })
      const second = await attempted(account, customer, { state: 'failed' })
      const paid = [first, second].map((each) => intent(customer, 'pm_card_visa', naming(account, each)))
      const [, { id } = { id: '' }] = await Promise.all(paid)
      await settled(stack)
      assert.deepEqual(await states(account), ['succeeded', 'succeeded'])
      assert.equal(await balanceOf(stack, account), '30')
      assert.equal((await read(account)).last_attempt?.payment, id)
    })

    it('is granted while another is in flight', async () => {
      const { account, customer } = await buyer()
      await enable(account)
      await settled(stack)
      const before = await intent(customer, 'pm_card_chargeCustomerFail').catch(
        (error: { payment_intent: { id: string } }) => error.payment_intent,
      )
      const declined = await attempted(account, customer, { state: 'declined', payment: before.id })
      await stack.stripe.paymentIntents.update(before.id, { metadata: naming(account, declined) })
      const flying = await intent(customer, 'pm_card_authenticationRequired')
      assert.equal(flying.status, 'requires_action')
      const other = await attempted(account, customer, { state: 'processing', payment: flying.id })
      await stack.stripe.paymentIntents.update(flying.id, { metadata: naming(account, other) })
      await settled(stack)
      const { id: good } = await stack.stripe.paymentMethods.attach('pm_card_visa', { customer })
      await stack.stripe.paymentIntents.confirm(before.id, { payment_method: good })
      await settled(stack)
      assert.deepEqual(await states(account), ['succeeded', 'processing'])
      assert.equal(await balanceOf(stack, account), '20')
      await stack.stripe.paymentIntents.cancel(flying.id)
      await settled(stack)
      assert.deepEqual(await states(account), ['succeeded', 'declined'])
    })
  })

  it('in another currency charges, and counts, in that one', async () => {
    const { account, customer } = await buyer()
    await useUnseen(account, '9', 'euros')
    assert.equal((await enable(account, { currency: 'eur' })).body.code, 'pack_not_found')
    const euros = { purchaseMin: '1', purchaseMax: '1000', purchaseDayMax: '5000' }
    await stack.database.owner.query(`update catalog set limits = limits || $1`, [
      JSON.stringify({ currencies: { eur: euros } }),
    ])
    const product = 'prod_perennial_pack_credits_10'
    const price = await stack.stripe.prices.create({ currency: 'eur', unit_amount: 950, product })
    await stack.database.owner.query(
      `insert into catalog_price (price_id, lookup_key, kind, plan, version, terms, on_sale)
       select $1::text, 'pack.credits_10.eur.v1', kind, plan, version,
              terms || jsonb_build_object('priceId', $1::text, 'currency', 'eur', 'unitAmount', '950'), true
         from catalog_price where lookup_key = 'pack.credits_10.v1'`,
      [price.id],
    )
    assert.equal((await enable(account, { currency: 'eur' })).body.currency, 'eur')
    await settled(stack)
    assert.deepEqual(
      (await charges(customer)).map(({ amount, currency }) => [amount, currency]),
      [[950, 'eur']],
    )
    assert.equal(await balanceOf(stack, account), '11')
    assert.equal((await read(account)).month_minor, '950')
    const { body } = await enable(account)
    assert.deepEqual([body.currency, body.month_minor], ['usd', '0'])
  })
})
