/**
 * `npm run bench:profile`: where the time of a spend goes. Processor time of one Postgres session and of this process, in
 * microseconds a spend: the least of several rounds, because what else the machine does only adds to it. Linux only.
 */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseCredits } from '../src/domain/credits.ts'
import { type SpendInput, spend, spendMany } from '../src/ledger/spend.ts'
import { createLogger } from '../src/log.ts'
import { freePort } from '../src/sandbox/ports.ts'
import { startPostgres } from '../src/sandbox/postgres.ts'
import { connect, type Pool } from '../src/store/connect.ts'
import { migrate } from '../src/store/migrate.ts'
import { BARE, SPREAD } from './cases.ts'
import { accountOf, seed, SETTINGS } from './seed.ts'

const ROUNDS = 8
const SPENDS_A_ROUND = 600

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'perennial-profile-'))
  const postgres = await startPostgres({
    dataDir: folder,
    port: await freePort(),
    log: createLogger('silent'),
    settings: SETTINGS,
  })
  try {
    await migrate(postgres.ownerUrl)
    await seed(postgres.ownerUrl, 1_000_000, SPREAD)
    const pool = connect(postgres.serviceUrl, 1)
    try {
      await profile(pool)
    } finally {
      await pool.end()
    }
  } finally {
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function profile(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = rows[0]?.pid ?? 0
  const hot = () => 0
  const spread = () => Math.floor(Math.random() * SPREAD)
  const input = (n: number, amount = '0.01'): SpendInput => ({
    account: accountOf(n),
    key: randomUUID(),
    amount: parseCredits(amount),
    feature: 'bench',
    actor: 'key_bench',
  })
  const batch = (size: number, pick: () => number, careful = false) => ({
    size,
    call: () =>
      spendMany(
        pool,
        Array.from({ length: size }, () => input(pick())),
        careful,
      ),
  })
  const bare = (pick: () => number) =>
    pool.query({ name: 'bare', text: BARE, values: [pick(), '0.01', randomUUID()] })
  const cases: Record<string, { size: number; call: () => Promise<unknown> }> = {
    'a statement that does nothing': {
      size: 1,
      call: () => pool.query({ name: 'nothing', text: 'select $1::text', values: ['x'] }),
    },
    'bare, hot': { size: 1, call: () => bare(hot) },
    'bare, spread': { size: 1, call: () => bare(spread) },
    'spend: no such account': {
      size: 1,
      call: () => spend(pool, { ...input(0), account: 'acc_none' }).catch(() => {}),
    },
    'spend: too little is there': {
      size: 1,
      call: () => spend(pool, input(0, '1000000000000')).catch(() => {}),
    },
    'spend, hot': { size: 1, call: () => spend(pool, input(0)) },
    'spend, spread': { size: 1, call: () => spend(pool, input(spread())) },
    ...Object.fromEntries(
      [16, 32, 128, 256].flatMap((size) => [
        [`batch of ${size}, hot`, batch(size, hot)],
        [`batch of ${size}, spread`, batch(size, spread)],
      ]),
    ),
    'batch of 256, hot, careful': batch(256, hot, true),
    'batch of 256, spread, careful': batch(256, spread, true),
  }
  // every page once, so that what is measured is not the first change of a page after a checkpoint
  for (let n = 0; n < 100; n++) await cases['batch of 256, spread']?.call()
  const least: Record<string, { postgres: number; node: number }> = {}
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, { size, call }] of Object.entries(cases)) {
      const times = Math.max(4, Math.round(SPENDS_A_ROUND / size))
      for (let n = 0; n < 6; n++) await call()
      const [before, used] = [onProcessor(pid), process.cpuUsage()]
      for (let n = 0; n < times; n++) await call()
      const { user, system } = process.cpuUsage(used)
      const [server, node] = [onProcessor(pid) - before, user + system].map((us) => us / times / size)
      const known = least[name] ?? { postgres: Infinity, node: Infinity }
      least[name] = {
        postgres: Math.min(known.postgres, server ?? 0),
        node: Math.min(known.node, node ?? 0),
      }
    }
  }
  process.stdout.write(`${'µs a spend'.padEnd(32)}${'Postgres'.padStart(10)}${'Node'.padStart(10)}\n`)
  for (const [name, { postgres, node }] of Object.entries(least)) {
    process.stdout.write(
      `${name.padEnd(32)}${postgres.toFixed(1).padStart(10)}${node.toFixed(1).padStart(10)}\n`,
    )
  }
}

/** Microseconds that a process has been on a processor so far. */
function onProcessor(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1_000
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
