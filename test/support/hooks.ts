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
    problems.push(...childrenLeft().map((child) => `a process was left running: ${child}`))
    if (problems.length > 0) throw new Error(problems.join('\n'))
  },
}

/** Our direct children that still run, where the system can tell (Linux). */
function childrenLeft(): string[] {
  let list: string
  try {
    list = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
  } catch {
    return []
  }
  const commands = list
    .split(' ')
    .filter(Boolean)
    .map((pid) => [pid, commandLineOf(Number(pid))] as const)
  return commands
    .filter(([, command]) => command && !OURS.test(command))
    .map(([pid, command]) => `${pid} ${command?.slice(0, 120)}`)
}
