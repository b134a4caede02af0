import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { SYSTEM } from '../../src/domain/approval.ts'
import { approvalKey, workflowId } from '../../src/domain/id.ts'
import { createApiKey } from '../../src/store/api-key.ts'
import { requestApproval } from '../../src/store/approval.ts'
import { transaction } from '../../src/store/connect.ts'
import { decide, tell, type Verdict } from '../support/approval.ts'
import { startCutProxy } from '../support/cut-proxy.ts'
import { assertBooks, DAY_MS, give } from '../support/ledger.ts'
import { startRole } from '../support/process.ts'
import { balanceOf, eventually, type Stack, startStack, wake } from '../support/stack.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/perennial.mjs', import.meta.url))

describe('an approval', function () {
  this.timeout(120_000)
  let stack: Stack
  /** a second person's */
  let key: string
  /** approved, by a worker that was killed right after it had written that down; Temporal notices by and by */
  let cutOff: { account: string; id: string; first: number }
  before(async () => {
    stack = await startStack({ worker: false })
    key = await createApiKey(stack.database.owner, { name: 'second', scopes: ['read', 'approvals'] })
    cutOff = await decideAndDie()
    await stack.startWorker()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const askFor = async (amount: string) => {
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    await give(stack.database.pool, account, '10')
    const body = { account, direction: 'debit', amount, reason_code: 'granted_twice' }
    const { id } = (await stack.call<{ id: string }>('POST', '/v1/adjustments', body)).body
    return { account, id }
  }
  const decideIt = (id: string, verdict: Verdict, idempotencyKey?: string) =>
    decide(stack, key, id, verdict, idempotencyKey === undefined ? {} : { key: idempotencyKey })
  async function decideAndDie() {
    const proxy = await startCutProxy(stack.database.serviceUrl)
    const worker = await startRole(stack, 'worker', { databaseUrl: proxy.url })
    try {
      const asked = await askFor('4')
      const held = proxy.holdAfter('commit', 'update approval set state')
      const answer = tell(stack, key, asked.id, 'approve', { key: 'once' })
      await held
      await worker.kill()
      const { status } = await answer
      return { ...asked, first: status }
    } finally {
      await worker.kill()
      await proxy.close()
    }
  }
  const read = async (id: string) => (await stack.call('GET', `/v1/approvals/${id}`)).body
  const describeRun = (id: string) => stack.temporal.workflow.getHandle(workflowId.approval(id)).describe()
  const closed = (id: string) =>
    eventually(`${id} is over`, async () => {
      const run = await describeRun(id)
      return run.status.name === 'COMPLETED' && run
    })
  const corrections = async (account: string) =>
    (
      await stack.database.pool.query(`select 1 from posting where account_id = $1 and kind = 'adjustment'`, [
        account,
      ])
    ).rowCount

  it('is seen in Temporal while it waits, ends when it is decided, and finds all done when it is started again', async () => {
    const { account, id } = await askFor('4')
    const attributes = await eventually('its search attributes', async () => {
      // it is started after the answer
      const run = await describeRun(id).catch(() => undefined)
      const pairs = Object.fromEntries(
        (run?.typedSearchAttributes.getAll() ?? []).map(({ key: { name }, value }) => [name, value]),
      )
      return 'PerennialStatus' in pairs && pairs
    })
    assert.deepEqual([attributes['PerennialAccount'], attributes['PerennialStatus']], [account, 'pending'])
    assert.equal((await stack.call('POST', `/v1/approvals/${id}/approve`, {})).status, 403)
    assert.equal((await decideIt(id, 'approve')).body['state'], 'executed')
    const { runId } = await closed(id)
    await wake(stack, workflowId.approval(id))
    await eventually('another run has ended', async () => (await closed(id)).runId !== runId)
    assert.equal(await corrections(account), 1)
  })

  it('ends by itself at its deadline, also when only the database knew of it', async () => {
    const { account } = await askFor('4')
    // nobody adopts before it is looked for
    await stack.stopWorker()
    const orphan = await transaction(stack.database.pool, (client) =>
      requestApproval(client, {
        kind: 'adjustment',
        account,
        plan: { direction: 'credit', amount: '1', overdraft: false, expiresAt: null, priority: 100 },
        key: approvalKey.adjustment(account, 'orphan'),
        requestedBy: SYSTEM,
        reasonCode: 'test',
      }),
    )
    await assert.rejects(describeRun(orphan.id), /not found/)
    // what a start of a worker does
    await stack.startWorker()
    await eventually('it was adopted', async () => {
      const run = await describeRun(orphan.id).catch(() => undefined)
      return run?.status.name === 'RUNNING'
    })
    await stack.clock.advance(stack.clock.now() + DAY_MS)
    const { rows } = await stack.database.pool.query(
      `select distinct state, decided_by from approval where account_id = $1`,
      [account],
    )
    assert.deepEqual(rows, [{ state: 'expired', decided_by: null }])
    await closed(orphan.id)
    assert.equal((await decideIt(orphan.id, 'reject')).body['code'], 'approval_expired')
    assert.equal(await balanceOf(stack, account), '10')
  })

  it('is decided from the command line as over HTTP, by the person whose key it is', async () => {
    const { account, id } = await askFor('4')
    const perennial = (...args: string[]) =>
      new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
        const env = { PATH: process.env['PATH'], PERENNIAL_API_KEY: key }
        const given = [PROGRAM, '--api', stack.apiUrl, 'approval', ...args]
        execFile(process.execPath, given, { env }, (error, out, err) =>
          resolve({ code: error?.code ?? 0, out, err }),
        )
      })
    const [listed, unasked] = await Promise.all([perennial('list'), perennial('approve', id)])
    assert.match(listed.out, new RegExp(`^${id}  adjustment  ${account}  asked by key_`, 'm'))
    // nobody is there to be asked
    assert.deepEqual([unasked.code, (await read(id))['state']], [1, 'pending'])
    assert.match(unasked.out, /plan +\{"amount":"4"/)
    const approved = await perennial('approve', id, '--yes')
    const isSlow = approved.err.includes('it was taken and goes on')
    await eventually('it is carried out', async () => (await read(id))['state'] === 'executed')
    if (!isSlow) assert.match(approved.out, new RegExp(`${id} is executed .*"amount":"-4"`), approved.err)
    assert.equal(await corrections(account), 1)
  })

  // last, so that nobody waits for Temporal to notice
  describe('whose worker was killed', () => {
    it('right after the decision was written is carried out once', async () => {
      const { account, id, first } = cutOff
      assert.equal(first, 202)
      await eventually('it is carried out', async () => (await read(id))['state'] === 'executed')
      const again = await eventually('its answer', async () => {
        const answer = await decideIt(id, 'approve', 'once')
        return answer.status === 200 && answer
      })
      assert.equal(again.body['state'], 'executed')
      assert.equal(await corrections(account), 1)
      assert.equal(await balanceOf(stack, account), '6')
      await closed(id)
    })
  })
})
