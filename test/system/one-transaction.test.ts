import assert from 'node:assert/strict'
import { createSubscriptionActivities } from '../../src/activities/subscription.ts'
import type { SubscriptionPlan } from '../../src/domain/subscription-facts.ts'
import { transaction } from '../../src/store/connect.ts'
import { cutEntitlements } from '../../src/store/entitlement.ts'
import { storeEvent } from '../../src/store/inbox.ts'
import { assertBooks, DAY_MS, fromNow, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('law 3: what a run applies is one transaction', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
    account = await openAccount(database)
  })
  after(() => database.drop())
  afterEach(() => assertBooks(database))

  const count = async (sql: string) =>
    Number((await database.owner.query(`select count(*) from ${sql}`)).rows[0].count)
  const written = async () => ({
    payments: await count('payment'),
    entitlements: await count('entitlement'),
    granted: await count('entitlement where granted_at is not null'),
    postings: await count('posting'),
    notices: await count('notice'),
    audit: await count(`audit_log where action = 'subscription'`),
    settlements: await count('settlement'),
    cuts: await count('entitlement where cut > 0'),
    mirrors: await count('subscription'),
    settled: await count('processed_webhook_events where settled_at is not null'),
  })

  /** A paid year: a payment, two months, the first of which is due. */
  async function plan(): Promise<SubscriptionPlan> {
    const [at, later] = [await fromNow(database, 0), await fromNow(database, 30 * DAY_MS)]
    const month = (index: number) => ({
      key: `invoice_line:il_1:${index}`,
      amount: '20',
      dueAt: index === 0 ? at : later,
      periodEnd: later,
      expiresAt: later,
      payment: 'pi_1',
      source: {},
    })
    return {
      payments: [{ id: 'pi_1', invoice: 'in_1', amountMinor: '2000', currency: 'usd', paidAt: at }],
      entitlements: [month(0), month(1)],
      grants: [{ ...month(0), carry: '0', periodStart: at, reason: 'first_payment' }],
      settlements: [{ key: 'proration:in_1:price_y', invoice: 'in_1', owed: '1' }],
      cuts: [{ key: 'invoice_line:il_1:1', amount: '5' }],
      notices: [],
      mirror: {
        id: 'sub_1',
        account,
        order: null,
        plan: 'tier_2_20',
        group: 'default',
        interval: 'year',
        priceId: 'price_y',
        quantity: 1,
        status: 'active',
        periodStart: at,
        periodEnd: later,
        anchor: at,
        cancelAt: null,
        endedAt: null,
        created: at,
        deadline: later,
        attention: null,
        observedAt: at,
      },
      over: false,
    }
  }

  it('all of it or nothing of it; and the second time it changes nothing', async () => {
    await storeEvent(database.pool, {
      id: 'evt_1',
      type: 'invoice.paid',
      created: '2026-11-23T10:00:00.000Z',
      livemode: false,
      apiVersion: null,
      objectId: 'in_1',
      owner: 'sub_1',
      unread: false,
      payload: {},
    })
    const activities = createSubscriptionActivities({
      pool: database.pool,
      gateway: {} as never,
      collection: {} as never,
      changes: {} as never,
      reach: {} as never,
    })
    const input = { plan: await plan(), events: ['evt_1'] }
    const nothing = await written()
    assert.deepEqual(new Set(Object.values(nothing)), new Set([0]))

    // the last thing but one that a run writes is refused
    await database.owner.query(`alter table subscription add constraint no_plan check (plan <> 'tier_2_20')`)
    await assert.rejects(activities.applySubscription(input))
    await database.owner.query('alter table subscription drop constraint no_plan')
    assert.deepEqual(await written(), nothing)
    // and the very last
    await database.owner.query(
      'alter table processed_webhook_events add constraint never check (settled_at is null)',
    )
    await assert.rejects(activities.applySubscription(input))
    await database.owner.query('alter table processed_webhook_events drop constraint never')
    assert.deepEqual(await written(), nothing)

    const all = {
      payments: 1,
      entitlements: 2,
      granted: 1,
      postings: 1,
      notices: 1,
      audit: 1,
      settlements: 1,
      cuts: 1,
      mirrors: 1,
      settled: 1,
    }
    assert.deepEqual(await activities.applySubscription(input), { role: 'primary', settled: true })
    assert.deepEqual(await written(), all)
    assert.deepEqual(await activities.applySubscription(input), { role: 'primary', settled: true })
    assert.deepEqual(await written(), all)
  })

  it('a month that was granted is not made smaller afterwards: the facts are read again', async () => {
    const { pool } = database
    const cut = (key: string, amount: string) =>
      transaction(pool, (client) => cutEntitlements(client, [{ key, amount }]))
    await assert.rejects(cut('invoice_line:il_1:0', '5'), /in the meantime/)
    // told twice it is cut once, and never grows again
    await cut('invoice_line:il_1:1', '5')
    await assert.rejects(cut('invoice_line:il_1:1', '6'), /in the meantime/)
  })
})
