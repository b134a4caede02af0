import assert from 'node:assert/strict'
import { workflowId } from '../../src/domain/id.ts'
import { RETENTION_DAYS } from '../../src/store/retention.ts'
import { runDuty } from '../../src/workflows/owner.ts'
import { eventually, type Stack, startStack } from '../support/stack.ts'

describe('the duty that forgets', function () {
  this.timeout(180_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())

  it('runs by its schedule, takes more than a batch, records what it took, and leaves what is pending', async () => {
    const { owner, pool } = stack.database
    await eventually('the run that a worker’s start begins', async () => {
      const over = `select from duty_run where duty = 'clean' and finished_at is not null`
      return (await pool.query(over)).rowCount !== 0
    })
    // the hour may turn, and only what is asked for here is to find them
    const { temporal, config } = stack
    await temporal.schedule.getHandle(workflowId.duty('clean', config.taskQueue)).pause()
    await owner.query(
      `with long_ago as (
         insert into duty_run (duty, started_at) values ('long-ago', now() - interval '1 year')
       )
       insert into command (id, scope, operation, key, request_hash, input, state, created_at, finished_at)
       select 'cmd_' || n, 'accounts', 'create', 'k' || n, 'h', '{}',
              case when n <= 450 then 'done' else 'pending' end, clock_timestamp() - interval '1 year',
              case when n <= 450 then clock_timestamp() - ($1 + 1) * interval '1 day' end
         from generate_series(1, 453) n`,
      [RETENTION_DAYS],
    )
    const run = await eventually('the run that took them', async () => {
      const { rows } = await pool.query(
        `select result from duty_run where duty = 'clean' and finished_at is not null
          and (result ->> 'commands')::int > 0`,
      )
      // more than once: one that is asked for before the workflow of the run before has ended is left out
      if (rows[0] === undefined) await runDuty({ client: temporal, taskQueue: config.taskQueue }, 'clean')
      return rows[0]
    })
    assert.deepEqual(run, { result: { commands: 450, duty_runs: 1, stripe_calls: 0, notices: 0 } })
    const { rows } = await pool.query(`select state, count(*)::int from command group by state`)
    assert.deepEqual(rows, [{ state: 'pending', count: 3 }])
  })
})
