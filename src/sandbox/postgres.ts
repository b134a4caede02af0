/**
 * Owns the sandbox's Postgres: a real server on the loopback address, its data kept in a folder, safe to start
 * again after any crash. Durable settings stay as Postgres ships them (fsync, synchronous_commit).
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client, escapeLiteral } from 'pg'
import type { Logger } from '../log.ts'
import { commandLineOf, startServer, stopLeftover, waitUntilReady } from './child.ts'
import { keptSecret, readIfThere } from './data-dir.ts'
import { assertFree } from './ports.ts'
import { type Programs, preparePrograms } from './postgres-program.ts'

const OWNER = 'perennial_owner'
const SERVICE = 'perennial_app'
/** Holds the service's rights; migrations grant to it. */
const SERVICE_GROUP = 'perennial_service'
const DATABASE = 'perennial'

/** The cluster, and with it the migrations, run in UTC, on loopback TCP only, without details of rows in the log. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  // "Key (email)=(…) already exists" is a DETAIL; ids are enough to find the row
  log_error_verbosity: 'terse',
}

export type Postgres = {
  /** As the owner of everything: migrations, tests. */
  ownerUrl: string
  /** As the service's login, which has only the rights that migrations grant. */
  serviceUrl: string
  port: number
  stop(): Promise<void>
  /** Settles when the server has ended, asked or not. */
  ended: Promise<void>
}

/**
 * Starts Postgres with its data in `<dataDir>/postgres`, making the cluster, the database `perennial` and the
 * service's roles when they are missing.
 * @throws PortTakenError
 */
export async function startPostgres(input: {
  dataDir: string
  port: number
  log: Logger
  /** beside our own, for measurements: as on a server of its own */
  settings?: Record<string, string>
}): Promise<Postgres> {
  const { dataDir, port, log } = input
  const folder = join(dataDir, 'postgres')
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  const cluster = join(folder, 'data')
  const programs = preparePrograms(folder)
  await clearLeftover(cluster, log)
  await assertFree(port, 'Postgres', 'POSTGRES_PORT')

  const password = keptSecret(dataDir, 'postgres-owner')
  if (!existsSync(cluster)) await makeCluster(cluster, password, programs)

  const { command, args, ...identity } = programs.invoke('postgres')
  const settings = Object.entries({ ...SETTINGS, ...input.settings }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ])
  const server = await startServer({
    command,
    args: [...args, '-D', cluster, '-p', String(port), ...settings],
    logFile: join(dataDir, 'postgres.log'),
    stopSignal: 'SIGINT', // its "fast shutdown": ends sessions, then a clean checkpoint
    graceMs: 20_000,
    ...identity,
  })
  const urlOf = (user: string, secret: string, database: string) =>
    `postgres://${user}:${secret}@127.0.0.1:${port}/${database}`
  const servicePassword = keptSecret(dataDir, 'postgres-service')
  try {
    await waitUntilReady(server, 'Postgres', 60_000, () => accepts(urlOf(OWNER, password, 'postgres')))
    await makeRolesAndDatabase(urlOf(OWNER, password, 'postgres'), servicePassword)
  } catch (error) {
    await server.stop()
    throw error
  }
  log.info({ port, pid: server.pid }, 'Postgres is up')
  return {
    ownerUrl: urlOf(OWNER, password, DATABASE),
    serviceUrl: urlOf(SERVICE, servicePassword, DATABASE),
    port,
    stop: () => server.stop(),
    ended: server.ended,
  }
}

/** Made beside its place and moved there when complete, so that a crash in the middle leaves nothing half done. */
async function makeCluster(cluster: string, password: string, programs: Programs): Promise<void> {
  const draft = `${cluster}.new`
  const passwordFile = `${draft}.password`
  rmSync(draft, { recursive: true, force: true })
  rmSync(passwordFile, { force: true })
  writeFileSync(passwordFile, password, { mode: 0o600 })
  programs.give(passwordFile)
  const { command, args, ...identity } = programs.invoke('initdb')
  try {
    await promisify(execFile)(
      command,
      [
        ...args,
        `--pgdata=${draft}`,
        `--username=${OWNER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        // the same order and case rules on every machine, whatever its locale
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
      ],
      { ...identity, env: { LC_ALL: 'C', PATH: '/usr/local/bin:/usr/bin:/bin' } },
    )
  } finally {
    rmSync(passwordFile, { force: true })
  }
  renameSync(draft, cluster)
}

/** What a crashed run left: a server still running on our folder, or a pid file that would stop the next one. */
async function clearLeftover(cluster: string, log: Logger): Promise<void> {
  const file = join(cluster, 'postmaster.pid')
  const [pid = '', ...rest] = (readIfThere(file) ?? '').split('\n')
  const owner = pid ? commandLineOf(Number(pid)) : undefined
  if (owner === undefined) return // Postgres itself clears the file of a process that is gone
  if (owner.includes(` -D ${cluster} `)) {
    log.warn({ pid: Number(pid) }, 'stopping the Postgres that a crashed run left behind')
    return stopLeftover(Number(pid), 'SIGINT')
  }
  // The number now belongs to a stranger (or to a dead process that nobody collected) and Postgres would
  // refuse to start. It overlooks its own parent's
  // number, and still checks by shared memory that no session of the old server lives.
  log.warn({ pid: Number(pid) }, 'taking over the pid file of a Postgres that is gone')
  writeFileSync(file, [process.pid, ...rest].join('\n'))
}

async function accepts(url: string): Promise<boolean> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch (error) {
    // a wrong password will not get better by waiting
    if ((error as { code?: string }).code === '28P01') {
      throw new Error(
        'the kept password does not open the Postgres data; was postgres-owner in the data folder changed or lost?',
        { cause: error },
      )
    }
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

async function makeRolesAndDatabase(url: string, servicePassword: string): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    const has = async (sql: string, name: string) => (await client.query(sql, [name])).rows.length > 0
    const role = 'select from pg_roles where rolname = $1'
    if (!(await has(role, SERVICE_GROUP))) await client.query(`create role ${SERVICE_GROUP} nologin`)
    if (!(await has(role, SERVICE)))
      await client.query(`create role ${SERVICE} login in role ${SERVICE_GROUP}`)
    await client.query(`alter role ${SERVICE} password ${escapeLiteral(servicePassword)}`)
    const database = 'select from pg_database where datname = $1'
    if (!(await has(database, DATABASE))) await client.query(`create database ${DATABASE}`)
  } finally {
    await client.end()
  }
}
