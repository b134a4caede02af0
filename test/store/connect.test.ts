import assert from 'node:assert/strict'
import { insertCommand, pendingCommands } from '../../src/store/command.ts'
import { connect, InOrder, type Pool, type Queryable, transaction } from '../../src/store/connect.ts'
import { dueEvents, storeEvent } from '../../src/store/inbox.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('connections', () => {
  let database: TestDatabase
  /** one connection, so that whoever comes next gets the same */
  let pool: Pool
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(() => {
    pool = connect(database.serviceUrl, 1)
  })
  afterEach(() => pool.end())

  const backend = async (client: Queryable) =>
    (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid ?? 0
  // not `events.once`, which would listen for errors in their stead
  const told = (by: { once(event: string, listener: () => void): unknown }, event: string) =>
    new Promise<void>((resolve) => by.once(event, resolve))
  const kill = (pid: number) => database.owner.query('select pg_terminate_backend($1, 5000)', [pid])

  it('that Postgres closes while they are idle end nothing; the next query has a new one', async () => {
    const pid = await backend(pool)
    const removed = told(pool, 'remove')
    await kill(pid)
    await removed
    assert.notEqual(await backend(pool), pid)
  })

  it('that die in a transaction fail it alone, also between two queries', async () => {
    let pid = 0
    await assert.rejects(
      transaction(pool, async (client) => {
        pid = await backend(client)
        const ended = told(client, 'end')
        await kill(pid)
        await ended
        await client.query('select 1')
      }),
    )
    assert.notEqual(await backend(pool), pid)
  })

  it('go back clean: what failed has left nothing, not even to the next on the same connection', async () => {
    await assert.rejects(
      transaction(pool, async (client) => {
        await client.query(`insert into account (id) values ('acc_gone')`)
        throw new Error('fails')
      }),
      /fails/,
    )
    assert.equal((await pool.query(`select 1 from account where id = 'acc_gone'`)).rowCount, 0)
    const { rows } = await pool.query('select now() = statement_timestamp() as alone')
    assert.deepEqual(rows, [{ alone: true }], 'no transaction was left open')
  })

  it('in order are one, however many ask it at once, and the pool’s again when all are answered', async () => {
    const order = new InOrder(pool)
    const asked = (n: number) =>
      order.query<{ pid: number }>(`select pg_backend_pid() as pid, pg_sleep(0.05 / $1)`, [n])
    const answered: number[] = []
    const pids = await Promise.all(
      [1, 2, 3].map(async (n) => {
        const { rows } = await asked(n)
        answered.push(n)
        return rows[0]?.pid
      }),
    )
    assert.deepEqual(answered, [1, 2, 3])
    assert.equal(new Set(pids).size, 1)
    assert.equal(await backend(pool), pids[0])
  })

  it('in order fail together when they die, and the next is another', async () => {
    const order = new InOrder(pool)
    const pid = await backend(order)
    const asked = [order.query('select pg_sleep(60)'), order.query('select 1')]
    const failed = Promise.allSettled(asked)
    await kill(pid)
    assert.deepEqual(
      (await failed).map(({ status }) => status),
      ['rejected', 'rejected'],
    )
    assert.notEqual(await backend(order), pid)
  })

  it('in order go on after one that failed', async () => {
    const order = new InOrder(pool)
    const [bad, good] = await Promise.allSettled([order.query('select 1 / 0'), order.query('select 1')])
    assert.deepEqual([bad?.status, good?.status], ['rejected', 'fulfilled'])
  })
})

describe('two sweepers', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('never take the same: what one has taken and not committed, the other passes by without waiting', async () => {
    await storeEvent(database.pool, {
      id: 'evt_1',
      type: 'invoice.paid',
      created: '2026-11-23T10:00:00.000Z',
      livemode: false,
      apiVersion: null,
      objectId: null,
      owner: 'sub_1',
      unread: false,
      payload: {},
    })
    await transaction(database.pool, (client) =>
      insertCommand(client, {
        id: 'cmd_1',
        scope: 'acc_1',
        operation: 'open',
        key: 'k',
        content: {},
        owner: 'checkout/ord_1',
        input: {},
      }),
    )
    await database.owner.query(`update command set next_attempt_at = now() - interval '1 second'`)
    await transaction(database.pool, async (client) => {
      assert.equal((await dueEvents(client, 10)).length, 1)
      assert.equal((await pendingCommands(client, 10)).length, 1)
      assert.deepEqual(await dueEvents(database.pool, 10), [])
      assert.deepEqual(await pendingCommands(database.pool, 10), [])
    })
  })
})
