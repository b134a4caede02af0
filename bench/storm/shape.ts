/** Reads in the histories of Temporal what a renewal did, so that the baseline does as much. */
import type { Client, WorkflowHandle } from '@temporalio/client'

type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>

/** Events of one renewal, over all the runs that it went through. */
export type Counts = Record<'activities' | 'timers' | 'signals' | 'tasks' | 'runs' | 'events', number>

/** What one workflow did since a moment. */
export async function countsSince(client: Client, workflowId: string, since: number): Promise<Counts> {
  const counts: Counts = { activities: 0, timers: 0, signals: 0, tasks: 0, runs: 0, events: 0 }
  let runId: string | undefined
  for (let more = true; more; ) {
    const history: History = await client.workflow.getHandle(workflowId, runId).fetchHistory()
    more = false
    for (const event of history.events ?? []) {
      const at = Number(event.eventTime?.seconds ?? 0) * 1000 + (event.eventTime?.nanos ?? 0) / 1e6
      const started = event.workflowExecutionStartedEventAttributes
      if (at < since) continue
      counts.events += 1
      if (event.activityTaskScheduledEventAttributes) counts.activities += 1
      if (event.timerStartedEventAttributes) counts.timers += 1
      if (event.workflowExecutionSignaledEventAttributes) counts.signals += 1
      if (event.workflowTaskCompletedEventAttributes) counts.tasks += 1
      if (event.workflowExecutionContinuedAsNewEventAttributes) counts.runs += 1
      // this run began after the moment: the one before it is part of the renewal, too
      if (started?.continuedExecutionRunId) {
        runId = started.continuedExecutionRunId
        more = true
      }
    }
  }
  return counts
}

/** The middle one of some numbers. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
}

/** What a renewal did on average. */
export function meanOf(samples: Counts[]): Counts {
  const mean = (name: keyof Counts) => samples.reduce((sum, each) => sum + each[name], 0) / samples.length
  const names = ['activities', 'timers', 'signals', 'tasks', 'runs', 'events'] as const
  return Object.fromEntries(names.map((name) => [name, mean(name)])) as Counts
}
