import assert from 'node:assert/strict'
import { applyPlan } from '../../src/activities/subscription.ts'
import type { KeptTerms } from '../../src/domain/plan.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type {
  PendingFacts,
  SubscriptionFacts,
  SubscriptionPlan,
} from '../../src/domain/subscription-facts.ts'
import { transaction } from '../../src/store/connect.ts'
import { mirrorBefore } from '../../src/store/mirror.ts'
import { fromNow, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const END = '2027-02-01T10:00:00.000Z'
const terms = (plan: string): KeptTerms => ({
  priceId: `price_${plan}`,
  lookupKey: `${plan}.month.v1`,
  plan,
  planName: plan,
  group: 'default',
  interval: 'month',
  version: 'v1',
  credits: '20',
  unitAmount: '2000',
  currency: 'usd',
  graceHours: 72,
  discountRule: 'proportional',
})
const TERMS = Object.fromEntries(['a', 'b', 'c'].map((plan) => [`price_${plan}`, terms(plan)]))
const to = (plan: string): Partial<SubscriptionFacts> => {
  const pending: PendingFacts = {
    state: 'scheduled',
    priceId: `price_${plan}`,
    quantity: 1,
    effectiveAt: END,
    expiresAt: null,
    cause: 'sub_sched_1',
  }
  return { schedule: 'sub_sched_1', pending }
}

describe('what is news of a subscription', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  /**
   * One state after the other, each found by a pass that is applied twice, and by one that finds it as it was.
   * @param late a worker that was thought dead applies the pass of the first state once more, after this many states
   */
  async function toldOf(states: Partial<SubscriptionFacts>[], late?: number): Promise<string[]> {
    const account = await openAccount(database)
    const id = `sub_${account.slice(4)}`
    let first: SubscriptionPlan | undefined
    const apply = (plan: SubscriptionPlan) =>
      transaction(database.pool, (client) => applyPlan(client, plan, []))
    for (const [index, state] of [{}, ...states].entries()) {
      const at = await fromNow(database, 0)
      const subscription: SubscriptionFacts = {
        id,
        account,
        order: null,
        status: 'active',
        priceId: 'price_a',
        quantity: 1,
        periodStart: '2027-01-01T10:00:00.000Z',
        periodEnd: END,
        anchor: '2027-01-01T10:00:00.000Z',
        cancelAt: null,
        cancelAtPeriodEnd: false,
        endedAt: null,
        created: '2027-01-01T10:00:00.000Z',
        latestInvoice: 'in_1',
        ...state,
      }
      for (const times of [2, 1]) {
        const before = await mirrorBefore(database.pool, id)
        const facts = { at, subscription, invoices: [], terms: TERMS, known: [], pending: [], before }
        const plan = decideSubscription(facts)
        assert.ok(plan)
        if (index === 1) first ??= plan
        for (let time = 0; time < times; time += 1) await apply(plan)
      }
      if (index === late && first !== undefined) await apply(first)
    }
    const { rows } = await database.pool.query<{ kind: string; what: string | null }>(
      `select kind, coalesce(data ->> 'toPlan', data ->> 'resumesAt') as what
         from notice where account_id = $1 order by recorded_at`,
      [account],
    )
    return rows.map(({ kind, what }) => (what === null ? kind : `${kind} ${what}`))
  }

  it('cancelled, resumed and cancelled again for the same end, it is told each time, and each once', async () => {
    const cancelled = { cancelAt: END, cancelAtPeriodEnd: true }
    const three = ['subscription_cancelling', 'subscription_resumed', 'subscription_cancelling']
    assert.deepEqual(await toldOf([cancelled, {}, cancelled]), three)
    assert.deepEqual(await toldOf([cancelled, {}, {}, cancelled], 2), three, 'and when one comes late')
  })

  it('a change to come that is replaced and asked for again in one schedule is told each time', async () => {
    assert.deepEqual(await toldOf([to('b'), to('c'), to('b'), {}, to('b')]), [
      'plan_change_scheduled b',
      'plan_change_scheduled c',
      'plan_change_scheduled b',
      'plan_change_withdrawn b',
      'plan_change_scheduled b',
    ])
  })

  it('a plan that is changed there and back without an invoice is told each time', async () => {
    const b = { priceId: 'price_b' }
    assert.deepEqual(await toldOf([b, {}, b]), ['plan_changed b', 'plan_changed a', 'plan_changed b'])
  })

  it('a pause is told with its end when it has one, and that it is over; the next one, too', async () => {
    const paused = { paused: { resumesAt: END } }
    const stopped = { status: 'paused', paused: { resumesAt: null } }
    assert.deepEqual(await toldOf([paused, {}, stopped, {}]), [
      `subscription_paused ${END}`,
      'subscription_unpaused',
      'subscription_paused',
      'subscription_unpaused',
    ])
  })

  it('when it ends paused, its end is told and no going on', async () => {
    const stopped = { status: 'paused', paused: { resumesAt: null } }
    const ended = { status: 'canceled', endedAt: END }
    assert.deepEqual(await toldOf([stopped, ended]), ['subscription_paused', 'subscription_ended'])
  })
})
