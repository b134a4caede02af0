/**
 * `npm run bench`: how fast a durable spend is, beside the least that any durable debit must do, in one run on one
 * Postgres: `--rounds 5 --seconds 2 --postings 1000000`; `--scale` compares a small ledger with a large one instead.
 * What it prints is explained in docs/performance.md.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { violations } from '../src/ledger/invariant.ts'
import { createLogger } from '../src/log.ts'
import { freePort } from '../src/sandbox/ports.ts'
import { type Postgres, startPostgres } from '../src/sandbox/postgres.ts'
import { connect, type Pool } from '../src/store/connect.ts'
import { migrate } from '../src/store/migrate.ts'
import { libraryCases, SPREAD } from './cases.ts'
import { cpuOf } from './cpu.ts'
import { httpCases } from './http.ts'
import { load, type Round } from './load.ts'
import { seed, SETTINGS } from './seed.ts'
import { printScale, printTable, type Result } from './table.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    postings: { type: 'string', default: '1000000' },
    only: { type: 'string', default: '' },
    scale: { type: 'boolean', default: false },
  },
})
const ROUNDS = Number(values.rounds)
/** How long each runs before it is measured. */
const WARM_MS = 1_000
const MS = Number(values.seconds) * 1_000

/** How many accounts the ledgers have that are compared by size. */
const SCALE_ACCOUNTS = 1_000

const say = (text: string) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)

