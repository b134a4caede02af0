import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Stripe from 'stripe'
import { createCatchUpActivities } from '../../src/activities/catch-up.ts'
import { readAgain } from '../../src/activities/read-again.ts'
import { beginPass, missingOf, storeMissing } from '../../src/store/catch-up.ts'
import { machineNow } from '../../src/store/duty.ts'
import { countInbox, dueEvents, storeEvent } from '../../src/store/inbox.ts'
import { projectEvent } from '../../src/stripe/event.ts'
import type { EventPage } from '../../src/stripe/event-list.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const VERSION = '2026-10-28.endive'
const PAGE = 100
const NOW_S = Math.floor(Date.now() / 1000)

type Listed = ReturnType<typeof listed>

/** The nth newest event of the list, a second older than the one before. */
const listed = (number: number, more: Record<string, unknown> = {}) => ({
  id: `evt_${String(number).padStart(6, '0')}`,
  object: 'event',
  type: 'customer.subscription.updated',
  api_version: VERSION,
  created: NOW_S - number,
  livemode: false,
  data: { object: { id: `sub_${number % 50}` } as Record<string, unknown> },
  ...more,
})
const many = (count: number) => Array.from({ length: count }, (_, number) => listed(number))
const at = ({ created }: Listed) => new Date(created * 1000).toISOString()

/** A list as Stripe's: newest first, a hundred a page, from `from` on. `asked` has the cursors that it was asked for. */
function listOf(events: Listed[]) {
  const list = {
    asked: [] as (string | null)[],
    froms: new Set<string>(),
    version: VERSION,
    async page(from: string, after: string | null): Promise<EventPage> {
      list.asked.push(after)
      list.froms.add(from)
      const start = after === null ? 0 : events.findIndex(({ id }) => id === after) + 1
      const left = events.slice(start).filter((event) => at(event) >= from)
      const page = left.slice(0, PAGE)
      return { events: page, next: left.length > PAGE ? page.at(-1)?.id : undefined }
    },
  }
  return list
}

