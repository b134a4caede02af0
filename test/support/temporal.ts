/**
 * Owns the Temporal server of the tests: one real development server a run, in memory, started on first use.
 * Tests keep apart by their task queues.
 */
import { fileURLToPath } from 'node:url'
import { bundleWorkflowCode, DefaultLogger, type WorkflowBundleWithSourceMap } from '@temporalio/worker'
import { loadConfig } from '../../src/config.ts'
import { createLogger } from '../../src/log.ts'
import { freePort } from '../../src/sandbox/ports.ts'
import { startTemporal, type Temporal } from '../../src/sandbox/temporal.ts'
import { findTemporal } from '../../src/sandbox/temporal-binary.ts'

export type TestTemporal = {
  /** `host:port`, the same after a restart. */
  address: string
  cliPath: string
  /** Ends the server as a crash would. */
  kill(): Promise<void>
  /** Starts it again, with nothing in it: all of Temporal's data is lost. */
  restart(): Promise<void>
}

const log = createLogger('silent')
let server: Promise<TestTemporal> | undefined
let running: Temporal | undefined

/** The server of this run. Whoever kills it starts it again. */
export function temporalServer(): Promise<TestTemporal> {
  server ??= start()
  return server
}

async function start(): Promise<TestTemporal> {
  const { PERENNIAL_CACHE_DIR, XDG_CACHE_HOME } = process.env
  const { cacheDir } = loadConfig({ PERENNIAL_CACHE_DIR, XDG_CACHE_HOME })
  const program = await findTemporal({ cacheDir, log })
  const port = await freePort()
  running = await startTemporal({ program, port, log })
  return {
    address: running.address,
    cliPath: program,
    async kill() {
      await running?.kill()
      running = undefined
    },
    async restart() {
      await running?.kill()
      running = await startTemporal({ program, port, log })
    },
  }
}

/** For the root hook. */
export async function stopTemporal(): Promise<void> {
  await server?.catch(() => {})
  await running?.stop()
  running = server = undefined
}

let queues = 0
/** A task queue that nobody else uses. */
export const taskQueue = (): string => `test-${process.pid}-${++queues}`

let bundle: Promise<WorkflowBundleWithSourceMap> | undefined
/** The workflows, bundled once a run (about two seconds). */
export function workflowBundle(): Promise<WorkflowBundleWithSourceMap> {
  bundle ??= bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../../src/workflows/index.ts', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  })
  return bundle
}
