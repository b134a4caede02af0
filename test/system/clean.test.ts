import assert from 'node:assert/strict'
import { transaction } from '../../src/store/connect.ts'
import { RETENTION_DAYS } from '../../src/store/retention.ts'
import { runDuty } from '../../src/workflows/owner.ts'
import { ensureSchedules } from '../../src/workflows/schedule.ts'
import { atRest } from '../support/duty.ts'
import { eventually, type Stack, startStack } from '../support/stack.ts'

describe('the duty that forgets', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())

  const ask = () => runDuty({ client: stack.temporal, taskQueue: stack.config.taskQueue }, 'clean')
  const begun = async () =>
    (await stack.database.pool.query(`select from duty_run where duty = 'clean'`)).rowCount ?? 0

  it('runs by its schedule, takes more than a batch, records what it took, and leaves what is pending', async () => {
    const { owner, pool } = stack.database
    // the run that a worker’s start begins is over
    await atRest(stack, 'clean')
    await owner.query(
      `insert into command (id, scope, operation, key, request_hash, input, state, created_at, finished_at)
       select 'cmd_' || n, 'accounts', 'create', 'k' || n, 'h', '{}',
              case when n <= 450 then 'done' else 'pending' end, clock_timestamp() - interval '1 year',
              case when n <= 450 then clock_timestamp() - ($1 + 1) * interval '1 day' end
         from generate_series(1, 453) n`,
      [RETENTION_DAYS],
    )
    await owner.query(
      `insert into duty_run (duty, started_at) values ('long-ago', now() - interval '1 year')`,
    )
    await ask()
    const run = await eventually('the run that took them', async () => {
      const { rows } = await pool.query(
        `select result from duty_run where duty = 'clean' and finished_at is not null
          and (result ->> 'commands')::int > 0`,
      )
      return rows[0]
    })
    assert.deepEqual(run, { result: { commands: 450, duty_runs: 1, stripe_calls: 0, notices: 0 } })
    const { rows } = await pool.query(`select state, count(*)::int from command group by state`)
    assert.deepEqual(rows, [{ state: 'pending', count: 3 }])
  })

  it('is never under way twice: however it is asked for while it runs, one run follows', async () => {
    await atRest(stack, 'clean')
    const before = await begun()
    await transaction(stack.database.owner, async (client) => {
      // whoever begins waits here
      await client.query('lock table duty_run in exclusive mode')
      await ask()
      for (const again of [ask, () => ensureSchedules(stack.temporal, stack.config.taskQueue)]) {
        // runs of one second have one id, so that Temporal itself would not begin the second
        const asked = Math.floor(Date.now() / 1000)
        await eventually('the next second', async () => Math.floor(Date.now() / 1000) > asked)
        await again()
      }
    })
    await eventually('another has begun', async () => (await begun()) >= before + 2)
    await atRest(stack, 'clean')
    assert.equal(await begun(), before + 2)
  })
})
