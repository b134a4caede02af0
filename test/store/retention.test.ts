import assert from 'node:assert/strict'
import {
  forgetCommands,
  forgetDutyRuns,
  forgetNotices,
  forgetStripeCalls,
  NOTICE_DAYS,
  RETENTION_DAYS,
} from '../../src/store/retention.ts'
import { openAccount } from '../support/ledger.ts'
import { tell } from '../support/outbox.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('ageing out', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
  })
  afterEach(() => database.drop())

  /** A command that was finished, or begun when it is pending, so many hours before it may be forgotten. */
  async function command(id: string, hours: number, state: 'pending' | 'done' | 'refused' = 'done') {
    const at = `clock_timestamp() - interval '${RETENTION_DAYS} days' + interval '${hours} hours'`
    await database.owner.query(
      `insert into command (id, scope, operation, key, request_hash, input, state, created_at, finished_at)
       values ($1, 'accounts', 'create', $1, 'h', '{}', $2, ${at}, ${state === 'pending' ? 'null' : at})`,
      [id, state],
    )
    if (state !== 'pending') {
      await database.owner.query(`insert into reply (command_id, status_code, body) values ($1, 201, '{}')`, [
        id,
      ])
    }
  }
  const left = async (column: string, table: string) =>
    (await database.owner.query(`select ${column} as one from ${table} order by 1`)).rows.map(
      (row) => row.one,
    )

  it('takes finished commands with their replies, as the service, and keeps what is pending for ever', async () => {
    await command('cmd_old', -1)
    await command('cmd_refused', -1, 'refused')
    await command('cmd_young', 1)
    await command('cmd_waits', -24 * 365, 'pending')
    assert.equal(await forgetCommands(database.pool, 10), 2)
    assert.equal(await forgetCommands(database.pool, 10), 0)
    assert.deepEqual(await left('id', 'command'), ['cmd_waits', 'cmd_young'])
    assert.deepEqual(await left('command_id', 'reply'), ['cmd_young'])
  })

  it('takes notices with their deliveries, and keeps what still waits to be sent for ever', async () => {
    const account = await openAccount(database)
    const [old, young] = [await tell(database, account, 'old'), await tell(database, account, 'young')]
    const waits = await tell(database, account, 'waits')
    for (const [id, hours] of [
      [old, -1],
      [waits, -1],
      [young, 1],
    ] as const) {
      await database.owner.query(
        `update notice set recorded_at = clock_timestamp() - interval '${NOTICE_DAYS} days' + interval '${hours} hours'
          where id = $1`,
        [id],
      )
    }
    const sent = `update notice_delivery set state = 'delivered', finished_at = now() where notice_id = any($1)`
    await database.owner.query(sent, [[old, young]])
    assert.equal(await forgetNotices(database.pool, 10), 1)
    assert.deepEqual(await left('id', 'notice'), [waits, young].sort())
    assert.deepEqual(await left('notice_id', 'notice_delivery'), [waits, young].sort())
  })

  it('takes calls to Stripe that were answered, and keeps what is unknown for ever', async () => {
    for (const [key, hours] of [
      ['old', -1],
      ['young', 1],
      ['unknown', null],
    ] as const) {
      await database.owner.query(
        `insert into stripe_call (key, kind, subject, answered_at)
         values ($1, 'customer', 'acc_1', clock_timestamp() - interval '${RETENTION_DAYS} days' + $2 * interval '1 hour')`,
        [key, hours],
      )
    }
    assert.equal(await forgetStripeCalls(database.pool, 10), 1)
    assert.deepEqual(await left('key', 'stripe_call'), ['unknown', 'young'])
  })

  it('goes by machine time: the sandbox’s clock ages nothing', async () => {
    await command('cmd_young', 1)
    await database.owner.query('update business_clock set offset_ms = 365 * 86400000::bigint')
    assert.equal(await forgetCommands(database.pool, 10), 0)
  })

  it('takes a bounded batch, the oldest first', async () => {
    for (const hours of [-3, -1, -2]) await command(`cmd_${-hours}`, hours)
    assert.equal(await forgetCommands(database.pool, 2), 2)
    assert.deepEqual(await left('id', 'command'), ['cmd_1'])
  })

  it('passes by what somebody else is deleting', async () => {
    for (const hours of [-2, -1]) await command(`cmd_${-hours}`, hours)
    const client = await database.owner.connect()
    try {
      await client.query('begin')
      await client.query(`select 1 from command where id = 'cmd_2' for update`)
      assert.equal(await forgetCommands(database.pool, 1), 1)
    } finally {
      await client.query('rollback')
      client.release()
    }
    assert.deepEqual(await left('id', 'command'), ['cmd_2'])
  })

  it('takes the records of duties', async () => {
    await database.owner.query(
      `insert into duty_run (duty, started_at, finished_at)
       select 'd' || hours, clock_timestamp() - $1 * interval '1 day' + hours * interval '1 hour', null
         from unnest(array[-2, -1, 1]) hours`,
      [RETENTION_DAYS],
    )
    assert.equal(await forgetDutyRuns(database.pool, 1), 1)
    assert.deepEqual(await left('duty', 'duty_run'), ['d-1', 'd1'])
    assert.equal(await forgetDutyRuns(database.pool, 10), 1)
    assert.deepEqual(await left('duty', 'duty_run'), ['d1'])
  })
})
