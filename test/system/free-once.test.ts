/** What a free plan's activities do to a real database, without a workflow: nothing but Postgres decides what is once. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { createFreeActivities } from '../../src/activities/free.ts'
import { businessNow } from '../../src/clock.ts'
import { decideFree, monthAt } from '../../src/domain/free.ts'
import { idFrom } from '../../src/domain/id.ts'
import type { FreeTerms } from '../../src/domain/plan.ts'
import { grant } from '../../src/ledger/post.ts'
import { keepTerms } from '../../src/store/catalog-price.ts'
import { insertCommand } from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import { firstEnrolment, insertFree, readFree } from '../../src/store/free.ts'
import { advanceClock, assertBooks, DAY_MS, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { FREE_TERMS as terms } from '../support/terms.ts'

const other: FreeTerms = {
  ...terms,
  priceId: 'free.gift.v1',
  lookupKey: 'free.gift.v1',
  plan: 'gift',
  credits: '3',
}

describe('a month of a free plan, in the database', function () {
  this.timeout(120_000)
  let database: TestDatabase
  let activities: ReturnType<typeof createFreeActivities>
  let account: string
  before(async () => {
    database = await createDatabase()
    activities = createFreeActivities({ pool: database.pool })
    for (const each of [terms, other]) await keepTerms(database.owner, each)
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
  })
  afterEach(() => assertBooks(database))

  async function enrol(of = terms, agoMs = 0): Promise<string> {
    const id = idFrom('free', randomUUID())
    const now = await businessNow(database.pool)
    const created = new Date(Date.parse(now) - agoMs).toISOString()
    const anchor = (await firstEnrolment(database.pool, account, of.group)) ?? created
    const { start: periodStart, end: periodEnd } = monthAt(anchor, created)
    const enrolment = { id, account, terms: of, anchor, created, periodStart, periodEnd, metadata: {} }
    await insertFree(database.pool, enrolment)
    return id
  }
  async function see(id: string) {
    const { observation } = await activities.observeFree({ subscription: id })
    assert.ok(observation)
    return { seen: observation, plan: decideFree(observation) }
  }
  const look = async (id: string) => activities.applyFree(await see(id))
  async function command(operation: 'open' | 'cancel', owner: string): Promise<string> {
    const id = idFrom('cmd', randomUUID())
    const input = { subscription: owner }
    await transaction(database.pool, (client) =>
      insertCommand(client, { id, scope: account, operation, key: id, content: {}, owner, input }),
    )
    return id
  }
  const cancel = async (id: string) =>
    activities.cancelFree({ subscription: id, command: await command('cancel', id) })
  const granted = async () =>
    (
      await database.owner.query<{ key: string; amount: string }>(
        `select key, trim_scale(granted)::text as amount from lot where account_id = $1 order by granted_at, id`,
        [account],
      )
    ).rows.map(({ key, amount }) => `${key} ${amount}`)
  const audits = async (reason: string) =>
    (
      await database.owner.query(
        `select 1 from audit_log where account_id = $1 and action = 'subscription' and reason_code = $2`,
        [account, reason],
      )
    ).rowCount

  /** What the account is told, in its order, and whether by e-mail. */
  const told = async () =>
    (
      await database.owner.query<{ what: string }>(
        `select kind || case when emailed then ' by mail' else '' end as what from notice
          where account_id = $1 order by recorded_at`,
        [account],
      )
    ).rows.map(({ what }) => what)

  it('is granted once by ten runs that saw the same, and told once', async () => {
    const id = await enrol()
    const same = await see(id)
    await Promise.all(Array.from({ length: 10 }, () => activities.applyFree(same)))
    assert.deepEqual(await granted(), ['free:default:0 2'])
    assert.deepEqual(await told(), ['credits_granted'])
  })

  it('is granted once when another plan of the group was let in before it had ended, and nobody is alarmed', async () => {
    const first = await enrol(terms, 1_000)
    const late = await see(first)
    // its end is written by hand, a moment too early
    await database.owner.query(
      `update subscription set status = 'canceled', ended_at = business_now(), cancel_at = business_now(), deadline_at = null
        where id = $1`,
      [first],
    )
    const second = await enrol(other)
    const both = await see(second)
    await activities.applyFree(both)
    await activities.applyFree(late)
    await look(second)
    assert.deepEqual(await granted(), ['free:default:0 3'])
  })

  it('is granted once when another run grants it while this one waits for the wallet', async () => {
    const run = await see(await enrol())
    const client = await database.owner.connect()
    try {
      await client.query('begin')
      await grant(client, {
        account,
        key: 'free:default:0',
        kind: 'plan',
        amount: '3',
        actor: 'test',
        reasonCode: 'test',
        source: {},
      })
      const applied = activities.applyFree(run)
      for (let waiting = 0; waiting < 1; ) {
        const { rowCount } = await database.owner.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        waiting = rowCount ?? 0
      }
      await client.query('commit')
      await applied
    } finally {
      client.release()
    }
    assert.deepEqual(await granted(), ['free:default:0 3'])
  })

  it('all of it or nothing of it', async () => {
    const id = await enrol()
    await cancel(id)
    await advanceClock(database, 32 * DAY_MS)
    const run = await see(id)
    assert.equal(run.plan.status, 'canceled')
    await database.owner.query(
      `alter table audit_log add constraint never check (reason_code <> 'ended') not valid`,
    )
    await assert.rejects(activities.applyFree(run))
    await database.owner.query('alter table audit_log drop constraint never')
    assert.deepEqual(await granted(), [])
    assert.deepEqual(await told(), ['subscription_cancelling by mail'])
    assert.equal((await readFree(database.pool, id))?.subscription.status, 'active')
    for (const _ of [1, 2]) await activities.applyFree(run)
    assert.deepEqual(await granted(), ['free:default:0 2'])
    assert.deepEqual(await told(), [
      'subscription_cancelling by mail',
      'credits_granted',
      'subscription_ended by mail',
    ])
    assert.equal(await audits('ended'), 2)
  })

  it('a command is carried out once, and answers what it answered', async () => {
    const id = await enrol()
    const open = await command('open', id)
    for (const _ of [1, 2]) {
      const answer = await activities.openFree({ subscription: id, command: open })
      assert.deepEqual(answer, { state: 'done', statusCode: 201, result: {} })
    }
    assert.equal(await audits('enrolled'), 1)
    const first = await command('cancel', id)
    const answer = await activities.cancelFree({ subscription: id, command: first })
    await advanceClock(database, 40 * DAY_MS)
    assert.deepEqual(await activities.cancelFree({ subscription: id, command: first }), answer)
    const { cancelAt } = (await readFree(database.pool, id))?.subscription ?? {}
    assert.deepEqual(answer.result, { cancel_at: cancelAt })
    // another one is told the same, and once it has ended that it has
    assert.deepEqual((await cancel(id)).result, answer.result)
    await look(id)
    const late = await cancel(id)
    assert.deepEqual(
      [late.state, late.statusCode, late.result['code']],
      ['refused', 409, 'subscription_ended'],
    )
    assert.equal(await audits('cancelled'), 1)
  })

  it('once, whatever is enrolled, cancelled, bought and ended', async () => {
    const happening = fc.record({
      days: fc.integer({ min: 0, max: 45 }),
      what: fc.constantFrom('enrol', 'gift', 'cancel', 'buy', 'end', 'look'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { minLength: 5, maxLength: 15 }), async (happenings) => {
        account = await openAccount(database)
        let live: string | undefined
        let bought = 0
        const looked = async () => {
          if (live === undefined) return
          await look(live)
          if ((await readFree(database.pool, live))?.subscription.status === 'canceled') live = undefined
        }
        for (const { days, what } of happenings) {
          await advanceClock(database, days * DAY_MS)
          await looked()
          if (what === 'enrol' || what === 'gift') live ??= await enrol(what === 'gift' ? other : terms)
          if (what === 'cancel' && live !== undefined) await cancel(live)
          if (what === 'buy') await buy(bought++)
          if (what === 'end') {
            await database.owner.query(
              `update subscription set status = 'canceled', ended_at = business_now()
                where account_id = $1 and id like 'sub%' and status = 'active'`,
              [account],
            )
          }
          await looked()
        }
        const anchor = await firstEnrolment(database.pool, account, 'default')
        const months = anchor === undefined ? 0 : monthAt(anchor, await businessNow(database.pool)).index + 1
        assert.ok((await granted()).length <= months)
        await assertBooks(database)
      }),
      { numRuns: 15 },
    )
  })

  async function buy(number: number): Promise<void> {
    await database.owner.query(
      `insert into subscription (id, account_id, role, plan_group, quantity, status, anchor, observed_at, created_at)
       values ($1, $2, 'duplicate', 'default', 1, 'active', business_now(), business_now(), business_now())`,
      [`sub_${account}_${number}`, account],
    )
  }
})
