import assert from 'node:assert/strict'
import { countOpenAlerts, raiseAlert, resolveAlert } from '../../src/store/alert.ts'
import {
  type CommandInput,
  finishCommand,
  insertCommand,
  pendingCommands,
  readCommand,
} from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const input = (n: number, more: Partial<CommandInput> = {}): CommandInput => ({
  id: `cmd_${n}`,
  scope: 'acc_1',
  operation: 'open',
  key: 'key',
  content: { plan: 'pro', metadata: { a: '1', b: '2' } },
  owner: 'checkout/ord_1',
  input: { subscription: 'ord_1' },
  ...more,
})

const done = { state: 'done', statusCode: 201, result: { checkout: { id: 'cs_1' } } } as const

describe('commands', () => {
  let database: TestDatabase
  beforeEach(async () => {
    database = await createDatabase()
  })
  afterEach(() => database.drop())

  const insert = (one: CommandInput) => transaction(database.pool, (client) => insertCommand(client, one))
  const refusedWith = (code: string) => (error: unknown) =>
    error instanceof Error && 'code' in error && error.code === code
  /** Makes every back-off pass. */
  const later = () => database.owner.query(`update command set next_attempt_at = now() - interval '1 second'`)

  it('are one for the same key and content, whatever the order of the fields', async () => {
    assert.equal((await insert(input(1))).replayed, false)
    const again = await insert(
      input(2, { content: { metadata: { b: '2', a: '1' }, plan: 'pro', note: undefined } }),
    )
    assert.equal(again.replayed, true)
    assert.equal(again.command.id, 'cmd_1')
  })

  it('refuse a key with other content, and know keys by scope and operation', async () => {
    await insert(input(1))
    await assert.rejects(
      insert(input(2, { content: { plan: 'team' } })),
      refusedWith('idempotency_key_reused'),
    )
    assert.equal((await insert(input(3, { scope: 'acc_2' }))).replayed, false)
    assert.equal((await insert(input(4, { operation: 'cancel' }))).replayed, false)
  })

  it('keep where a page leads back to until they are finished, and no longer', async () => {
    const asked = { account: 'acc_1', return_url: 'https://product.example/users/ada' }
    await insert(input(1, { input: asked }))
    assert.deepEqual((await readCommand(database.pool, 'cmd_1'))?.input, asked)
    await finishCommand(database.pool, 'cmd_1', done)
    assert.deepEqual((await readCommand(database.pool, 'cmd_1'))?.input, { account: 'acc_1' })
  })

  it('refuse a key whose first request is not committed, and free it when that fails', async () => {
    await assert.rejects(
      transaction(database.pool, async (client) => {
        await insertCommand(client, input(1))
        await assert.rejects(insert(input(2)), refusedWith('idempotency_in_progress'))
        throw new Error('fails')
      }),
      /fails/,
    )
    assert.equal((await insert(input(3))).replayed, false)
  })

  it('do not tell what was asked: equal requests have different hashes', async () => {
    await insert(input(1))
    await insert(input(2, { key: 'other' }))
    const { rows } = await database.owner.query('select distinct request_hash from command')
    assert.equal(rows.length, 2)
  })

  it('end once: a second end changes nothing and answers the first', async () => {
    await insert(input(1))
    assert.equal((await readCommand(database.pool, 'cmd_1'))?.answer, undefined)
    assert.deepEqual(await finishCommand(database.pool, 'cmd_1', done), done)
    const late = await finishCommand(database.pool, 'cmd_1', {
      state: 'refused',
      statusCode: 404,
      result: {},
    })
    assert.deepEqual(late, done)
    assert.deepEqual((await readCommand(database.pool, 'cmd_1'))?.answer, done)
    await assert.rejects(finishCommand(database.pool, 'cmd_0', done), refusedWith('command_not_found'))
  })

  it('are sent again while they are pending, later and later, by one sweeper at a time', async () => {
    await insert(input(1))
    assert.deepEqual(await pendingCommands(database.pool, 10), [], 'whoever wrote it sends it first')
    await later()
    const taken = await Promise.all([pendingCommands(database.pool, 10), pendingCommands(database.pool, 10)])
    assert.deepEqual(taken.flat(), [{ id: 'cmd_1', owner: 'checkout/ord_1', operation: 'open', attempts: 1 }])
    assert.deepEqual(await pendingCommands(database.pool, 10), [])
    await later()
    assert.equal((await pendingCommands(database.pool, 10))[0]?.attempts, 2)
    await finishCommand(database.pool, 'cmd_1', done)
    await later()
    assert.deepEqual(await pendingCommands(database.pool, 10), [])
  })

  it('without an owner are nobody’s to send', async () => {
    await insert(input(1, { owner: null, operation: 'create' }))
    await later()
    assert.deepEqual(await pendingCommands(database.pool, 10), [])
  })
})

describe('alerts', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('are one while they are open, count, and can be raised again after they were resolved', async () => {
    await Promise.all(Array.from({ length: 8 }, () => raiseAlert(database.pool, 'kind', 'evt_1', 'again')))
    await raiseAlert(database.pool, 'kind', 'evt_2', 'other')
    assert.equal(await countOpenAlerts(database.pool), 2)
    const times = async () =>
      (await database.owner.query(`select times from alert where subject = 'evt_1' order by id`)).rows.map(
        (row) => row.times,
      )
    assert.deepEqual(await times(), [8])
    await resolveAlert(database.pool, 'kind', 'evt_1')
    await resolveAlert(database.pool, 'kind', 'evt_1')
    assert.equal(await countOpenAlerts(database.pool), 1)
    await raiseAlert(database.pool, 'kind', 'evt_1', 'new')
    assert.deepEqual(await times(), [8, 1])
  })
})
