/**
 * Owns the server processes that the sandbox starts: out of reach of the terminal's Ctrl-C, logged to a file,
 * stopped in order by us, and stopped by the watchdog when we cannot.
 */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { forget, watch } from './watchdog.ts'

export type ServerProcess = {
  readonly pid: number
  /** False as soon as the process has ended, for whatever reason. */
  running(): boolean
  /** Settles when the process has ended, for whatever reason. */
  readonly ended: Promise<void>
  /** Asks it to stop; insists after `graceMs`. Returns when it is gone, at once when it already was. */
  stop(): Promise<void>
  /** Ends it at once, as a crash would; for tests. */
  kill(): Promise<void>
  /** The last lines of its log, for an error message. */
  lastWords(): string
}

export type StartServerInput = {
  command: string
  args: string[]
  logFile: string
  stopSignal: NodeJS.Signals
  /** How long `stop` waits before SIGKILL. */
  graceMs: number
  uid?: number
  gid?: number
}

/**
 * Starts a server detached from our terminal, with a bare environment: no secret of ours reaches it.
 * @throws when the program cannot be run at all; a server that ends early is seen by `running()`
 */
export async function startServer(input: StartServerInput): Promise<ServerProcess> {
  const { command, args, logFile, stopSignal, graceMs, uid, gid } = input
  keepPreviousLog(logFile)
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', log, log],
    env: {
      HOME: homedir(),
      TMPDIR: tmpdir(),
      PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
      LC_ALL: 'C',
    },
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
  })
  closeSync(log)
  if (child.pid === undefined) await new Promise((_, fail) => child.once('error', fail))
  const pid = child.pid as number
  watch(pid, stopSignal)
  let running = true
  const ended = new Promise<void>((done) =>
    child.once('exit', () => {
      running = false
      forget(pid)
      done()
    }),
  )
  return {
    pid,
    running: () => running,
    ended,
    async stop() {
      if (running) child.kill(stopSignal)
      const insist = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await ended
      clearTimeout(insist)
    },
    async kill() {
      if (running) child.kill('SIGKILL')
      await ended
    },
    lastWords: () => readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-8).join('\n'),
  }
}

/** One earlier log is kept, so that a restart does not wipe the reason for it, and none grows for ever. */
function keepPreviousLog(logFile: string): void {
  if (statSync(logFile, { throwIfNoEntry: false })?.size) renameSync(logFile, `${logFile}.1`)
}

/**
 * Polls until `ready` answers true.
 * @throws when the server ends first or the time is over, with its last words
 */
export async function waitUntilReady(
  server: ServerProcess,
  what: string,
  timeoutMs: number,
  ready: () => Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await ready())) {
    const reason = !server.running()
      ? 'ended while starting'
      : Date.now() > deadline
        ? 'did not get ready'
        : ''
    if (reason) {
      await server.kill()
      throw new Error(`${what} ${reason}:\n${server.lastWords()}`)
    }
    await pause(50)
  }
}

/**
 * The command line of a running process, to tell our own leftover from a stranger with a reused number.
 * @returns undefined when there is no such process or nothing here can tell
 */
export function commandLineOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch {
    try {
      return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], {
        stdio: ['ignore', 'pipe', 'ignore'],
      })
        .toString()
        .trim()
    } catch {
      return undefined
    }
  }
}

/**
 * Stops a leftover of a crashed run and waits for its end; insists after ten seconds. A process that has ended
 * but was never collected by its new parent (a container without an init) has no command line any more.
 */
export async function stopLeftover(pid: number, signal: NodeJS.Signals): Promise<void> {
  for (let waitedMs = 0; commandLineOf(pid) && waitedMs < 15_000; waitedMs += 50) {
    if (waitedMs === 0) send(pid, signal)
    if (waitedMs === 10_000) send(pid, 'SIGKILL')
    await pause(50)
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // gone in the meantime is what we wanted
  }
}