describe('catching up with Stripe’s event list', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
  })
  afterEach(() => database.drop())

  const duty = (events: ReturnType<typeof listOf>, workMs?: number) =>
    createCatchUpActivities({ pool: database.pool, events, livemode: false }, workMs).catch_up()
  const stored = async () =>
    (
      await database.pool.query<{ many: number }>(
        'select count(*)::int as many from processed_webhook_events',
      )
    ).rows[0]?.many
  const kept = async () =>
    (
      await database.pool.query<{
        compared_until: Date | null
        pass_from: Date | null
        pass_after: string | null
      }>('select compared_until, pass_from, pass_after from catch_up')
    ).rows[0]
  const gaps = async () =>
    (
      await database.pool.query<{ detail: string }>(
        `select detail from alert where kind = 'stripe_events_gap' and resolved_at is null`,
      )
    ).rows

  it('stores what is missing, leaves what is there, and finds nothing the next time', async () => {
    const events = many(250)
    for (const each of events.slice(0, 5)) await storeEvent(database.pool, projectEvent(each, VERSION))
    const first = await duty(listOf(events))
    assert.deepEqual([first.listed, first.missing, first.whole], [250, 245, 1])
    assert.equal(await stored(), 250)
    assert.deepEqual(await countInbox(database.pool), { backlog: 250, parked: 0 })
    const again = await duty(listOf(events))
    assert.deepEqual([again.missing, again.whole], [0, 1])
  })

  it('RC-3: stores each event once, beside deliveries and another catch-up at the same moment', async () => {
    for (let round = 0; round < 8; round += 1) {
      const events = many(PAGE).map((each) => projectEvent({ ...each, id: `${each.id}r${round}` }, VERSION))
      const [there, back, delivered] = await Promise.all([
        storeMissing(database.pool, events),
        storeMissing(database.pool, events.toReversed()),
        Promise.all(events.map((each) => storeEvent(database.pool, each))),
      ])
      const fresh = delivered.filter((each) => each.fresh).length
      assert.equal(there.length + back.length + fresh, PAGE)
    }
    assert.equal(await stored(), 8 * PAGE)
  })

  it('goes through ten thousand events and never holds more than a page and the next', async () => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const pages: WeakRef<object>[] = []
    let alive = 0
    const ten = {
      version: VERSION,
      async page(_from: string, after: string | null): Promise<EventPage> {
        const start = after === null ? 0 : Number(after.slice('evt_'.length)) + 1
        const events = many(10_000 - start < PAGE ? 10_000 - start : PAGE).map((_, at) => listed(start + at))
        if (start % 1_000 === 0) gc()
        alive = Math.max(alive, pages.filter((page) => page.deref() !== undefined).length)
        pages.push(new WeakRef(events))
        return { events, next: start + PAGE < 10_000 ? events.at(-1)?.id : undefined }
      },
    }
    const deps = { pool: database.pool, events: ten, livemode: false }
    const { missing, whole } = await createCatchUpActivities(deps).catch_up()
    assert.deepEqual([missing, whole, pages.length], [10_000, 1, 100])
    // between two collections there may be as many as were made meanwhile
    assert.ok(alive <= 12, `${alive} pages were alive at once`)
  })

  it('goes on where a run ended or died, reads no page twice, and moves the mark only when all was seen', async () => {
    const events = many(550)
    const dying = listOf(events)
    const page = dying.page.bind(dying)
    dying.page = async (from, after) => {
      if (dying.asked.length === 3) throw new Error('the worker is gone')
      return page(from, after)
    }
    await assert.rejects(duty(dying))
    assert.equal((await kept())?.compared_until, null)
    assert.equal((await kept())?.pass_after, 'evt_000299')

    // its time is over after a page
    const hurried = listOf(events)
    assert.equal((await duty(hurried, -1)).whole, 0)
    assert.deepEqual(hurried.asked, ['evt_000299'])
    assert.equal((await kept())?.compared_until, null)

    // what came meanwhile is newer than the mark that this pass will leave
    const late = { ...listed(0), id: 'evt_late', created: NOW_S + 60 }
    const rest = listOf([late, ...events])
    assert.deepEqual((await duty(rest)).whole, 1)
    assert.deepEqual(rest.asked, ['evt_000399', 'evt_000499'])
    assert.equal((await kept())?.compared_until?.toISOString(), at(listed(0)))
    assert.equal(await stored(), 550)

    const next = listOf([late, ...events])
    assert.equal((await duty(next)).missing, 1)
    assert.deepEqual([...next.froms], [at(listed(600))])
  })

  it('leaves a pass to whoever has gone on with it: one that slept moves nothing back', async () => {
    const events = many(350)
    const slow = listOf(events)
    const page = slow.page.bind(slow)
    slow.page = async (from, after) => {
      const found = await page(from, after)
      // meanwhile another worker makes the whole pass
      if (slow.asked.length === 2) assert.equal((await duty(listOf(events))).whole, 1)
      return found
    }
    assert.equal((await duty(slow)).whole, 0)
    assert.deepEqual(slow.asked, [null, 'evt_000099'])
    const mark = await kept()
    assert.deepEqual([mark?.pass_from, mark?.pass_after], [null, null])
    assert.equal(mark?.compared_until?.toISOString(), at(listed(0)))
  })

  it('ends no pass but its own: one that slept over the end leaves the next as it is', async () => {
    const events = many(150)
    const slow = listOf(events)
    const page = slow.page.bind(slow)
    slow.page = async (from, after) => {
      const found = await page(from, after)
      if (after === null) return found
      // meanwhile another worker ends the pass and begins the next
      assert.equal((await duty(listOf(events))).whole, 1)
      await database.owner.query(`update catch_up set compared_until = compared_until - interval '1 hour'`)
      assert.equal((await duty(listOf(events), -1)).whole, 0)
      return found
    }
    assert.equal((await duty(slow)).whole, 0)
    assert.equal((await kept())?.pass_after, 'evt_000099')
  })

  it('goes by Stripe’s time: no list, no mark; and a mark is never moved back', async () => {
    await duty(listOf([]))
    assert.equal((await kept())?.compared_until, null)
    await duty(listOf(many(1)))
    await duty(listOf([]))
    assert.equal((await kept())?.compared_until?.toISOString(), at(listed(0)))
    await duty(listOf([listed(5)]))
    assert.equal((await kept())?.compared_until?.toISOString(), at(listed(0)))
  })

  it('raises an alert when the last whole pass is longer ago than Stripe lists, and reads what is listed', async () => {
    await duty(listOf(many(1)))
    await database.owner.query(`update catch_up set passed_at = clock_timestamp() - interval '29 days'`)
    await beginPass(database.pool)
    assert.deepEqual(await gaps(), [])
    await database.owner.query(
      `update catch_up set passed_at = clock_timestamp() - interval '30 days 1 minute', pass_from = null,
              compared_until = compared_until - interval '60 days'`,
    )
    const { from } = await beginPass(database.pool)
    assert.equal((await gaps()).length, 1)
    const back = (Date.now() - Date.parse(from)) / 86_400_000
    assert.ok(back > 29.99 && back < 30.01, `${back} days`)
    // also of a pass that was begun in time
    await database.owner.query(`update alert set resolved_at = clock_timestamp()`)
    await beginPass(database.pool)
    assert.equal((await gaps()).length, 1)
  })

  it('counts what it cannot take, keeps it out, and takes the rest', async () => {
    const odd = [
      listed(0),
      listed(1, { type: undefined }),
      listed(2, { livemode: true }),
      listed(3, { type: 'giraffe.created' }),
      listed(4, { api_version: '2024-06-20' }),
      listed(5, { api_version: '2024-06-20', type: 'giraffe.created' }),
      listed(6),
    ]
    const { listed: seen, missing, unhandled, other_version, malformed, other_mode } = await duty(listOf(odd))
    assert.deepEqual(
      { seen, missing, unhandled, other_version, malformed, other_mode },
      { seen: 7, missing: 5, unhandled: 2, other_version: 1, malformed: 1, other_mode: 1 },
    )
    assert.deepEqual((await dueEvents(database.pool, 10)).map(({ eventId }) => eventId).sort(), [
      'evt_000000',
      'evt_000006',
    ])
  })

  it('only counts when it is asked to change nothing', async () => {
    const events = many(3).map((each) => projectEvent(each, VERSION))
    await storeEvent(database.pool, events[1] as (typeof events)[number])
    assert.deepEqual((await missingOf(database.pool, events)).sort(), ['evt_000000', 'evt_000002'])
    assert.equal(await stored(), 1)
  })
})

