/**
 * wrk as the load over HTTP, where it is installed: it answers at once and takes less of the machine from what is
 * measured than a client in Node can.
 */
import { execFile, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Round } from './load.ts'

const SCRIPT = fileURLToPath(new URL('wrk.lua', import.meta.url))
const run = promisify(execFile)

export const hasWrk = (): boolean => spawnSync('wrk', ['--version']).error === undefined

/** What the script says at the end. */
interface Summary {
  done: number
  us: number
  p50Us: number
  p99Us: number
  bad: number
}

/**
 * Spends on one account, or on as many, over connections that stay open, the same number to each port.
 * @throws Error when a request was answered otherwise than 2xx, or not at all
 */
export async function wrkRound(
  ports: number[],
  connections: number,
  ms: number,
  { key, accounts }: { key: string; accounts: number },
): Promise<Round> {
  const summaries = await Promise.all(
    ports.map(async (port) => {
      const load = [
        '-t1',
        `-c${connections / ports.length}`,
        `-d${Math.max(1, Math.round(ms / 1_000))}s`,
        '-s',
        SCRIPT,
      ]
      const script = [key, randomUUID(), String(accounts)]
      // the shell's `times` tells what its children took
      const shell = ['-c', 'wrk "$@" && times', 'wrk', ...load]
      const { stdout } = await run('bash', [...shell, `http://127.0.0.1:${port}`, '--', ...script])
      const lines = stdout.trim().split('\n')
      const said = lines.find((line) => line.startsWith('{'))
      return { ...(JSON.parse(said ?? 'null') as Summary), seconds: secondsOf(lines.at(-1) ?? '') }
    }),
  )
  const bad = summaries.reduce((sum, each) => sum + each.bad, 0)
  if (bad > 0) throw new Error(`${bad} requests were not answered 200`)
  return {
    perSecond: summaries.reduce((sum, { done, us }) => sum + (done / us) * 1_000_000, 0),
    p50Ms: Math.max(...summaries.map(({ p50Us }) => p50Us)) / 1_000,
    p99Ms: Math.max(...summaries.map(({ p99Us }) => p99Us)) / 1_000,
    cores: summaries.reduce((sum, { seconds }) => sum + seconds, 0) / (ms / 1_000),
    done: summaries.reduce((sum, { done }) => sum + done, 0),
  }
}

/** `0m0.130s 0m0.210s`: user and system. */
function secondsOf(times: string): number {
  return [...times.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
    (sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds),
    0,
  )
}
