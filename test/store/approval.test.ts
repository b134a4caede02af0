import assert from 'node:assert/strict'
import type { AdjustmentPlan } from '../../src/domain/approval.ts'
import { approvalKey } from '../../src/domain/id.ts'
import {
  type Approval,
  type ApprovalRequest,
  approvalMetadata,
  findApproval,
  keepDecision,
  keepEnd,
  listApprovals,
  planHash,
  readApproval,
  requestApproval,
} from '../../src/store/approval.ts'
import { transaction } from '../../src/store/connect.ts'
import { advanceClock, DAY_MS, fromNow, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const PLAN: AdjustmentPlan = {
  direction: 'debit',
  amount: '5',
  overdraft: false,
  expiresAt: null,
  priority: 100,
}

describe('an approval’s row', () => {
  let database: TestDatabase
  let account: string
  let asked = 0
  before(async () => {
    database = await createDatabase()
    account = await openAccount(database)
  })
  after(() => database.drop())

  const request = (more: object = {}): ApprovalRequest => ({
    kind: 'adjustment',
    account,
    plan: PLAN,
    key: approvalKey.adjustment(account, `k${++asked}`),
    requestedBy: 'key_asks',
    reasonCode: 'test',
    ...more,
  })
  const ask = (more: object = {}) =>
    transaction(database.pool, (client) => requestApproval(client, request(more)))
  const decide = async (id: string, state: 'approved' | 'rejected', by: string, at?: string) =>
    transaction(database.pool, async (client) =>
      keepDecision(client, id, {
        state,
        by,
        at: at ?? (await fromNow(database, 0)),
        reason: null,
        command: `cmd_${id}${by}`,
      }),
    )
  const end = (id: string, state: 'executed' | 'refused' | 'expired', result: object | null = {}) =>
    transaction(database.pool, async (client) =>
      keepEnd(client, id, { state, at: await fromNow(database, 0), result: result as never }),
    )
  const stateOf = async (id: string) => (await readApproval(database.pool, id))?.state
  const constraint = (name: string) => ({ code: '23514', constraint: name })

  it('is one for the same key, whoever asks at the same moment; other content is seen', async () => {
    const key = approvalKey.duplicateSubscription('sub_2', 'sub_1')
    const all = await Promise.all(Array.from({ length: 8 }, () => ask({ key })))
    assert.equal(new Set(all.map(({ id }) => id)).size, 1)
    assert.equal(all.filter(({ isNew }) => isNew).length, 1)
    const { expiresAt: _, ...again } = await ask({ key, plan: { ...PLAN, amount: '6' } })
    assert.deepEqual(again, { id: all[0]?.id, isNew: false, sameContent: false, state: 'pending' })
  })

  it('may be asked for again when nobody decided it in time, and not when it was rejected', async () => {
    const key = approvalKey.latePayment('pi_1')
    const first = await ask({ key })
    await advanceClock(database, DAY_MS)
    assert.equal(await stateOf(first.id), 'pending')
    assert.equal((await findApproval(database.pool, first.id))?.state, 'expired')
    const second = await ask({ key })
    assert.ok(second.isNew)
    assert.equal(await stateOf(first.id), 'expired')
    await decide(second.id, 'rejected', 'key_decides')
    assert.equal((await ask({ key })).id, second.id)
  })

  it('is decided by another person than asked, says the table itself', async () => {
    const { id } = await ask()
    await assert.rejects(decide(id, 'approved', 'key_asks'), constraint('approval_two_persons'))
    await assert.rejects(decide(id, 'rejected', 'key_asks'), constraint('approval_two_persons'))
    await assert.rejects(decide(id, 'approved', 'system'), constraint('approval_decided_by_a_person'))
    await assert.rejects(
      database.pool.query(`update approval set state = 'approved' where id = $1`, [id]),
      constraint('approval_decided'),
    )
    assert.equal(await stateOf(id), 'pending')
  })

  it('is decided once, in time', async () => {
    const { id } = await ask()
    const late = await fromNow(database, DAY_MS)
    await assert.rejects(decide(id, 'approved', 'key_decides', late), constraint('approval_in_time'))
    await decide(id, 'approved', 'key_decides')
    await assert.rejects(decide(id, 'rejected', 'key_other'), /was decided before/)
    await assert.rejects(end(id, 'expired', null), /cannot become expired/)
  })

  it('is carried out once, after it was approved, and never again', async () => {
    const { id } = await ask()
    await assert.rejects(end(id, 'executed'), /cannot become executed|approval_decided/)
    await decide(id, 'approved', 'key_decides')
    await assert.rejects(end(id, 'executed', null), constraint('approval_result'))
    await end(id, 'executed')
    await assert.rejects(end(id, 'executed'), /cannot become executed/)
    await assert.rejects(end(id, 'refused'), /cannot become refused/)
  })

  it('keeps what was asked for, and by whom, for ever', async () => {
    const { id } = await ask()
    const changes = [
      `plan = '{"amount": "500"}'`,
      `plan_hash = 'x'`,
      `requested_by = 'key_other'`,
      `key = 'other'`,
      `kind = 'late_payment'`,
      `reason_code = 'other'`,
      `requested_at = requested_at - interval '1 day'`,
      `expires_at = expires_at + interval '1 day'`,
    ]
    for (const change of changes) {
      const decided = `, state = 'rejected', decided_by = 'key_decides', decided_at = requested_at, command_id = 'c',
        ended_at = requested_at`
      const sql = `update approval set ${change}${decided} where id = $1`
      await assert.rejects(database.owner.query(sql, [id]), /never changes/, change)
    }
    await assert.rejects(database.owner.query('delete from approval'), /append-only/)
    await assert.rejects(database.owner.query('truncate approval cascade'), /append-only/)
    const born = `insert into approval (id, kind, account_id, key, plan, plan_hash, reason_code, requested_by, expires_at,
        state, decided_by, decided_at, command_id)
      select 'apr_' || repeat('1', 32), kind, account_id, 'born', plan, plan_hash, reason_code, requested_by, expires_at,
        'approved', 'key_decides', requested_at, 'cmd_born' from approval where id = $1`
    await assert.rejects(database.owner.query(born, [id]), /begins pending/)
  })

  it('knows its plan by a fingerprint of what is asked, for whom, by whom and why', () => {
    const asks = request({ key: 'k' })
    const others = [
      { plan: { ...PLAN, amount: '5.1' } },
      { plan: { ...PLAN, overdraft: true } },
      { account: 'acc_other' },
      { kind: 'late_payment' },
      { key: 'other' },
      { requestedBy: 'key_other' },
      { reasonCode: 'other' },
    ].map((more) => planHash(request({ key: 'k', ...more })))
    assert.equal(new Set([planHash(asks), ...others]).size, others.length + 1)
    const reversed = Object.fromEntries(Object.entries(PLAN).reverse())
    assert.equal(planHash(request({ key: 'k', plan: reversed })), planHash(asks))
  })

  it('reads back as it was asked for; a caller’s notes stand where they can be erased', async () => {
    const metadata = { ticket: '7' }
    const { id } = await ask({ metadata })
    const row = (await readApproval(database.pool, id)) as Approval
    assert.deepEqual([row.plan, row.planHash], [PLAN, planHash(row)])
    assert.deepEqual((await approvalMetadata(database.pool, [id])).get(id), metadata)
    const { rows } = await database.owner.query('select * from approval where id = $1', [id])
    assert.doesNotMatch(JSON.stringify(rows), /ticket/)
    const { rows: audit } = await database.owner.query(
      'select actor, reason_code, account_id from audit_log where subject = $1',
      [id],
    )
    assert.deepEqual(audit, [{ actor: 'key_asks', reason_code: 'test', account_id: account }])
  })

  it('is listed newest first, by its state as it is now', async () => {
    const other = await openAccount(database)
    const ids: string[] = []
    for (let n = 0; n < 3; n += 1) {
      ids.unshift((await ask({ account: other })).id)
      await advanceClock(database, 1)
    }
    const [newest = '', , oldest = ''] = ids
    const list = async (more: object) =>
      (await listApprovals(database.pool, { limit: 10, account: other, ...more })).map(({ id }) => id)
    assert.deepEqual(await list({}), ids)
    const [first] = await listApprovals(database.pool, { limit: 1, account: other })
    assert.deepEqual(await list({ after: { at: first?.requestedAt ?? '', id: newest } }), ids.slice(1))
    await decide(oldest, 'rejected', 'key_decides')
    assert.deepEqual(await list({ state: 'pending' }), ids.slice(0, 2))
    await advanceClock(database, DAY_MS)
    assert.deepEqual(await list({ state: 'pending' }), [])
    assert.deepEqual(await list({ state: 'expired' }), ids.slice(0, 2))
    assert.deepEqual(await list({ kind: 'late_payment' }), [])
  })
})
