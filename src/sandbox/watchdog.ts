/**
 * Owns the promise that no server outlives the process that started it, even when that process is killed
 * with -9: a second, tiny Node process holds the other end of a pipe. When the pipe closes without a good-bye
 * it stops what it was told to watch and removes the temporary folders it was told to remove.
 */
import { type ChildProcess, spawn } from 'node:child_process'

/**
 * The watchdog's whole program. Plain JavaScript in a string, so that it starts in 40 ms without a loader
 * and is the same from source and from `dist`. Lines it understands: `watch <pid> <signal>`, `forget <pid>`,
 * `remove <folder>`, `keep <folder>`.
 */
const PROGRAM = `
const watched = new Map(), folders = new Set()
const alive = (pid) => { try { process.kill(pid, 0); return true } catch { return false } }
const send = (pid, signal) => { try { process.kill(pid, signal) } catch {} }
const pause = (ms) => new Promise((done) => setTimeout(done, ms))
const lines = require('node:readline').createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const [verb, first, signal] = JSON.parse(line)
  if (verb === 'watch') watched.set(first, signal)
  if (verb === 'forget') watched.delete(first)
  if (verb === 'remove') folders.add(first)
  if (verb === 'keep') folders.delete(first)
})
lines.on('close', async () => {
  for (const [pid, signal] of watched) send(pid, signal)
  const deadline = Date.now() + 10_000
  while ([...watched.keys()].some(alive) && Date.now() < deadline) await pause(100)
  for (const pid of watched.keys()) send(pid, 'SIGKILL')
  for (const folder of folders) require('node:fs').rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})`

let dog: ChildProcess | undefined

function tell(...order: [verb: string, subject: number | string, signal?: string]): void {
  dog ??= wake()
  dog.stdin?.write(`${JSON.stringify(order)}\n`)
}

function wake(): ChildProcess {
  // detached: a Ctrl-C in the terminal must not reach it before us. SIGINT and SIGHUP go to process groups.
  const child = spawn(process.execPath, ['-e', PROGRAM], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: {},
  })
  // neither the process nor its pipe keeps us running; when we end, it sees the end of the pipe
  child.unref()
  ;(child.stdin as (typeof child)['stdin'] & { unref?: () => void }).unref?.()
  child.stdin?.on('error', () => {})
  child.once('exit', () => {
    if (dog === child) dog = undefined
  })
  return child
}

/** From now on `pid` gets `signal` when we are gone, and SIGKILL ten seconds later. */
export const watch = (pid: number, signal: NodeJS.Signals): void => tell('watch', pid, signal)

/** To be called when `pid` has ended, so that a reused number is never signalled. */
export const forget = (pid: number): void => tell('forget', pid)

/** From now on `folder` is removed when we are gone, however we end. */
export const removeAtExit = (folder: string): void => tell('remove', folder)

/** Takes `removeAtExit` back. */
export const keep = (folder: string): void => tell('keep', folder)