/** One thing that is measured: so many callers that each make this call. */
export interface Case {
  name: string
  callers: number
  call: () => Promise<unknown>
  /** a round by a load of its own, for so many milliseconds, instead of callers that call */
  round?: (ms: number) => Promise<Round>
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'perennial-bench-'))
  const postgres = await startPostgres({
    dataDir: folder,
    port: await freePort(),
    log: createLogger('silent'),
    settings: SETTINGS,
  })
  try {
    await (values.scale ? compareSizes(postgres) : compareWithBare(postgres, folder))
  } finally {
    await postgres.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function compareWithBare(postgres: Postgres, folder: string): Promise<void> {
  await prepare(postgres, Number(values.postings), SPREAD, true)
  const pool = connect(postgres.serviceUrl)
  const http = await httpCases(postgres, folder)
  try {
    const cases = [...libraryCases(pool, SPREAD), ...http.cases].filter(({ name, callers }) =>
      `${name} ${callers}`.includes(values.only),
    )
    const results = await measure(cases, { postgres: [postmasterOf(folder)], api: http.pids })
    await prove(postgres)
    printTable(results, {
      cpus: cpus().length,
      rounds: ROUNDS,
      seconds: MS / 1_000,
      postings: values.postings,
    })
  } finally {
    await http.stop()
    await pool.end()
  }
}

/** The same load on a ledger of 10⁴ postings and on one of 10⁷, in two databases of one server. */
async function compareSizes(postgres: Postgres): Promise<void> {
  const owner = connect(postgres.ownerUrl, 1)
  const sizes: { postings: number; url: string; pool: Pool }[] = []
  try {
    for (const postings of [10_000, 10_000_000]) {
      const name = `ledger_${postings}`
      await owner.query(`create database ${name}`)
      const urls = [postgres.ownerUrl, postgres.serviceUrl].map((url) => url.replace(/[^/]+$/, name))
      const [ownerUrl, serviceUrl] = urls as [string, string]
      await prepare({ ownerUrl, serviceUrl }, postings, SCALE_ACCOUNTS, false)
      sizes.push({ postings, url: ownerUrl, pool: connect(serviceUrl) })
    }
    const cases = sizes.flatMap(({ postings, pool }) =>
      libraryCases(pool, SCALE_ACCOUNTS)
        .filter(({ name, callers }) => name.startsWith('ours') && callers <= 32)
        .map((one) => ({ ...one, name: `${one.name} @${postings}` })),
    )
    const programs = { postgres: [], api: [] }
    const atFirst = await measure(cases, programs)
    await touchPages(owner, sizes)
    const later = await measure(cases, programs)
    for (const { url } of sizes) await prove({ ownerUrl: url })
    printScale('just after a checkpoint', atFirst)
    printScale('once most pages were changed since the last checkpoint', later)
  } finally {
    for (const { pool } of sizes) await pool.end()
    await owner.end()
  }
}

/** At most so many whole pages a spend go to the log once most pages were changed. */
const FEW_IMAGES = 0.05

/**
 * Spends until few spends are the first to change a page since the last checkpoint: Postgres logs such a page whole, and
 * on a large ledger random keys touch other pages for a long time. There is no other checkpoint in a run (`SETTINGS`).
 */
async function touchPages(owner: Pool, sizes: { pool: Pool }[]): Promise<void> {
  say('spending until most pages were changed since the last checkpoint')
  const images = async () => {
    const { rows } = await owner.query<{ images: string }>('select wal_fpi as images from pg_stat_wal')
    return Number(rows[0]?.images)
  }
  for (const { pool } of sizes) {
    const [spend] = libraryCases(pool, SCALE_ACCOUNTS).filter(
      ({ name, callers }) => name === 'ours spread' && callers === 256,
    )
    if (spend === undefined) throw new Error('there is no spread load')
    for (let round = 0, share = 1; share > FEW_IMAGES && round < 60; round++) {
      const before = await images()
      const { done } = await load(spend.callers, 2_000, spend.call)
      // what a session counts is seen by others after a second at most
      share = ((await images()) - before) / done
      say(`${share.toFixed(3)} whole pages a spend`)
    }
  }
}

async function prepare(
  { ownerUrl }: { ownerUrl: string; serviceUrl: string },
  postings: number,
  accounts: number,
  bare: boolean,
): Promise<void> {
  say(`seeding ${postings} postings`)
  await migrate(ownerUrl)
  await seed(ownerUrl, postings, accounts, bare)
}

/** Interleaved, so that what else the machine does meets all of them alike; one round before, to settle. */
async function measure(cases: Case[], programs: Record<'postgres' | 'api', number[]>): Promise<Result[]> {
  const results = cases.map((one) => ({ ...one, rounds: [] as Result['rounds'] }))
  for (let round = -1; round < ROUNDS; round++) {
    say(round < 0 ? 'warming up' : `round ${round + 1} of ${ROUNDS}`)
    for (const { callers, call, round: own, rounds } of results) {
      const run = async (ms: number) => await (own === undefined ? load(callers, ms, call) : own(ms))
      // a process that had nothing to do while the others were measured is cold, and some are never
      await run(WARM_MS)
      const before = { postgres: used(programs.postgres), api: used(programs.api) }
      const one = await run(MS)
      const cores = (kind: keyof typeof programs) => ((used(programs[kind]) - before[kind]) / MS) * 1_000
      if (round >= 0) rounds.push({ ...one, postgres: cores('postgres'), api: cores('api') })
    }
  }
  return results
}

/** Seconds of processor time of these processes and what is under them, so far. */
function used(pids: number[]): number {
  return Object.values(cpuOf(Object.fromEntries(pids.entries()))).reduce((sum, one) => sum + one, 0)
}

/** @throws when what was measured left the books wrong */
async function prove({ ownerUrl }: { ownerUrl: string }): Promise<void> {
  say('verifying the books')
  const pool = connect(ownerUrl, 1)
  try {
    await pool.query('set statement_timeout = 0')
    const found = await violations(pool)
    if (found.length > 0) throw new Error(`the books are wrong: ${JSON.stringify(found)}`)
    const { rows } = await pool.query<{ spends: string }>(
      `select count(*) as spends from posting where actor not in ('seed')`,
    )
    say(`the books balance, ${rows[0]?.spends} spends included`)
  } finally {
    await pool.end()
  }
}

function postmasterOf(folder: string): number {
  return Number(readFileSync(join(folder, 'postgres', 'data', 'postmaster.pid'), 'utf8').split('\n')[0])
}

main().catch((error: unknown) => {
  say(error instanceof Error ? (error.stack ?? error.message) : String(error))
  process.exitCode = 1
})
