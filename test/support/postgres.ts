/**
 * Owns the databases of the tests: one real Postgres a run, started on first use, and a fresh migrated database
 * for whoever asks, cloned from a template in milliseconds.
 */
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { createLogger } from '../../src/log.ts'
import { freePort } from '../../src/sandbox/ports.ts'
import { type Postgres, startPostgres } from '../../src/sandbox/postgres.ts'
import { removeAtExit } from '../../src/sandbox/watchdog.ts'
import { connect, type Pool } from '../../src/store/connect.ts'
import { migrate } from '../../src/store/migrate.ts'

export type TestDatabase = {
  ownerUrl: string
  serviceUrl: string
  /** As the service: what the product may do. */
  pool: Pool
  /** As the owner: what only a test may do. */
  owner: Pool
  /** @throws when somebody else is still connected: a pool that a test or the product forgot to end */
  drop(): Promise<void>
}

type Cluster = { postgres: Postgres; folder: string }
let cluster: Promise<Cluster> | undefined
const open = new Map<string, string>()
let made = 0

/** A migrated database of its own, to be dropped by whoever made it. */
export async function createDatabase(): Promise<TestDatabase> {
  const { postgres } = await (cluster ??= startCluster())
  const name = `test_${++made}`
  await asOwner(`create database ${name} template perennial`)
  // where it was made, for the message when nobody drops it
  open.set(
    name,
    new Error().stack
      ?.split('\n')
      .find((line) => line.includes('.test.ts'))
      ?.trim() ?? 'unknown',
  )
  const [ownerUrl, serviceUrl] = [postgres.ownerUrl, postgres.serviceUrl].map((url) =>
    url.replace(/[^/]+$/, name),
  ) as [string, string]
  const [pool, owner] = [connect(serviceUrl), connect(ownerUrl, 4)]
  return {
    ownerUrl,
    serviceUrl,
    pool,
    owner,
    async drop() {
      if (!open.delete(name)) return
      await Promise.all([pool, owner].map(async (each) => each.ending || (await each.end())))
      const strangers = await connectionsLeft(name)
      await asOwner(`drop database ${name} with (force)`)
      if (strangers.length > 0) {
        throw new Error(`connections to ${name} were left open:\n${strangers.join('\n')}`)
      }
    },
  }
}

/** For the root hook. @throws when a test left a database behind */
export async function stopPostgres(): Promise<void> {
  if (!cluster) return
  const { postgres, folder } = await cluster
  cluster = undefined
  await postgres.stop()
  await rm(folder, { recursive: true, force: true })
  const forgotten = [...open].map(([name, where]) => `${name}, made ${where}`)
  open.clear()
  if (forgotten.length > 0) throw new Error(`databases were never dropped:\n${forgotten.join('\n')}`)
}

/**
 * No test cuts the power, which is all that fsync is for: a killed server still finds what it wrote. Waiting for a disk that
 * others keep busy made tests six times as slow, and some of them run out of time.
 */
const NO_POWER_CUT = { fsync: 'off' }

async function startCluster(): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'perennial-postgres-'))
  removeAtExit(folder)
  const postgres = await startPostgres({
    dataDir: folder,
    port: await freePort(),
    log: createLogger('silent'),
    settings: NO_POWER_CUT,
  })
  try {
    await migrate(postgres.ownerUrl)
  } catch (error) {
    await postgres.stop()
    throw error
  }
  return { postgres, folder }
}

/** Runs one statement that may not run in a transaction, or in the database it is about. */
async function asOwner<Row>(sql: string, values: unknown[] = []): Promise<Row[]> {
  const { postgres } = await (cluster as Promise<Cluster>)
  const client = new Client({ connectionString: postgres.ownerUrl.replace(/[^/]+$/, 'postgres') })
  await client.connect()
  try {
    return (await client.query(sql, values)).rows as Row[]
  } finally {
    await client.end()
  }
}

/** A session takes a moment to end after its socket has closed. */
async function connectionsLeft(database: string): Promise<string[]> {
  const sql = `select application_name || ' ' || usename || ': ' || left(query, 100) as what
     from pg_stat_activity where datname = $1 and backend_type = 'client backend'`
  let left: { what: string }[] = []
  for (let attempt = 0; attempt < 20; attempt++) {
    left = await asOwner<{ what: string }>(sql, [database])
    if (left.length === 0) break
    await pause(50)
  }
  return left.map(({ what }) => what)
}
