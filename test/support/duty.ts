/** Duties in tests: one that is run for its result, and one that nobody else runs. */
import { randomUUID } from 'node:crypto'
import { workflowId } from '../../src/domain/id.ts'
import { type DutyInput, WORKFLOW } from '../../src/workflows/message.ts'
import { eventually, type Stack } from './stack.ts'

/** Runs a duty once, now, whatever its schedule does meanwhile, and answers what this run came to. */
export async function runOf(stack: Stack, duty: DutyInput['duty']): Promise<Record<string, number>> {
  const { taskQueue } = stack.config
  return await stack.temporal.workflow.execute<(input: DutyInput) => Promise<Record<string, number>>>(
    WORKFLOW.duty,
    { workflowId: `${workflowId.duty(duty, taskQueue)}/${randomUUID()}`, taskQueue, args: [{ duty }] },
  )
}

/**
 * From now on a duty runs only when it is asked for: its schedule rests, and all that it had begun is over. A worker
 * must be there, and have run it once.
 */
export async function atRest(stack: Stack, duty: DutyInput['duty']): Promise<void> {
  const schedule = stack.temporal.schedule.getHandle(workflowId.duty(duty, stack.config.taskQueue))
  await schedule.pause()
  await eventually(
    `${duty} is at rest`,
    async () => {
      const { rowCount } = await stack.database.pool.query(
        'select from duty_run where duty = $1 and finished_at is not null limit 1',
        [duty],
      )
      const { info, raw } = await schedule.describe()
      const waiting = raw.info?.bufferSize?.toNumber() ?? 0
      return rowCount === 1 && info.runningActions.length === 0 && waiting === 0
    },
    // one whose worker was killed is started again only when it has been silent for ten seconds
    60_000,
  )
}
