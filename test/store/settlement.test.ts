import assert from 'node:assert/strict'
import { createSubscriptionActivities } from '../../src/activities/subscription.ts'
import type { SubscriptionPlan } from '../../src/domain/subscription-facts.ts'
import { transaction } from '../../src/store/connect.ts'
import { settlementsOf, writeSettlements } from '../../src/store/settlement.ts'
import { assertBooks, fromNow, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('what an account owes for what was given back', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
  })
  afterEach(() => assertBooks(database))

  const owed = async (subscription = 'sub_none') => await settlementsOf(database.pool, account, subscription)
  const settle = async (subscription: string, invoice: string, credits: string) => {
    const settlement = { key: `proration:${invoice}:price_m`, invoice, owed: credits }
    await transaction(database.pool, (client) =>
      writeSettlements(client, account, subscription, [settlement]),
    )
  }
  const apply = async (plan: SubscriptionPlan) => {
    const unused = {} as never
    const deps = { pool: database.pool, gateway: unused, collection: unused, changes: unused, reach: unused }
    return await createSubscriptionActivities(deps).applySubscription({ plan, events: [] })
  }

  /** A month that was paid and makes good what was owed when it was decided. */
  async function paidMonth(subscription: string, group: string, seen: string): Promise<SubscriptionPlan> {
    const at = await fromNow(database, 0)
    const invoice = `in_${subscription}`
    const payment = `pi_${subscription}`
    const key = `invoice_line:il_${subscription}`
    return {
      payments: [{ id: payment, invoice, amountMinor: '5000', currency: 'usd', paidAt: at }],
      entitlements: [],
      grants: [
        {
          key,
          amount: String(50 - Number(seen)),
          periodStart: at,
          expiresAt: null,
          carry: '0',
          payment,
          reason: 'first_payment',
          source: {},
        },
      ],
      settlements: seen === '0' ? [] : [{ key, invoice, owed: `-${seen}` }],
      cuts: [],
      notices: [],
      mirror: {
        id: subscription,
        account,
        order: null,
        plan: 'tier_6_50',
        group,
        interval: 'month',
        priceId: 'price_m',
        quantity: 1,
        status: 'active',
        periodStart: at,
        periodEnd: at,
        anchor: at,
        cancelAt: null,
        endedAt: null,
        created: at,
        deadline: null,
        attention: null,
        observedAt: at,
      },
      owed: seen,
      over: false,
    }
  }

  it('is the sum over its subscriptions, also those that ended; and keys are of one', async () => {
    assert.deepEqual(await owed(), { settled: [], owed: '0' })
    await settle(`sub_a_${account}`, `in_1_${account}`, '30')
    await settle(`sub_b_${account}`, `in_2_${account}`, '2.5')
    const other = await openAccount(database)
    assert.deepEqual(await settlementsOf(database.pool, other, `sub_a_${account}`), {
      settled: [],
      owed: '0',
    })
    const { settled, owed: credits } = await owed(`sub_b_${account}`)
    assert.deepEqual([settled, credits], [[`proration:in_2_${account}:price_m`], '32.5'])
  })

  it('is made good once by two subscriptions that settle at the same moment: the slower one looks again', async () => {
    await settle(`sub_ended_${account}`, `in_given_${account}`, '30')
    const [one, two] = [
      await paidMonth(`sub_1_${account}`, 'g1', '30'),
      await paidMonth(`sub_2_${account}`, 'g2', '30'),
    ]
    const applied = await Promise.all([apply(one), apply(two)])
    const stale = applied.map((each) => 'stale' in each)
    assert.equal(stale.filter(Boolean).length, 1)
    assert.equal((await owed()).owed, '0')
    const again = stale[0] ? 1 : 2
    const late = await paidMonth(`sub_${again}_${account}`, `g${again}`, '0')
    assert.deepEqual(await apply(late), { role: 'primary', settled: true })
    const { rows } = await database.pool.query<{ total: string }>(
      'select trim_scale(sum(amount))::text as total from posting where account_id = $1',
      [account],
    )
    assert.equal(rows[0]?.total, '70')
  })

  it('what is given back between a look and the deed is seen before anything is granted', async () => {
    const plan = await paidMonth(`sub_3_${account}`, 'g3', '0')
    await settle(`sub_ended_${account}`, `in_late_${account}`, '30')
    assert.deepEqual(await apply(plan), { stale: true })
    const { rows } = await database.pool.query(
      `select id from payment where account_id = $1 union all select key from posting where account_id = $1
       union all select id from subscription where account_id = $1`,
      [account],
    )
    assert.deepEqual(rows, [])
  })

  it('a plan that pays nothing does not care; nor does one of an earlier version, which does not say', async () => {
    await settle(`sub_ended_${account}`, `in_${account}`, '30')
    const { owed: _unsaid, ...old } = await paidMonth(`sub_4_${account}`, 'g4', '0')
    assert.deepEqual(await apply(old), { role: 'primary', settled: true })
    const idle = { ...(await paidMonth(`sub_5_${account}`, 'g5', '0')), payments: [], grants: [] }
    assert.deepEqual(await apply(idle), { role: 'primary', settled: true })
  })
})
