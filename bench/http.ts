/** What is measured over HTTP: spends with authentication and validation, on connections that stay open. */
import { randomUUID } from 'node:crypto'
import { Pool as HttpPool } from 'undici'
import { freePort } from '../src/sandbox/ports.ts'
import type { Postgres } from '../src/sandbox/postgres.ts'
import { ensureApiKey, makeApiKey } from '../src/store/api-key.ts'
import { SPREAD } from './cases.ts'
import { type Program, startProgram } from './program.ts'
import { accountOf } from './seed.ts'
import type { Case } from './spend.ts'

const CONNECTIONS = 32

/** Starts two API processes. Temporal is not there, and no spend asks for it. */
export async function httpCases(
  postgres: Postgres,
  folder: string,
): Promise<{ cases: Case[]; stop: () => Promise<void> }> {
  const key = makeApiKey()
  await ensureApiKey(postgres.ownerUrl, key, ['spend'])
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
    programs.push(await startProgram({ name, script: 'src/main.ts', args: ['api'], env, folder }))
    ports.push(port)
  }
  const clients = ports.map(
    (port) => new HttpPool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS, pipelining: 1 }),
  )
  const body = JSON.stringify({ amount: '0.01', feature: 'bench' })
  const spend = (processes: number, pick: () => number) => {
    let turn = 0
    return async () => {
      turn = (turn + 1) % processes
      const answer = await (clients[turn] as HttpPool).request({
        path: `/v1/accounts/${accountOf(pick())}/spend`,
        method: 'POST',
        headers: {
          authorization: `Bearer ${key}`,
          'content-type': 'application/json',
          'idempotency-key': randomUUID(),
        },
        body,
      })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text}`)
    }
  }
  const spread = () => Math.floor(Math.random() * SPREAD)
  const cases = [1, 2].flatMap((processes) => [
    { name: `http hot, ${processes} api`, callers: CONNECTIONS, call: spend(processes, () => 0) },
    { name: `http spread, ${processes} api`, callers: CONNECTIONS, call: spend(processes, spread) },
  ])
  return {
    cases,
    async stop() {
      await Promise.all(clients.map((client) => client.close()))
      for (const program of programs) await program.stop()
    },
  }
}
