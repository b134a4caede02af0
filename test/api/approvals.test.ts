import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createApprovalActivities, foreseeDecision } from '../../src/activities/approval.ts'
import { workflowId } from '../../src/domain/id.ts'
import { createApiKey, type Scope } from '../../src/store/api-key.ts'
import { requestApproval } from '../../src/store/approval.ts'
import { transaction } from '../../src/store/connect.ts'
import { advanceClock, assertBooks, DAY_MS, fromNow, waitsForLock } from '../support/ledger.ts'
import { type Answer, type ApiUnderTest, fund, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

describe('corrections and their approval', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  let activities: ReturnType<typeof createApprovalActivities>
  let account: string
  /** another person's key, and a third one's */
  let other: Record<string, string>
  let third: Record<string, string>
  const keyOf = async (...scopes: Scope[]) => ({
    authorization: `Bearer ${await createApiKey(api.database.owner, { name: 'test', scopes })}`,
  })
  before(async () => {
    api = await startApi({ reach: workflows.reach })
    const { pool } = api.database
    activities = createApprovalActivities({
      pool,
      gateway: {} as never,
      changes: {} as never,
      reach: workflows.reach,
    })
    other = await keyOf('read', 'approvals', 'adjustments')
    third = await keyOf('approvals')
  })
  after(() => api.close())
  beforeEach(async () => {
    // as its workflow does
    workflows.answer = (command, owner) =>
      activities.decideApproval({ approval: owner.slice('approval/'.length), command })
    account = (await api.post('/v1/accounts', {})).body.id
    await fund(api.database, account, '10')
  })
  afterEach(() => assertBooks(api.database))

  const ask = (more: object = {}, headers?: Record<string, string>) =>
    api.post(
      '/v1/adjustments',
      { account, direction: 'debit', amount: '4', reason_code: 'granted_twice', ...more },
      headers,
    )
  const asked = async (more: object = {}) => {
    const { status, body } = await ask(more)
    assert.equal(status, 201, JSON.stringify(body))
    return body.id as string
  }
  const approve = (id: string, by = other, key: string = randomUUID()) =>
    api.post(`/v1/approvals/${id}/approve`, {}, { ...by, 'idempotency-key': key })
  const reject = (id: string, by = other) =>
    api.post(`/v1/approvals/${id}/reject`, { reason_code: 'not_justified' }, by)
  const read = async (id: string) => (await api.get(`/v1/approvals/${id}`)).body
  const balance = async () => (await api.get(`/v1/accounts/${account}/balance`)).body.balance
  const problem = ({ status, body }: Answer) => [status, body.code]
  const postings = async () =>
    (await api.get(`/v1/accounts/${account}/ledger?kind=adjustment`)).body.data as {
      id: string
      metadata: object
    }[]
  /** Writes where nobody may, as only the owner of the database can. */
  async function tamper(sql: string, values: unknown[]): Promise<void> {
    const client = await api.database.owner.connect()
    try {
      await client.query('begin')
      await client.query('set local session_replication_role = replica')
      await client.query(sql, values)
      await client.query('commit')
    } finally {
      await client.query('rollback')
      client.release()
    }
  }

  it('are asked for by one and made when another approves, as they were asked for', async () => {
    const { status, body } = await ask({ metadata: { ticket: '7' } })
    assert.equal(status, 201)
    const { approval, created_at, id, ...rest } = body
    assert.deepEqual(rest, {
      object: 'adjustment',
      account,
      direction: 'debit',
      amount: '4',
      overdraft: false,
      expires_at: null,
      priority: 100,
      reason_code: 'granted_twice',
      metadata: { ticket: '7' },
    })
    assert.deepEqual([approval.id, approval.state, approval.created_at], [id, 'pending', created_at])
    assert.equal(await balance(), '10')
    const approved = await approve(id)
    assert.equal(approved.status, 200, approved.text)
    const [posting] = await postings()
    assert.deepEqual(
      [approved.body.state, approved.body.result, approved.body.plan],
      ['executed', { posting: posting?.id, amount: '-4', balance: '6' }, approval.plan],
    )
    assert.match(approved.body.decided_by, /^key_/)
    assert.notEqual(approved.body.decided_by, approved.body.requested_by)
    assert.deepEqual(posting?.metadata, { ticket: '7' })
    assert.equal(await balance(), '6')
    assert.deepEqual(await read(id), approved.body)
    const { rows } = await api.database.owner.query(
      `select reason_code from audit_log where subject = $1 order by id`,
      [id],
    )
    assert.deepEqual(
      rows.map((row) => row.reason_code),
      ['granted_twice', 'approved', 'executed'],
    )
    const told = await api.database.owner.query(
      `select kind, data ->> 'decision' as decision, data ->> 'amount' as amount from notice where account_id = $1
        order by recorded_at`,
      [account],
    )
    assert.deepEqual(told.rows, [
      { kind: 'approval_requested', decision: null, amount: null },
      { kind: 'approval_decided', decision: 'approved', amount: null },
      { kind: 'adjustment_made', decision: null, amount: '-4' },
    ])
  })

  it('that give have an expiry and a priority; that take may leave a debt, and neither the other', async () => {
    const expires_at = await fromNow(api.database, DAY_MS)
    await approve(await asked({ direction: 'credit', expires_at, priority: 5 }))
    await approve(await asked({ amount: '20', overdraft: true }))
    assert.equal(await balance(), '-6')
    for (const more of [
      { expires_at },
      { priority: 5 },
      { direction: 'credit', overdraft: true },
      { amount: '-4' },
      { amount: '0' },
      { amount: 4 },
      { direction: 'both' },
    ]) {
      assert.equal((await ask(more)).status, 400, JSON.stringify(more))
    }
    assert.deepEqual(problem(await ask({ direction: 'credit', expires_at: '2020-01-01T00:00:00Z' })), [
      400,
      'expiry_past',
    ])
    assert.deepEqual(problem(await ask({ account: 'acc_nobody' })), [404, 'account_not_found'])
  })

  it('are not approved or rejected by whoever asked', async () => {
    const id = await asked()
    const mine = { authorization: `Bearer ${api.key}` }
    for (const answer of [await approve(id, mine), await reject(id, mine)]) {
      assert.deepEqual(problem(answer), [403, 'approver_is_requester'])
    }
    // nor when the API did not see it
    const { rows } = await api.database.owner.query<{ requested_by: string }>(
      'select requested_by from approval where id = $1',
      [id],
    )
    await api.database.owner.query(
      `insert into command (id, scope, operation, key, request_hash, owner, input)
       values ('cmd_forged', $1, 'approve', 'k', 'h', $2, $3)`,
      [account, workflowId.approval(id), JSON.stringify({ approval: id, actor: rows[0]?.requested_by })],
    )
    const { statusCode, result } = await activities.decideApproval({ approval: id, command: 'cmd_forged' })
    assert.deepEqual([statusCode, result['code']], [403, 'approver_is_requester'])
    assert.equal((await read(id)).state, 'pending')
  })

  it('need the scope to ask and the scope to decide', async () => {
    const id = await asked()
    const reads = await keyOf('read', 'adjustments')
    assert.deepEqual(problem(await approve(id, reads)), [403, 'scope_missing'])
    assert.deepEqual(problem(await ask({}, third)), [403, 'scope_missing'])
  })

  it('are decided once: of two at the same moment one is told that it came second', async () => {
    const id = await asked()
    const answers = await Promise.all([approve(id), approve(id, third), approve(id), reject(id, third)])
    const done = answers.filter(({ status }) => status === 200)
    assert.equal(done.length, 1)
    for (const answer of answers.filter(({ status }) => status !== 200))
      assert.deepEqual(problem(answer), [409, 'approval_decided'])
    const { state } = await read(id)
    assert.equal((await postings()).length, state === 'executed' ? 1 : 0)
    assert.deepEqual(problem(await approve(id)), [409, 'approval_decided'])
  })

  it('that are rejected are never made', async () => {
    const id = await asked()
    const { status, body } = await reject(id)
    assert.deepEqual([status, body.state, body.decision_reason_code], [200, 'rejected', 'not_justified'])
    assert.deepEqual(problem(await approve(id, third)), [409, 'approval_decided'])
    assert.deepEqual(await postings(), [])
  })

  it('are answered with the same bytes to the same key, by whoever decided', async () => {
    const id = await asked()
    const first = await approve(id, other, 'once')
    await approve(await asked({ amount: '1' }))
    const again = await approve(id, other, 'once')
    assert.deepEqual([again.status, again.text], [200, first.text])
    assert.equal(again.headers['idempotent-replayed'], 'true')
    const request = { account, direction: 'credit', amount: '1', reason_code: 'x' }
    const headers = { 'idempotency-key': 'asked-once' }
    const made = await api.post('/v1/adjustments', request, headers)
    assert.equal((await api.post('/v1/adjustments', request, headers)).text, made.text)
    const different = await api.post('/v1/adjustments', { ...request, amount: '2' }, headers)
    assert.deepEqual(problem(different), [409, 'idempotency_key_reused'])
    // also when the command was forgotten
    await api.database.owner.query(`delete from command where operation = 'adjust'`)
    assert.deepEqual(problem(await api.post('/v1/adjustments', request, headers)), [
      409,
      'idempotency_key_reused',
    ])
  })

  it('cannot be decided from their deadline on, whoever comes first to it', async () => {
    const id = await asked()
    await advanceClock(api.database, DAY_MS - 60_000)
    const late = await asked()
    await advanceClock(api.database, 60_000)
    assert.equal((await read(id)).state, 'expired')
    assert.deepEqual(problem(await approve(id)), [409, 'approval_expired'])
    assert.deepEqual(problem(await reject(id)), [409, 'approval_expired'])
    assert.equal(await activities.expireApproval({ approval: late }), 'pending')
    assert.equal(await activities.expireApproval({ approval: id }), 'expired')
    assert.equal((await approve(late)).status, 200)
    assert.equal(await activities.expireApproval({ approval: late }), 'executed')
  })

  it('approved while they expire: the time is read once the wallet is locked', async () => {
    const id = await asked()
    const lock = await api.database.owner.connect()
    try {
      await lock.query('begin')
      await lock.query('select 1 from wallet where account_id = $1 for update', [account])
      const answer = approve(id)
      await waitsForLock(api.database)
      await advanceClock(api.database, DAY_MS)
      await lock.query('commit')
      assert.deepEqual(problem(await answer), [409, 'approval_expired'])
    } finally {
      lock.release()
    }
    assert.deepEqual(await postings(), [])
    assert.equal(await activities.expireApproval({ approval: id }), 'expired')
  })

  it('are refused when what they rest on has changed, with why', async () => {
    const id = await asked({ amount: '9' })
    await api.post(`/v1/accounts/${account}/spend`, { amount: '2' })
    const stale = await approve(id)
    assert.deepEqual(problem(stale), [409, 'approval_stale'])
    assert.deepEqual([stale.body.why, stale.body.approval], ['insufficient_credits', id])
    const { state, result } = await read(id)
    assert.deepEqual([state, result.code, result.available], ['refused', 'insufficient_credits', '8'])
    assert.deepEqual(problem(await approve(id, third)), [409, 'approval_decided'])

    const expires_at = await fromNow(api.database, 60_000)
    const lapsed = await asked({ direction: 'credit', expires_at })
    await advanceClock(api.database, 60_000)
    assert.deepEqual([(await approve(lapsed)).body.why, await balance()], ['expiry_past', '8'])

    const huge = await asked({ direction: 'credit', amount: '1000000000000000' })
    await tamper(`update wallet set balance = balance + 9999999999999000 where account_id = $1`, [account])
    assert.equal((await approve(huge)).body.why, 'balance_limit')
    await tamper(`update wallet set balance = balance - 9999999999999000 where account_id = $1`, [account])
    assert.deepEqual(await postings(), [])
  })

  it('are refused when somebody wrote into what was asked for, and a person is told', async () => {
    for (const change of [
      `plan = jsonb_set(plan, '{amount}', '"9"')`,
      `plan = jsonb_set(plan, '{direction}', '"credit"')`,
      `requested_by = 'key_innocent'`,
      `reason_code = 'other'`,
    ]) {
      const id = await asked()
      await tamper(`update approval set ${change} where id = $1`, [id])
      const answer = await approve(id)
      assert.deepEqual(problem(answer), [409, 'approval_stale'], change)
      assert.equal((await read(id)).result.tampered, true)
      const { rowCount } = await api.database.owner.query(
        `select 1 from alert where kind = 'approval_tampered' and subject = $1`,
        [id],
      )
      assert.equal(rowCount, 1)
    }
    assert.equal(await balance(), '10')
  })

  it('are made once, wherever a worker dies and whoever goes on', async () => {
    const id = await asked()
    let command = ''
    workflows.answer = (sent) => {
      command = sent
      throw new Error('the worker died')
    }
    assert.equal((await approve(id, other, 'died')).status, 202)
    // it had written the decision down and no more
    const { rows } = await api.database.owner.query<{ actor: string }>(
      `select input ->> 'actor' as actor from command where id = $1`,
      [command],
    )
    await api.database.owner.query(
      `update approval set state = 'approved', decided_by = $2, decided_at = business_now(), command_id = $3 where id = $1`,
      [id, rows[0]?.actor, command],
    )
    assert.deepEqual(problem(await approve(id, third)), [409, 'approval_decided'])
    const repeat = () => activities.decideApproval({ approval: id, command })
    const carryOut = () => activities.carryOutApproval({ approval: id })
    const all = await Promise.all([repeat(), carryOut(), repeat(), carryOut()])
    assert.equal((await postings()).length, 1)
    assert.deepEqual(
      [all[0], all[1]],
      [{ state: 'done', statusCode: 200, result: { state: 'executed' } }, 'executed'],
    )
    workflows.answer = repeat
    const answer = await approve(id, other, 'died')
    assert.deepEqual([answer.status, answer.body.state], [200, 'executed'])
    assert.equal(await balance(), '6')
  })

  it('are foreseen as they are then made, and nothing is done', async () => {
    workflows.foresee = (asked) =>
      foreseeDecision(
        { pool: api.database.pool, gateway: {} as never, changes: {} as never, look: {} as never },
        asked,
      )
    const dry = (url: string, body: object, by = other) => api.post(`${url}?dry_run=true`, body, by)
    const request = { account, direction: 'debit', amount: '4', reason_code: 'granted_twice' }
    const foreseen = (await dry('/v1/adjustments', request)).body
    assert.deepEqual(
      [foreseen.outcome, foreseen.effects.notices[0].kind, foreseen.effects.dates[0].what],
      ['done', 'approval_requested', 'approval_expires'],
    )
    assert.equal((await api.get(`/v1/approvals?account=${account}`)).body.data.length, 0)
    const id = await asked()
    const url = `/v1/approvals/${id}/approve`
    const { effects, balance: after } = (await dry(url, {})).body
    assert.equal((await read(id)).state, 'pending')
    const refused = (await dry(url, {}, { authorization: `Bearer ${api.key}` })).body
    assert.deepEqual([refused.refusal.code, refused.refusal.status], ['approver_is_requester', 403])
    await approve(id)
    const [made] = (await api.get(`/v1/accounts/${account}/ledger`)).body.data
    const [planned, ...more] = effects.postings
    assert.deepEqual(
      [planned.kind, planned.amount, planned.balance_after, planned.lots[0].lot, more],
      [made.kind, made.amount, made.balance_after, made.lots[0].id, []],
    )
    assert.equal(after.balance, await balance())
    assert.deepEqual(
      effects.notices.map(({ kind }: { kind: string }) => kind),
      ['adjustment_made', 'approval_decided'],
    )
    // one that cannot be done any more: the decision stands all the same
    const stale = await asked({ amount: '7' })
    const told = (await dry(`/v1/approvals/${stale}/approve`, {})).body
    const answer = await approve(stale)
    const { type: _type, title: _title, request_id: _request, ...problem } = answer.body
    assert.deepEqual(told.refusal, problem)
    assert.deepEqual(told.effects.postings, [])
    assert.deepEqual(
      told.effects.notices.map(({ kind }: { kind: string }) => kind),
      ['approval_decided'],
    )
    assert.equal(
      (await dry(`/v1/approvals/${stale}/reject`, { reason_code: 'x' })).body.refusal.code,
      'approval_decided',
    )
  })

  it('are asked for also while no worker lives, and decided when one does', async () => {
    workflows.answer = undefined
    const id = await asked()
    const answer = await approve(id, other, 'later')
    assert.deepEqual([answer.status, answer.body.object, answer.body.subject], [202, 'command', id])
    assert.equal((await read(id)).state, 'pending')
  })

  it('are listed by state, account and kind, page by page', async () => {
    const ids: string[] = []
    for (let n = 0; n < 3; n += 1) {
      ids.unshift(await asked())
      await advanceClock(api.database, 1)
    }
    await reject(ids[2] ?? '')
    const list = async (query: string) => (await api.get(`/v1/approvals?account=${account}${query}`)).body
    const page = await list('&limit=2')
    assert.deepEqual(
      page.data.map(({ id }: { id: string }) => id),
      ids.slice(0, 2),
    )
    assert.deepEqual((await list(`&limit=2&cursor=${page.next_cursor}`)).data[0].state, 'rejected')
    assert.equal((await list('&state=pending')).data.length, 2)
    assert.equal((await list('&state=pending&kind=late_payment')).data.length, 0)
    const stranger = await api.get(`/v1/approvals?limit=2&cursor=${page.next_cursor}`)
    assert.deepEqual(problem(stranger), [400, 'cursor_invalid'])
    assert.deepEqual(problem(await api.get('/v1/approvals/apr_nobody')), [404, 'approval_not_found'])
  })

  it('keep a late payment’s credits when its grant is what was told, and only then', async () => {
    const { pool, owner } = api.database
    await owner.query(
      `insert into payment (id, account_id, amount_minor, currency, paid_at) values ($1, $2, 500, 'usd', now())`,
      [`pi_${account}`, account],
    )
    await owner.query(
      `select ledger_grant($1, 'purchase:ord_1', 'h', 'pack', 5, null, 100::smallint, null, null, $2, 'system:sold', 't', 't', '{}')`,
      [account, `pi_${account}`],
    )
    const [granted] = (await api.get(`/v1/accounts/${account}/ledger`)).body.data
    const plan = {
      order: 'ord_1',
      payment: `pi_${account}`,
      amountMinor: '500',
      currency: 'usd',
      credits: '5',
      posting: granted.id as string,
    }
    const request = async (more: object, key: string) =>
      await transaction(pool, (client) =>
        requestApproval(client, {
          kind: 'late_payment',
          account,
          plan: { ...plan, ...more },
          key,
          requestedBy: 'system',
          reasonCode: 'late_payment',
        }),
      )
    for (const [index, more] of [
      { credits: '6' },
      { amountMinor: '501' },
      { payment: 'pi_other' },
    ].entries()) {
      const { id } = await request(more, `wrong${index}${account}`)
      assert.deepEqual(problem(await approve(id)), [409, 'approval_stale'])
    }
    const { id } = await request({}, `right${account}`)
    const { body } = await approve(id)
    assert.deepEqual([body.state, body.result], ['executed', { posting: granted.id }])
    assert.equal(await balance(), '15')
  })
})
