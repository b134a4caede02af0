/** Owns the end of a test run: everything that was started lazily is stopped, and nothing may be left behind. */
import { readFileSync } from 'node:fs'
import { Runtime } from '@temporalio/worker'
import { commandLineOf } from '../../src/sandbox/child.ts'
import { createLogger } from '../../src/log.ts'
import { installRuntime } from '../../src/main.ts'
import { stopPostgres } from './postgres.ts'
import { stopTemporal } from './temporal.ts'

/** Started by the harness itself for the whole run: tsx's compiler, and the watchdog that outlives us. */
const OURS = /esbuild|const watched = new Map/

export const mochaHooks = {
  beforeAll() {
    // once, before the first worker; what a test needs to know it asks for
    installRuntime(createLogger('silent'))
  },
  async afterAll(this: Mocha.Context) {
    this.timeout(60_000)
    const ends = await Promise.allSettled([stopTemporal(), stopPostgres()])
    // it ends with its last worker; a run that had none would never end
    await Runtime.instance().shutdown()
    const problems = ends.filter((end) => end.status === 'rejected').map((end) => String(end.reason))
    for (const { pid, command } of childrenLeft()) {
      problems.push(`a process was left running: ${pid} ${command.slice(0, 120)}`)
      // ours, and nobody else will end it
      process.kill(pid, 'SIGKILL')
    }
    if (problems.length > 0) throw new Error(problems.join('\n'))
  },
}

/** Our direct children that still run, where the system can tell (Linux). */
function childrenLeft(): { pid: number; command: string }[] {
  let list: string
  try {
    list = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
  } catch {
    return []
  }
  return list
    .split(' ')
    .filter(Boolean)
    .map((pid) => ({ pid: Number(pid), command: commandLineOf(Number(pid)) ?? '' }))
    .filter(({ command }) => command !== '' && !OURS.test(command))
}
