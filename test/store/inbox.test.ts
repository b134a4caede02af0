import assert from 'node:assert/strict'
import type { InboxEvent } from '../../src/domain/event.ts'
import { countOpenAlerts } from '../../src/store/alert.ts'
import { machineNow } from '../../src/store/duty.ts'
import {
  countFailedPass,
  countInbox,
  dueEvents,
  markSignalled,
  park,
  settle,
  storeEvent,
  unparkEvent,
  unsettledFor,
} from '../../src/store/inbox.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const event = (id: string, owner: string | null = 'sub_1'): InboxEvent => ({
  id,
  type: 'invoice.paid',
  created: '2026-11-23T10:00:00.000Z',
  livemode: false,
  apiVersion: '2026-10-28.endive',
  objectId: 'in_1',
  owner,
  unread: false,
  payload: {},
})

describe('the inbox', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
  })
  afterEach(() => database.drop())

  const ids = (events: { eventId: string }[]) => events.map((one) => one.eventId).sort()
  /** Makes every back-off pass. */
  const later = () =>
    database.owner.query(`update processed_webhook_events set next_attempt_at = now() - interval '1 second'`)

  it('keeps an event until a run of its owner has observed after it', async () => {
    await storeEvent(database.pool, event('evt_1'))
    await storeEvent(database.pool, event('evt_2'))
    await storeEvent(database.pool, event('evt_3', 'sub_2'))
    assert.deepEqual(ids(await unsettledFor(database.pool, 'sub_1')), ['evt_1', 'evt_2'])
    await settle(database.pool, ['evt_1'])
    assert.deepEqual(ids(await unsettledFor(database.pool, 'sub_1')), ['evt_2'])
    assert.deepEqual(await countInbox(database.pool), { backlog: 2, parked: 0 })
  })

  it('tells the first delivery from later ones, and who has still to be woken', async () => {
    assert.deepEqual(await storeEvent(database.pool, event('evt_1')), { fresh: true, wake: true })
    assert.deepEqual(await storeEvent(database.pool, event('evt_1')), { fresh: false, wake: true })
    await markSignalled(database.pool, ['evt_1'])
    assert.deepEqual(await storeEvent(database.pool, event('evt_1')), { fresh: false, wake: false })
    assert.deepEqual(await storeEvent(database.pool, event('evt_2', null)), { fresh: true, wake: false })
  })

  it('stores an event once of fifty deliveries at once', async () => {
    const stored = await Promise.all(
      Array.from({ length: 50 }, () => storeEvent(database.pool, event('evt_1'))),
    )
    assert.equal(stored.filter((one) => one.fresh).length, 1)
  })

  it('settles at once what nobody handles, and never gives it to a sweeper', async () => {
    await storeEvent(database.pool, event('evt_1', null))
    assert.deepEqual(await dueEvents(database.pool, 10), [])
    assert.deepEqual(await countInbox(database.pool), { backlog: 0, parked: 0 })
  })

  it('gives a due event to one sweeper only, and then puts it off for longer and longer', async () => {
    for (let index = 0; index < 20; index += 1) await storeEvent(database.pool, event(`evt_${index}`))
    // whatever was put off since is not due, however long this takes
    const start = await machineNow(database.pool)
    const take = (limit: number) => dueEvents(database.pool, limit, start)
    const taken = await Promise.all(Array.from({ length: 6 }, () => take(5)))
    const all = ids(taken.flat())
    assert.equal(new Set(all).size, all.length)
    assert.deepEqual(await take(100).then((rest) => all.length + rest.length), 20)
    assert.deepEqual(await take(100), [])

    for (const seconds of [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600]) {
      await later()
      const before = await machineNow(database.pool)
      const [again] = await dueEvents(database.pool, 100)
      assert.ok(again)
      const { rows } = await database.owner.query<{ most: number; least: number }>(
        `select extract(epoch from next_attempt_at - $2)::float8 as most,
                extract(epoch from next_attempt_at - clock_timestamp())::float8 as least
           from processed_webhook_events where event_id = $1`,
        [again.eventId, before],
      )
      const [{ least, most } = assert.fail()] = rows
      assert.ok(least <= seconds && seconds <= most, `${least} to ${most}, not ${seconds} seconds`)
    }
  })

  it('gives a woken owner time before it is woken again', async () => {
    await storeEvent(database.pool, event('evt_1'))
    const before = await machineNow(database.pool)
    await markSignalled(database.pool, ['evt_1'])
    assert.deepEqual(await dueEvents(database.pool, 10, before), [])
    await later()
    assert.equal((await dueEvents(database.pool, 10)).length, 1)
  })

  it('parks the poisoned with an alert each, and leaves the others', async () => {
    await storeEvent(database.pool, event('evt_poison'))
    await countFailedPass(database.pool, 'sub_1', 'why', 3)
    assert.deepEqual(await countFailedPass(database.pool, 'sub_1', 'why', 3), [])
    await storeEvent(database.pool, event('evt_fresh'))
    assert.deepEqual(await countFailedPass(database.pool, 'sub_1', 'why', 3), ['evt_poison'])
    assert.deepEqual(ids(await dueEvents(database.pool, 10)), ['evt_fresh'])
    assert.deepEqual(await countInbox(database.pool), { backlog: 1, parked: 1 })
    const { rows } = await database.owner.query('select kind, subject, detail, times from alert')
    assert.deepEqual(rows, [
      {
        kind: 'event_parked',
        subject: 'evt_poison',
        detail: 'invoice.paid: not settled after 3 attempts: why',
        times: 1,
      },
    ])
  })

  it('never parks an event because nobody answered: wakes are not attempts', async () => {
    await storeEvent(database.pool, event('evt_1'))
    for (let wake = 0; wake < 40; wake += 1) {
      await dueEvents(database.pool, 10)
      await later()
    }
    assert.deepEqual(await countFailedPass(database.pool, 'sub_1', 'why', 3), [])
    assert.deepEqual(await countInbox(database.pool), { backlog: 1, parked: 0 })
  })

  it('settles what had been parked when a pass has seen it after all, and closes the alert', async () => {
    await storeEvent(database.pool, event('evt_1'))
    await park(database.pool, ['evt_1'], 'unknown price')
    assert.deepEqual(
      (await unsettledFor(database.pool, 'sub_1')).map(({ eventId }) => eventId),
      ['evt_1'],
    )
    await settle(database.pool, ['evt_1'])
    assert.equal(await countOpenAlerts(database.pool), 0)
    assert.deepEqual(await countInbox(database.pool), { backlog: 0, parked: 0 })
  })

  it('takes a parked event back, closes its alert, and settles it like any other', async () => {
    await storeEvent(database.pool, event('evt_1'))
    assert.deepEqual(await park(database.pool, ['evt_1', 'evt_none'], 'unknown price'), ['evt_1'])
    assert.equal(await countOpenAlerts(database.pool), 1)
    assert.equal(await unparkEvent(database.pool, 'evt_1'), true)
    assert.equal(await unparkEvent(database.pool, 'evt_1'), false)
    assert.equal(await countOpenAlerts(database.pool), 0)
    const [due] = await dueEvents(database.pool, 10)
    assert.equal(due?.eventId, 'evt_1')
    await settle(database.pool, ['evt_1'])
    assert.deepEqual(await park(database.pool, ['evt_1'], 'too late'), [])
  })
})
