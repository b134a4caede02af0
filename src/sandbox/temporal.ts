/**
 * Owns the sandbox's Temporal: the development server of the official CLI, with its UI and its data in one file.
 * Search attributes and schedules are the worker's business, because existing clusters need them too.
 */
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { Connection } from '@temporalio/client'
import type { Logger } from '../log.ts'
import { commandLineOf, startServer, stopLeftover, waitUntilReady } from './child.ts'
import { readIfThere } from './data-dir.ts'
import { assertFree } from './ports.ts'
import { removeAtExit } from './watchdog.ts'

/** Unlike the defaults of a cluster, and each for a reason. */
const DYNAMIC_CONFIG = {
  // a year of a subscription in a test, on the real server
  'frontend.WorkflowTimeSkippingEnabled': true,
  // an activity in 28 ms instead of 97: it is handed to the worker with the answer to its workflow task
  'system.enableActivityEagerExecution': true,
  // a search attribute registered at start-up is usable at once, not after the cache's next turn
  'system.forceSearchAttributesCacheRefreshOnRead': true,
}

export type Temporal = {
  /** `host:port` of the gRPC frontend. */
  address: string
  /** Address of the web UI, when there is one. */
  uiUrl?: string
  stop(): Promise<void>
  /** Ends it as a crash would; for tests. */
  kill(): Promise<void>
  /** Settles when the server has ended, asked or not. */
  ended: Promise<void>
}

export type StartTemporalInput = {
  /** The program, from `findTemporal`. */
  program: string
  /** Keeps all workflows in `<dataDir>/temporal.db`; without it they live in memory. */
  dataDir?: string
  port: number
  /** Without it there is no web UI. */
  uiPort?: number
  namespace?: string
  log: Logger
}

/**
 * Starts a server and returns when its namespace answers.
 * @throws PortTakenError
 */
export async function startTemporal(input: StartTemporalInput): Promise<Temporal> {
  const { program, dataDir, port, uiPort, namespace = 'default', log } = input
  if (dataDir) {
    mkdirSync(dataDir, { recursive: true, mode: 0o711 })
    await stopForgotten(dataDir, log)
  }
  await assertFree(port, 'Temporal', 'TEMPORAL_PORT')
  if (uiPort !== undefined) await assertFree(uiPort, 'the Temporal UI', 'TEMPORAL_UI_PORT')

  const folder = dataDir ?? temporaryFolder()
  const server = await startServer({
    command: program,
    args: [
      'server',
      'start-dev',
      '--log-level=warn',
      '--ip=127.0.0.1',
      `--port=${port}`,
      ...(uiPort === undefined ? ['--headless'] : [`--ui-port=${uiPort}`, '--ui-ip=127.0.0.1']),
      ...(dataDir ? ['--db-filename', databaseOf(dataDir)] : []),
      ...(namespace === 'default' ? [] : ['--namespace', namespace]),
      ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => [
        '--dynamic-config-value',
        `${key}=${value}`,
      ]),
    ],
    logFile: join(folder, 'temporal.log'),
    stopSignal: 'SIGTERM',
    graceMs: 10_000,
  })
  const done = async () => {
    if (!dataDir) await rm(folder, { recursive: true, force: true })
  }
  if (dataDir) writeFileSync(pidFileOf(dataDir), `${server.pid}\n`)
  const address = `127.0.0.1:${port}`
  try {
    await waitUntilReady(server, 'Temporal', 60_000, () => hasNamespace(address, namespace))
  } catch (error) {
    await done()
    throw error
  }
  log.info({ address, pid: server.pid }, 'Temporal is up')
  return {
    address,
    ...(uiPort !== undefined && { uiUrl: `http://127.0.0.1:${uiPort}` }),
    stop: () => server.stop().then(done),
    kill: () => server.kill().then(done),
    ended: server.ended,
  }
}

const databaseOf = (dataDir: string) => join(dataDir, 'temporal.db')
const pidFileOf = (dataDir: string) => join(dataDir, 'temporal.pid')

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'perennial-temporal-'))
  removeAtExit(folder)
  return folder
}

/** A server that a crashed run left on our data file; two on one file would spoil it. */
async function stopForgotten(dataDir: string, log: Logger): Promise<void> {
  const pid = Number(readIfThere(pidFileOf(dataDir)) ?? 0)
  if (!pid || !commandLineOf(pid)?.includes(` --db-filename ${databaseOf(dataDir)} `)) return
  log.warn({ pid }, 'stopping the Temporal server that a crashed run left behind')
  await stopLeftover(pid, 'SIGTERM')
}

/** The frontend listens a moment before its namespaces are there. */
async function hasNamespace(address: string, namespace: string): Promise<boolean> {
  if (!(await listens(address))) return false
  let connection: Connection | undefined
  try {
    connection = await Connection.connect({ address, connectTimeout: 5_000 })
    const { workflowService } = connection
    await connection.withDeadline(Date.now() + 5_000, () => workflowService.describeNamespace({ namespace }))
    return true
  } catch {
    return false
  } finally {
    await connection?.close()
  }
}

/** Asks by plain TCP first: a gRPC client backs off for seconds after a refused connection. */
function listens(address: string): Promise<boolean> {
  const [host, port] = address.split(':') as [string, string]
  return new Promise((done) => {
    const socket = createConnection({ host, port: Number(port) })
    socket.once('connect', () => done(true)).once('error', () => done(false))
    socket.once('connect', () => socket.destroy())
  })
}
