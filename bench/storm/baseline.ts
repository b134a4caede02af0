/** The baseline's side of the bench: starts its worker and its workflows, and wakes them all at once. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Client } from '@temporalio/client'
import { wakeSignal } from '../../src/workflows/message.ts'
import { eventually } from '../../test/support/stack.ts'
import type { baseline, Shape } from './baseline-workflow.ts'
import { type Program, startProgram } from '../program.ts'
import { each } from './setup.ts'

const TYPE = 'baseline'
const QUEUE = 'storm-baseline'

export interface Baseline {
  worker: Program
  /** Wakes every workflow once and waits until each has ended its cycle. @returns seconds */
  round(): Promise<number>
}

export async function startBaseline(input: {
  client: Client
  address: string
  folder: string
  count: number
  shape: Shape
  env: Record<string, string>
}): Promise<Baseline> {
  const { client, address, folder, count, shape, env } = input
  const counter = join(folder, 'baseline.count')
  const worker = await startProgram({
    name: 'baseline',
    script: 'bench/storm/baseline-worker.ts',
    args: [address, QUEUE, counter],
    env,
    folder,
  })
  const ids = Array.from({ length: count }, (_, index) => `baseline-${index}`)
  const options = (workflowId: string) => ({ workflowId, taskQueue: QUEUE, args: [shape] as [Shape] })
  await each(ids, (id) => client.workflow.start<typeof baseline>(TYPE, options(id)))
  const ended = () => (existsSync(counter) ? Number(readFileSync(counter, 'utf8') || 0) : 0)
  return {
    worker,
    async round() {
      const before = ended()
      const began = performance.now()
      await each(ids, (id) =>
        client.workflow.signalWithStart<typeof baseline, [{ reason: string }]>(TYPE, {
          ...options(id),
          workflowIdConflictPolicy: 'USE_EXISTING',
          signal: wakeSignal,
          signalArgs: [{ reason: 'webhook' }],
        }),
      )
      await eventually('every cycle', async () => ended() - before >= count, 60_000 + count * 200)
      return (performance.now() - began) / 1000
    },
  }
}
