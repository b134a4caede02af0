/** What is measured over HTTP: spends with authentication and validation, on connections that stay open. */
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../src/sandbox/ports.ts'
import type { Postgres } from '../src/sandbox/postgres.ts'
import { ensureApiKey, makeApiKey } from '../src/store/api-key.ts'
import { SPREAD } from './cases.ts'
import { Connection } from './client.ts'
import { type Program, startProgram } from './program.ts'
import { accountOf } from './seed.ts'
import type { Case } from './spend.ts'
import { hasWrk, wrkRound } from './wrk.ts'

const CONNECTIONS = 32

/** Where the bench builds to: not `dist` itself, which `npx perennial` would take for the newest. */
const BUILT = 'dist/bench'

/** Starts two API processes, built as they are in the image. Temporal is not there, and no spend asks for it. */
export async function httpCases(
  postgres: Postgres,
  folder: string,
): Promise<{ cases: Case[]; pids: number[]; stop: () => Promise<void> }> {
  const key = makeApiKey()
  await ensureApiKey(postgres.ownerUrl, key, ['spend'])
  execFileSync('npx', ['tsc', '-p', 'tsconfig.build.json', '--outDir', BUILT], { stdio: 'inherit' })
  for (const each of ['migrations', 'catalog.json']) cpSync(each, join(BUILT, each), { recursive: true })
  const programs: Program[] = []
  const ports: number[] = []
  for (const name of ['api-1', 'api-2']) {
    const port = await freePort()
    const env = {
      PORT: String(port),
      LOG_LEVEL: 'info',
      DATABASE_URL: postgres.serviceUrl,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      STRIPE_SECRET_KEY: 'sk_test_bench',
      STRIPE_WEBHOOK_SECRET: 'whsec_bench',
    }
    programs.push(await startProgram({ name, script: `${BUILT}/src/main.js`, args: ['api'], env, folder }))
    ports.push(port)
  }
  const opened = await Promise.all(
    ports.map((port) => Promise.all(Array.from({ length: CONNECTIONS }, () => Connection.open(port)))),
  )
  const body = JSON.stringify({ amount: '0.01', feature: 'bench' })
  const head =
    `Host: 127.0.0.1\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\nIdempotency-Key: `
  const spend = (processes: number, pick: () => number) => {
    const free = Array.from(
      { length: CONNECTIONS },
      (_, index) => opened[index % processes]?.[index] as Connection,
    )
    return async () => {
      const connection = free.pop()
      if (connection === undefined) throw new Error('more callers than connections')
      const path = `/v1/accounts/${accountOf(pick())}/spend`
      const answer = await connection.ask(`POST ${path} HTTP/1.1\r\n${head}${randomUUID()}\r\n\r\n${body}`)
      free.push(connection)
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`)
    }
  }
  const spread = () => Math.floor(Math.random() * SPREAD)
  const wrk = hasWrk()
  if (!wrk) process.stderr.write('wrk is not installed: the load over HTTP is a client in this process\n')
  const byWrk = (processes: number, accounts: number) =>
    wrk
      ? {
          round: (ms: number) => wrkRound(ports.slice(0, processes), CONNECTIONS, ms, { key, accounts }),
        }
      : {}
  const of = (kind: string, processes: number, pick: () => number, accounts: number): Case => ({
    name: `http ${kind}, ${processes} api`,
    callers: CONNECTIONS,
    call: spend(processes, pick),
    ...byWrk(processes, accounts),
  })
  const cases = [1, 2].flatMap((processes) => [
    of('hot', processes, () => 0, 1),
    of('spread', processes, spread, SPREAD),
  ])
  return {
    cases,
    pids: programs.map(({ pid }) => pid),
    async stop() {
      for (const connection of opened.flat()) connection.close()
      for (const program of programs) await program.stop()
    },
  }
}
