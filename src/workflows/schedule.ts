/** The duties and when they run: Temporal schedules, made or brought up to date at every start of a worker. */
import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client'
import { workflowId } from '../domain/id.ts'
import { type DutyInput, WORKFLOW } from './message.ts'
import { runDuty } from './owner.ts'

/** Every duty: how often it runs. When its time comes while it is still running, it is left out. */
export const DUTIES: {
  duty: DutyInput['duty']
  every: '10 seconds' | '30 seconds' | '5 minutes' | '10 minutes' | '1 hour'
}[] = [
  { duty: 'sweep', every: '30 seconds' },
  { duty: 'notify', every: '10 seconds' },
  { duty: 'catch_up', every: '5 minutes' },
  { duty: 'adopt', every: '10 minutes' },
  { duty: 'drift', every: '1 hour' },
  { duty: 'clean', every: '1 hour' },
]

/**
 * Makes the schedules what `DUTIES` says, and has each duty run once: a start finds what was lost while down. One that
 * is under way, perhaps on a worker that has died, is not joined by another: the next begins when it has ended.
 */
export async function ensureSchedules(client: Client, taskQueue: string): Promise<void> {
  for (const { duty, every } of DUTIES) {
    const scheduleId = workflowId.duty(duty, taskQueue)
    const schedule = {
      spec: { intervals: [{ every }] },
      action: {
        type: 'startWorkflow' as const,
        workflowType: WORKFLOW.duty,
        workflowId: scheduleId,
        taskQueue,
        args: [{ duty }],
        workflowRunTimeout: '10 minutes' as const,
      },
      policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' as const },
    }
    try {
      await client.schedule.create({ scheduleId, ...schedule })
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error
      await client.schedule.getHandle(scheduleId).update((before) => ({ ...schedule, state: before.state }))
    }
    await runDuty({ client, taskQueue }, duty)
  }
}
