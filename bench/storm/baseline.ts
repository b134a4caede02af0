/** The baseline's side of the bench: starts its worker and its workflows, and wakes them all at once. */
import type { Client } from '@temporalio/client'
import { wakeSignal } from '../../src/workflows/message.ts'
import type { baseline, Shape } from './baseline-workflow.ts'
import { type Program, startProgram } from '../program.ts'
import { allContinued } from './quiet.ts'
import { each } from './setup.ts'

const TYPE = 'baseline'
const QUEUE = 'storm-baseline'

export interface Baseline {
  worker: Program
  /** Wakes every workflow once and waits until each was continued as new. @returns seconds */
  round(): Promise<number>
}

export async function startBaseline(input: {
  client: Client
  address: string
  folder: string
  count: number
  /** one for each of a sample of renewals: the workflows take them in turns, so that all in all they do as much */
  shapes: Shape[]
  env: Record<string, string>
}): Promise<Baseline> {
  const { client, address, folder, count, shapes, env } = input
  const worker = await startProgram({
    name: 'baseline',
    script: 'bench/storm/baseline-worker.ts',
    args: [address, QUEUE],
    env,
    folder,
  })
  const all = Array.from({ length: count }, (_, index) => ({
    workflowId: `baseline-${index}`,
    taskQueue: QUEUE,
    args: [shapes[index % shapes.length]] as [Shape],
  }))
  await each(all, (options) => client.workflow.start<typeof baseline>(TYPE, options))
  let rounds = 0
  return {
    worker,
    async round() {
      const began = performance.now()
      await each(all, (options) =>
        client.workflow.signalWithStart<typeof baseline, [{ reason: string }]>(TYPE, {
          ...options,
          workflowIdConflictPolicy: 'USE_EXISTING',
          signal: wakeSignal,
          signalArgs: [{ reason: 'webhook' }],
        }),
      )
      await allContinued(client, TYPE, count * ++rounds)
      return (performance.now() - began) / 1000
    },
  }
}
