import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { monthAt } from '../../src/domain/free.ts'
import { idFrom } from '../../src/domain/id.ts'
import {
  cancelFreeAt,
  firstEnrolment,
  insertFree,
  keepFree,
  makeFreeDue,
  paidBeside,
  readFree,
} from '../../src/store/free.ts'
import { keepMirror } from '../../src/store/mirror.ts'
import { findSubscription, listSubscriptions, liveSubscription } from '../../src/store/subscription.ts'
import { openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { FREE_TERMS as terms } from '../support/terms.ts'

const CREATED = '2027-01-31T10:00:00.000Z'

describe('a free plan in the database', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
  })

  async function enrol(group = 'default'): Promise<string> {
    const id = idFrom('free', randomUUID())
    const { start: periodStart, end: periodEnd } = monthAt(CREATED, CREATED)
    await insertFree(database.pool, {
      id,
      account,
      terms: { ...terms, group },
      anchor: CREATED,
      created: CREATED,
      periodStart,
      periodEnd,
      metadata: { seat: '7' },
    })
    return id
  }
  const plan = {
    status: 'active',
    periodStart: CREATED,
    periodEnd: '2027-02-28T10:00:00.000Z',
    endedAt: null,
    deadline: '2027-02-28T10:00:00.000Z',
    givesWay: false,
  } as const
  const ended = { ...plan, status: 'canceled', endedAt: plan.periodEnd, deadline: null } as const
  const seen = { at: CREATED, deadline: CREATED }
  const mirror = {
    order: null,
    plan: 'pro',
    group: 'default',
    interval: 'month',
    priceId: 'price_1',
    quantity: 1,
    status: 'active',
    periodStart: CREATED,
    periodEnd: plan.periodEnd,
    anchor: CREATED,
    cancelAt: null,
    endedAt: null,
    created: CREATED,
    deadline: null,
    attention: null,
    observedAt: CREATED,
  } as const
  const deadlineOf = async (id: string) => (await readFree(database.pool, id))?.subscription.deadline

  it('is one of twenty at once; the others are told which', async () => {
    const tries = await Promise.allSettled(Array.from({ length: 20 }, () => enrol()))
    const made = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    assert.equal(made.length, 1)
    for (const one of tries) {
      if (one.status === 'fulfilled') continue
      assert.deepEqual([one.reason.code, one.reason.data], ['subscription_exists', { subscription: made[0] }])
    }
    await enrol('addons')
  })

  it('is due at once, and is read as it was written', async () => {
    const id = await enrol()
    assert.deepEqual(await readFree(database.pool, id), {
      subscription: {
        id,
        account,
        plan: 'free',
        group: 'default',
        status: 'active',
        anchor: CREATED,
        created: CREATED,
        cancelAt: null,
        deadline: CREATED,
      },
      price: 'free.free.v1',
    })
    const row = await findSubscription(database.pool, id)
    assert.deepEqual(
      [row?.id, row?.stripe_id, row?.status, row?.interval, row?.quantity, row?.metadata],
      [id, null, 'active', 'month', 1, { seat: '7' }],
    )
    assert.deepEqual(await listSubscriptions(database.pool, account, { limit: 10 }), [row])
    assert.equal(await readFree(database.pool, 'free_0'), undefined)
  })

  it('does not stand in the way of what is paid for, and neither does that in its way', async () => {
    const id = await enrol()
    assert.equal(await liveSubscription(database.pool, account, 'default'), undefined)
    const first = `sub_${account}_1`
    const { role } = await keepMirror(database.pool, { ...mirror, id: first, account })
    assert.equal(role, 'primary')
    assert.equal((await liveSubscription(database.pool, account, 'default'))?.id, first)
    const second = await keepMirror(database.pool, { ...mirror, id: `sub_${account}_2`, account })
    assert.equal(second.role, 'duplicate')
    await keepMirror(database.pool, { ...mirror, id: `sub_${account}_3`, account, group: 'addons' })
    assert.deepEqual(await paidBeside(database.pool, account, 'default'), [
      { status: 'active', created: CREATED, endedAt: null },
      { status: 'active', created: CREATED, endedAt: null },
    ])
    await keepFree(database.pool, id, ended, seen)
    await enrol()
  })

  it('counts from the first enrolment for ever, a group for itself', async () => {
    assert.equal(await firstEnrolment(database.pool, account, 'default'), undefined)
    await keepFree(database.pool, await enrol(), ended, seen)
    assert.equal(await firstEnrolment(database.pool, account, 'default'), CREATED)
    assert.equal(await firstEnrolment(database.pool, account, 'addons'), undefined)
  })

  it('keeps a deadline that was set while a run was looking', async () => {
    const id = await enrol()
    await keepFree(database.pool, id, plan, seen)
    assert.equal(await deadlineOf(id), plan.deadline)
    const now = { ...seen, deadline: plan.deadline }
    assert.deepEqual(await makeFreeDue(database.pool, account, 'default', CREATED), [id])
    const due = await deadlineOf(id)
    assert.notEqual(due, plan.deadline)
    await keepFree(database.pool, id, plan, now)
    assert.equal(await deadlineOf(id), due, 'what came meanwhile is still to be looked at')
    await keepFree(database.pool, id, plan, { ...now, deadline: due ?? null })
    assert.equal(await deadlineOf(id), plan.deadline)
  })

  it('that has ended stays as it ended; what only then is known to have been unpaid makes it due once more', async () => {
    const id = await enrol()
    await cancelFreeAt(database.pool, id, plan.periodEnd)
    await cancelFreeAt(database.pool, id, '2030-01-01T00:00:00.000Z')
    assert.equal((await readFree(database.pool, id))?.subscription.cancelAt, plan.periodEnd)
    await keepFree(database.pool, id, ended, seen)
    // a run that was late
    await keepFree(database.pool, id, plan, seen)
    const row = await findSubscription(database.pool, id)
    assert.deepEqual([row?.status, row?.ended_at?.toISOString()], ['canceled', plan.periodEnd])
    assert.equal(await deadlineOf(id), null)
    assert.deepEqual(await makeFreeDue(database.pool, account, 'default', plan.periodEnd), [])
    assert.deepEqual(await makeFreeDue(database.pool, account, 'default', CREATED), [id])
    const due = await deadlineOf(id)
    await keepFree(database.pool, id, ended, { at: CREATED, deadline: due ?? null })
    assert.equal(await deadlineOf(id), null)
  })

  const wrong: [what: string, change: string, constraint: string][] = [
    ['Stripe’s id', `id = 'sub_1'`, 'subscription_id'],
    ['another role', `role = 'primary'`, 'subscription_id'],
    ['a status of Stripe', `status = 'past_due'`, 'subscription_fallback'],
    ['no terms', 'price_id = null', 'subscription_fallback'],
    ['an end without a time', `status = 'canceled'`, 'subscription_fallback'],
  ]
  for (const [what, change, constraint] of wrong) {
    it(`cannot have ${what}`, async () => {
      const id = await enrol()
      const changed = database.owner.query(`update subscription set ${change} where id = $1`, [id])
      await assert.rejects(changed, { code: '23514', constraint })
    })
  }
})