describe('events of another API version', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
  })
  afterEach(() => database.drop())

  const old = (id: string, object: Record<string, unknown>, type = 'invoice.paid') =>
    projectEvent({ ...listed(1), id, type, api_version: '2024-06-20', data: { object } }, VERSION)
  const never = () => false
  const read = async (ownerNow: (type: string, id: string) => Promise<string | null>) =>
    readAgain({ pool: database.pool, events: { ownerNow } }, await machineNow(database.pool), never)
  const rowOf = async (id: string) =>
    (
      await database.pool.query(
        `select owner, payload, settled_at is not null as settled, parked_reason
           from processed_webhook_events where event_id = $1`,
        [id],
      )
    ).rows[0]

  it('give nothing but ids: neither an owner nor a field is believed', async () => {
    const parent = { subscription_details: { subscription: 'sub_wrong' } }
    const event = old('evt_1', { id: 'in_1', amount_paid: 99, parent })
    assert.deepEqual([event.owner, event.unread, event.payload, event.objectId], [null, true, {}, 'in_1'])
    await storeEvent(database.pool, event)
    assert.deepEqual(await dueEvents(database.pool, 10), [])
    await read(async () => 'sub_right')
    assert.deepEqual(
      (await dueEvents(database.pool, 10)).map(({ owner }) => owner),
      ['sub_right'],
    )
  })

  it('are read once an object, and settled when it is nobody’s or gone', async () => {
    for (const id of ['evt_1', 'evt_2', 'evt_3']) await storeEvent(database.pool, old(id, { id: 'in_1' }))
    await storeEvent(database.pool, old('evt_gone', { id: 'in_gone' }))
    await storeEvent(database.pool, old('evt_none', {}))
    const asked: string[] = []
    const count = await read(async (_type, id) => {
      asked.push(id)
      return id === 'in_1' ? 'sub_1' : null
    })
    assert.deepEqual([count, asked.sort()], [5, ['in_1', 'in_gone']])
    assert.equal((await dueEvents(database.pool, 10)).length, 3)
    for (const id of ['evt_gone', 'evt_none']) assert.equal((await rowOf(id)).settled, true)
  })

  it('are parked when Stripe will never show the object, and the rest flows', async () => {
    await storeEvent(database.pool, old('evt_poison', { id: 'in_poison' }))
    await storeEvent(database.pool, old('evt_1', { id: 'in_1' }))
    await read(async (_type, id) => {
      if (id === 'in_1') return 'sub_1'
      throw new Stripe.errors.StripePermissionError({
        type: 'invalid_request_error',
        statusCode: 403,
        message: 'no',
      })
    })
    assert.match((await rowOf('evt_poison')).parked_reason, /Stripe refused/)
    assert.equal((await rowOf('evt_1')).owner, 'sub_1')
    assert.deepEqual(await countInbox(database.pool), { backlog: 1, parked: 1 })
  })

  it('wait, longer and longer, while Stripe does not answer', async () => {
    await storeEvent(database.pool, old('evt_1', { id: 'in_1' }))
    const away = async () => {
      throw new Stripe.errors.StripeConnectionError({ type: 'api_error', message: 'away' })
    }
    await assert.rejects(read(away))
    assert.deepEqual(await countInbox(database.pool), { backlog: 1, parked: 0 })
    // put off: nobody asks again at once
    assert.equal(await read(away), 0)
  })
})
