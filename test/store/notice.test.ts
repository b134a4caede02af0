import assert from 'node:assert/strict'
import { noticeKey } from '../../src/domain/id.ts'
import type { PlannedNotice } from '../../src/domain/notice.ts'
import { transaction } from '../../src/store/connect.ts'
import { writeNotice } from '../../src/store/notice.ts'
import { openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const ENDPOINT = `we_${'a'.repeat(32)}`

describe('a notice', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
    await database.owner.query('truncate webhook_endpoint, notice cascade')
  })

  const low = (key: string): PlannedNotice => ({
    account,
    kind: 'balance_low',
    key: noticeKey.balanceLow(key),
    cause: { posting: key },
    data: { available: '3', threshold: '5' },
  })
  const requested = (): PlannedNotice => ({
    account,
    kind: 'approval_requested',
    key: noticeKey.approval('apr_1', 'requested'),
    cause: { approval: 'apr_1' },
    data: { approval: 'apr_1', approvalKind: 'adjustment', requestedBy: 'key_1', expiresAt: null },
  })
  const deliveries = async () =>
    (await database.owner.query('select target, state, attempts from notice_delivery order by target')).rows
  const endpoint = (id: string, events: string[] | null, enabled = true) =>
    database.owner.query(
      `insert into webhook_endpoint (id, url, secret, events, enabled) values ($1, 'https://example.com', 'whsec_x', $2, $3)`,
      [id, events, enabled],
    )

  it('is written once per account and key, with its deliveries, however many write it at once', async () => {
    await endpoint(ENDPOINT, null)
    const written = await Promise.all(
      Array.from({ length: 8 }, () =>
        transaction(database.pool, (client) => writeNotice(client, low('pst_1'))),
      ),
    )
    assert.deepEqual(written.filter(Boolean).length, 1)
    assert.deepEqual(await deliveries(), [
      { target: 'email', state: 'pending', attempts: 0 },
      { target: ENDPOINT, state: 'pending', attempts: 0 },
    ])
    assert.equal(await writeNotice(database.pool, low('pst_2')), true)
  })

  it('goes with the transaction that it was written in', async () => {
    await assert.rejects(
      transaction(database.pool, async (client) => {
        await writeNotice(client, low('pst_1'))
        throw new Error('rolled back')
      }),
    )
    assert.deepEqual(await deliveries(), [])
  })

  it('is told to the endpoints that ask for its type and are enabled, and by e-mail only if its kind is', async () => {
    await endpoint(ENDPOINT, ['approval.requested', 'plan.changed'])
    await endpoint(`we_${'b'.repeat(32)}`, ['plan.changed'])
    await endpoint(`we_${'c'.repeat(32)}`, null, false)
    await writeNotice(database.pool, requested())
    assert.deepEqual(await deliveries(), [{ target: ENDPOINT, state: 'pending', attempts: 0 }])
  })

  it('has an id that is made from what it tells', async () => {
    const id = async () => (await database.owner.query('select id from notice')).rows[0]?.id
    await writeNotice(database.pool, low('pst_1'))
    const first = await id()
    await database.owner.query('delete from notice')
    await writeNotice(database.pool, low('pst_1'))
    assert.equal(await id(), first)
  })

  it('cannot be rewritten by the service', async () => {
    await writeNotice(database.pool, low('pst_1'))
    await assert.rejects(database.pool.query(`update notice set data = '{}'`), { code: '42501' })
  })
})
