/** The sandbox's Postgres through what happens to processes: restarts, kills, leftovers, taken ports. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { createLogger } from '../../src/log.ts'
import { freePort } from '../../src/sandbox/ports.ts'
import { type Postgres, startPostgres } from '../../src/sandbox/postgres.ts'
import { commandLineOf } from '../../src/sandbox/child.ts'

const log = createLogger('silent')

async function run(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows as Record<string, unknown>[]
  } finally {
    await client.end()
  }
}

/** Another process that starts Postgres on `dataDir` and then only waits. */
async function startElsewhere(dataDir: string, port: number): Promise<ChildProcess> {
  const program = `
    const { startPostgres } = await import(${JSON.stringify(new URL('../../src/sandbox/postgres.ts', import.meta.url))})
    const { createLogger } = await import(${JSON.stringify(new URL('../../src/log.ts', import.meta.url))})
    await startPostgres({ dataDir: ${JSON.stringify(dataDir)}, port: ${port}, log: createLogger('silent') })
    console.log('up')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((done, fail) => child.stdout.once('data', done) && child.once('exit', fail))
  return child
}

const exited = (child: ChildProcess) => new Promise((done) => child.once('exit', done))

describe("the sandbox's Postgres", () => {
  let dataDir: string
  let port: number
  let running: Postgres | undefined
  const pidFile = () => join(dataDir, 'postgres/data/postmaster.pid')
  const pidOfServer = () => Number(readFileSync(pidFile(), 'utf8').split('\n')[0])
  const start = async () => (running = await startPostgres({ dataDir, port, log }))

  before(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'perennial-test-'))
    port = await freePort()
  })
  afterEach(async () => {
    await running?.stop()
    running = undefined
  })
  after(() => rmSync(dataDir, { recursive: true, force: true }))

  it('is durable, and keeps its data and its secrets over a restart', async () => {
    const first = await start()
    const settings = 'select name, setting from pg_settings where name in ($$fsync$$, $$synchronous_commit$$)'
    assert.deepEqual(
      new Set((await run(first.ownerUrl, settings)).map(({ setting }) => setting)),
      new Set(['on']),
    )
    await run(first.ownerUrl, 'create table kept as select 42 as answer')
    await first.stop()
    const second = await start()
    assert.equal(second.ownerUrl, first.ownerUrl)
    assert.deepEqual(await run(second.ownerUrl, 'select answer from kept'), [{ answer: 42 }])
    assert.equal(statSync(join(dataDir, 'postgres-owner')).mode & 0o777, 0o600)
  })

  it('gives the service a login that is not the owner', async () => {
    const { serviceUrl } = await start()
    const [who] = await run(
      serviceUrl,
      "select current_user as name, pg_has_role('perennial_service', 'member') as member, rolsuper from pg_roles where rolname = current_user",
    )
    assert.deepEqual(who, { name: 'perennial_app', member: true, rolsuper: false })
    await assert.rejects(run(serviceUrl, 'create table mine (a int)'), /permission denied/)
  })

  it('ends when the process that started it is killed with -9', async () => {
    const other = await startElsewhere(dataDir, port)
    const server = pidOfServer()
    assert(commandLineOf(server))
    other.kill('SIGKILL')
    await exited(other)
    for (let waited = 0; commandLineOf(server) && waited < 100; waited++) await pause(100)
    assert.equal(commandLineOf(server) || '', '')
    assert.deepEqual(await run((await start()).ownerUrl, 'select answer from kept'), [{ answer: 42 }])
  })

  it('takes the place of a server that a crashed run left on the same data', async () => {
    const other = await startElsewhere(dataDir, port)
    const server = pidOfServer()
    assert.deepEqual(await run((await start()).ownerUrl, 'select answer from kept'), [{ answer: 42 }])
    assert.notEqual(pidOfServer(), server)
    other.kill('SIGKILL')
    await exited(other)
  })

  it('starts although its pid file names a stranger who got the number of the dead', async () => {
    await start()
    const file = readFileSync(pidFile(), 'utf8')
    await running?.stop()
    const stranger = spawn('sleep', ['60'])
    writeFileSync(pidFile(), file.replace(/^\d+/, String(stranger.pid)), { mode: 0o600 })
    await start()
    assert.equal(stranger.exitCode, null)
    stranger.kill()
    await exited(stranger)
  })

  it('says which variable to change when its port is taken', async () => {
    const taken = createServer()
    await new Promise<void>((done) => taken.listen(port, '127.0.0.1', done))
    try {
      await assert.rejects(start(), /port \d+ for Postgres is taken by another program; set POSTGRES_PORT/)
    } finally {
      await new Promise((done) => taken.close(done))
    }
  })
})
