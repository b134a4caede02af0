import assert from 'node:assert/strict'
import { keepTerms, putInForce } from '../../src/store/catalog-price.ts'
import { finishCommand } from '../../src/store/command.ts'
import { advanceClock, DAY_MS } from '../support/ledger.ts'
import { PACK_TERMS } from '../support/terms.ts'
import { type Answer, type ApiUnderTest, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

const LIMITS = {
  grantMax: '500',
  purchaseMin: '2000',
  purchaseMax: '50000',
  purchaseDayMax: '100000',
  purchaseHourMax: 10,
}
const URLS = { success_url: 'https://example.com/ok', cancel_url: 'https://example.com/no' }

describe('/v1/purchases', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  /** another process of the same installation */
  let other: ApiUnderTest
  before(async () => {
    api = await startApi({ reach: workflows.reach })
    other = await startApi({ reach: workflows.reach, beside: api })
    await keepTerms(api.database.owner, PACK_TERMS)
    await api.database.owner.query('update catalog_price set on_sale = true')
    await putInForce(api.database.owner, { version: 'v1', currency: 'usd', limits: LIMITS })
  })
  after(async () => {
    await other.close()
    await api.close()
  })
  beforeEach(() => {
    workflows.sent = []
    workflows.answer = (command) =>
      finishCommand(api.database.pool, command, { state: 'done', statusCode: 201, result: {} })
  })

  const newAccount = async (): Promise<string> => (await api.post('/v1/accounts', {})).body.id
  const buy = (account: string, more: Record<string, unknown> = {}, headers = {}, by = api) =>
    by.post('/v1/purchases', { account, pack: 'credits_10', quantity: 2, ...URLS, ...more }, headers)
  const bought = async (account: string) =>
    (
      await api.database.owner.query<{ minor: string | null }>(
        'select sum(amount_minor) as minor from checkout where account_id = $1',
        [account],
      )
    ).rows[0]?.minor
  const settle = (order: string, state: string) =>
    api.database.owner.query(
      `update checkout set state = $2, paid_at = case when $2 = 'paid' then business_now() end,
              granted = case when $2 = 'paid' then 1 end, payment_id = case when $2 = 'paid' then 'pi_1' end
        where id = $1`,
      [order, state],
    )
  const codes = (answers: Answer[]) =>
    answers.map(({ status, body }) => (status === 201 ? 'bought' : body.code))

  it('places an order: its workflow opens the page, and the order tells what it costs', async () => {
    const account = await newAccount()
    const { status, body } = await buy(account, { metadata: { cart: '7' } })
    assert.equal(status, 201)
    const { id, created_at: _, ...rest } = body
    assert.match(id, /^ord_[0-9a-f]{32}$/)
    assert.deepEqual(rest, {
      object: 'purchase',
      status: 'open',
      account,
      pack: 'credits_10',
      quantity: 2,
      credits: '20',
      amount_minor: '2000',
      currency: 'usd',
      checkout: null,
      granted: null,
      payment: null,
      metadata: { cart: '7' },
    })
    assert.deepEqual(
      workflows.sent.map(({ owner, operation }) => [owner, operation]),
      [[`checkout/${id}`, 'open']],
    )
  })

  it('the same key places one order and is answered the same, also after it was paid', async () => {
    const account = await newAccount()
    const first = await buy(account, {}, { 'idempotency-key': 'k' })
    await settle(first.body.id, 'paid')
    const again = await buy(account, {}, { 'idempotency-key': 'k' }, other)
    assert.equal(again.text, first.text)
    assert.equal(again.headers['idempotent-replayed'], 'true')
    assert.equal(await bought(account), '2000')
  })

  it('S-4: the amount is the catalogue’s times a quantity within limits, whatever a caller sends', async () => {
    const account = await newAccount()
    for (const quantity of [0, -1, 1.5, '2', 100_001, 1e300, Number.MAX_SAFE_INTEGER])
      assert.deepEqual(codes([await buy(account, { quantity })]), ['request_invalid'], `${quantity}`)
    for (const quantity of [1, 51, 100_000]) {
      const { status, body } = await buy(account, { quantity })
      assert.deepEqual([status, body.code, body.least, body.most], [400, 'purchase_limit', '2000', '50000'])
    }
    // nothing else names an amount
    for (const field of ['amount', 'amount_minor', 'credits', 'unit_amount', 'price'])
      assert.deepEqual(codes([await buy(account, { [field]: '1000000' })]), ['request_invalid'], field)
    assert.equal(await bought(account), null)
    assert.deepEqual(workflows.sent, [])
  })

  it('refuses what is not on sale, whom it does not know, and whoever may not buy', async () => {
    const account = await newAccount()
    assert.deepEqual(codes([await buy(account, { pack: 'credits_11' })]), ['pack_not_found'])
    assert.deepEqual(codes([await buy('acc_0')]), ['account_not_found'])
    assert.equal((await api.get('/v1/purchases/ord_0')).body.code, 'purchase_not_found')
    assert.equal((await api.get('/v1/purchases?account=acc_0')).body.code, 'account_not_found')
  })

  it('ten orders at once through two processes never exceed what a day allows', async () => {
    const account = await newAccount()
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        buy(account, { quantity: 30 }, {}, index % 2 === 0 ? api : other),
      ),
    )
    assert.deepEqual(
      codes(answers).sort((a, b) => `${a}`.localeCompare(`${b}`)),
      [
        ...Array.from({ length: 3 }, () => 'bought'),
        ...Array.from({ length: 7 }, () => 'purchase_day_limit'),
      ],
    )
    assert.equal(await bought(account), '90000')
    const { status, body } = await buy(account, { quantity: 11 })
    assert.deepEqual([status, body.limit, body.left], [409, '100000', '10000'])
    assert.equal((await buy(account, { quantity: 10 })).status, 201)
  })

  it('counts for the day what was paid in the last 24 hours and what may still be, and nothing else', async () => {
    const account = await newAccount()
    const order = async () => {
      const { body } = await buy(account, { quantity: 50 })
      return body.id ?? body.code
    }
    const [first, second] = [await order(), await order()]
    assert.equal(await order(), 'purchase_day_limit')
    await settle(first, 'abandoned')
    const third = await order()
    await settle(third, 'paid')
    await settle(second, 'processing')
    await advanceClock(api.database, DAY_MS - 60_000)
    assert.equal(await order(), 'purchase_day_limit')
    await advanceClock(api.database, 60_000)
    // what was paid is a day old; what is on its way counts for as long as it is
    assert.match(await order(), /^ord_/)
    assert.equal(await order(), 'purchase_day_limit')
  })

  it('audit, recommendation 8: ten orders an account and hour, then 429 with when to come back', async () => {
    const account = await newAccount()
    for (let index = 0; index < 10; index += 1) {
      const { body } = await buy(account)
      await settle(body.id, 'abandoned')
    }
    await api.database.owner.query(
      `update checkout set ordered_at = ordered_at - interval '10 minutes' where account_id = $1`,
      [account],
    )
    const refused = await buy(account)
    assert.deepEqual([refused.status, refused.body.code], [429, 'purchase_rate'])
    const after = Number(refused.headers['retry-after'])
    assert.ok(after > 2900 && after <= 3000, `${after}`)
    assert.equal(refused.body.retry_after, after)
    // the clock of the sandbox does not bring it nearer, another account is not meant
    await advanceClock(api.database, DAY_MS)
    assert.deepEqual(codes([await buy(account)]), ['purchase_rate'])
    assert.equal((await buy(await newAccount())).status, 201)
    await api.database.owner.query(
      `update checkout set ordered_at = ordered_at - interval '50 minutes' where account_id = $1`,
      [account],
    )
    assert.equal((await buy(account)).status, 201)
  })

  it('lists an account’s orders, newest first, page by page', async () => {
    const account = await newAccount()
    const ids: string[] = []
    for (let index = 0; index < 3; index += 1) ids.unshift((await buy(account)).body.id)
    const { body } = await api.get(`/v1/purchases?account=${account}&limit=2`)
    assert.deepEqual([body.data.map(({ id }: { id: string }) => id), body.has_more], [ids.slice(0, 2), true])
    const next = await api.get(`/v1/purchases?account=${account}&cursor=${body.next_cursor}`)
    assert.deepEqual(
      next.body.data.map(({ id }: { id: string }) => id),
      ids.slice(2),
    )
  })
})
