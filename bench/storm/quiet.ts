/** When a round is over: for its time, when everybody's run was continued; for the next round, when nobody works. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import { eventually } from '../../test/support/stack.ts'
import { cpuOf } from '../cpu.ts'

/** Waits until so many runs of a type have ended by being continued as new, as Temporal counts them. */
export async function allContinued(client: Client, type: string, runs: number): Promise<void> {
  const query = `WorkflowType = '${type}' and ExecutionStatus = 'ContinuedAsNew'`
  const ask = async () => {
    const { count } = await client.workflow.count(query)
    // asked seldom: the server that counts is the one that is measured
    if (count < runs) await pause(250)
    return count >= runs
  }
  await eventually(`${runs} continued runs of ${type}`, ask, 120_000 + runs * 200)
}

/** Waits until these programs do next to nothing: a wake too many is worked off, and no load is carried over. */
export async function atRest(pids: Record<string, number>): Promise<void> {
  const used = () => Object.values(cpuOf(pids)).reduce((sum, seconds) => sum + seconds, 0)
  const ask = async () => {
    const before = used()
    await pause(2_000)
    return used() - before < 0.5
  }
  await eventually('nobody works', ask, 180_000)
}
