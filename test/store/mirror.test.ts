import assert from 'node:assert/strict'
import type { Mirror } from '../../src/domain/subscription-facts.ts'
import { lockWallet } from '../../src/ledger/lookup.ts'
import { type Client, transaction } from '../../src/store/connect.ts'
import { keepDuplicate, makeDuplicatesDue, primaryBeside } from '../../src/store/duplicate.ts'
import { keepMirror } from '../../src/store/mirror.ts'
import { liveSubscription } from '../../src/store/subscription.ts'
import { openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const AT = '2027-01-31T10:00:00.000Z'

describe('the mirrors of an account’s subscriptions', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
  })

  const id = (name: string) => `sub_${account.slice(4)}${name}`
  const keep = (client: Client, name: string, more: Partial<Mirror> = {}) =>
    keepMirror(client, {
      id: id(name),
      account,
      order: null,
      plan: 'pro',
      group: 'default',
      interval: 'month',
      priceId: 'price_1',
      quantity: 1,
      status: 'active',
      periodStart: AT,
      periodEnd: '2027-02-28T10:00:00.000Z',
      anchor: AT,
      cancelAt: null,
      endedAt: null,
      created: AT,
      deadline: null,
      attention: null,
      observedAt: AT,
      ...more,
    })
  /** As a pass does. */
  const pass = (name: string, more: Partial<Mirror> = {}) =>
    transaction(database.pool, async (client) => {
      await lockWallet(client, account)
      const kept = await keep(client, name, more)
      await makeDuplicatesDue(client, kept.orphans)
      return kept
    })
  const rows = async () =>
    (
      await database.pool.query<{ role: string; attention: string | null; due: boolean }>(
        `select role, attention, deadline_at <= business_now() as due from subscription
          where account_id = $1 and status = 'active' order by role desc, id`,
        [account],
      )
    ).rows

  it('that come at the same moment, again and again, have one primary, whatever the order', async () => {
    const names = ['a', 'b', 'c', 'd']
    const passes = [...names, ...names.toReversed(), ...names].map((name) => pass(name))
    await Promise.all(passes)
    assert.deepEqual(
      (await rows()).map(({ role }) => role),
      ['primary', 'duplicate', 'duplicate', 'duplicate'],
    )
  })

  it('that end and change groups at the same moment, in opposite order, leave one primary in each group', async () => {
    for (const [name, group] of [
      ['a', 'default'],
      ['b', 'default'],
      ['c', 'addons'],
      ['d', 'addons'],
    ] as const)
      await pass(name, { group })
    const ways = ['addons', 'default']
    await Promise.all(
      Array.from({ length: 8 }, (_, round) => [
        pass('a', { group: ways[round % 2] ?? '' }),
        pass('c', { group: ways[(round + 1) % 2] ?? '' }),
      ]).flat(),
    )
    await Promise.all([pass('b'), pass('d', { group: 'addons' })])
    const { rows: left } = await database.pool.query<{ plan_group: string; primaries: number }>(
      `select plan_group, count(*) filter (where role = 'primary')::int as primaries from subscription
        where account_id = $1 group by plan_group order by plan_group`,
      [account],
    )
    assert.deepEqual(left, [
      { plan_group: 'addons', primaries: 1 },
      { plan_group: 'default', primaries: 1 },
    ])
  })

  it('a duplicate is due when its primary has ended, and is the primary when it has looked', async () => {
    await pass('a')
    await pass('b')
    assert.equal(await primaryBeside(database.pool, id('b')), id('a'))
    await pass('a', { status: 'canceled' })
    assert.deepEqual(await rows(), [{ role: 'duplicate', attention: 'duplicate_subscription', due: true }])
    assert.equal(await primaryBeside(database.pool, id('b')), undefined)
    // until then nobody buys another one
    assert.equal((await liveSubscription(database.pool, account, 'default'))?.id, id('b'))
    const { changed } = await pass('b')
    assert.equal(changed?.['role'], 'primary')
    assert.deepEqual(await rows(), [{ role: 'primary', attention: null, due: null }])
  })

  it('a primary keeps no approval that it had as a duplicate', async () => {
    await pass('a')
    await pass('b')
    const { rows: made } = await database.owner.query<{ id: string }>(
      `insert into approval (id, kind, account_id, key, plan, plan_hash, reason_code, requested_by, expires_at)
       values ('apr_' || md5($1), 'duplicate_subscription', $1, $1, '{}', 'h', 'test', 'system',
               business_now() + interval '1 day') returning id`,
      [account],
    )
    await transaction(database.pool, (client) => keepDuplicate(client, id('b'), made[0]?.id ?? ''))
    await pass('a', { status: 'canceled' })
    await pass('b')
    const { rows: kept } = await database.pool.query('select kept_by from subscription where id = $1', [
      id('b'),
    ])
    assert.deepEqual(kept, [{ kept_by: null }])
  })
})
