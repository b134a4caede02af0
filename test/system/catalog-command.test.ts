import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { stripeClient } from '../../src/stripe/gateway.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url))
const FILE = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))

describe('perennial catalog', function () {
  this.timeout(120_000)
  const folder = mkdtempSync(join(tmpdir(), 'perennial-catalog-'))
  let database: TestDatabase
  let sandbox: StripeSandbox
  before(async () => {
    database = await createDatabase()
    sandbox = await startStripeSandbox({ port: 0 })
  })
  after(async () => {
    await sandbox?.close()
    await database?.drop()
    rmSync(folder, { recursive: true })
  })

  async function perennial(args: string[], file = FILE): Promise<{ code: number; out: string; err: string }> {
    const path = join(folder, 'catalog.json')
    writeFileSync(path, JSON.stringify(file))
    const child = spawn(process.execPath, ['--import', 'tsx', CLI, 'catalog', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        DATABASE_URL: database.serviceUrl,
        STRIPE_SECRET_KEY: 'sk_test_perennial',
        STRIPE_WEBHOOK_SECRET: 'whsec_test',
        STRIPE_API_URL: sandbox.url,
        PERENNIAL_CATALOG: path,
      },
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    const [code] = (await once(child, 'close')) as [number]
    return { code, out, err }
  }
  const prices = async () =>
    (await stripeClient('sk_test_perennial', sandbox.url).prices.list({ limit: 100 })).data.length

  it('shows the difference and asks; without anybody to ask it does nothing', async () => {
    const { code, out, err } = await perennial(['sync'])
    assert.match(out, /\+ {2}create price +tier_2_20\.month\.v1: 2000 usd a month for 20 credits a month/)
    assert.match(err, /nobody can be asked here: pass --yes/)
    assert.deepEqual([code, await prices()], [1, 0])
  })

  it('--check changes nothing and ends with 1 while there is a difference', async () => {
    const { code } = await perennial(['sync', '--check', '--yes'])
    assert.deepEqual([code, await prices()], [1, 0])
    assert.match((await perennial(['show'])).out, /nothing is on sale yet/)
  })

  it('--yes does it, then there is no difference, and show tells what is sold', async () => {
    const done = await perennial(['sync', '--yes'])
    assert.deepEqual([done.code, await prices()], [0, 23], done.out + done.err)
    const again = await perennial(['sync', '--check'])
    assert.equal(again.code, 0)
    assert.match(again.out, /= {2}already there +free\.free\.v1\n/)
    assert.match(again.out, /there is no difference/)
    const { out } = await perennial(['show'])
    assert.match(out, /^catalogue v1$/m)
    assert.match(out, /^ {2}free\.free\.v1 +free: 2 credits a month$/m)
    assert.match(out, /^ {2}tier_2_20\.month\.commit12\.v1 +1700 usd .*, bound for 12 months$/m)
    assert.match(out, /^ {2}pack\.credits_500\.v1 +50000 usd for 500 credits$/m)
  })

  it('does nothing at all where a person must decide', async () => {
    const other = structuredClone(FILE)
    other.plans[1].credits = '21'
    other.packs.push({ key: 'credits_75', name: '75 credits', credits: '75', unit_amount: '7500' })
    const { code, out, err } = await perennial(['sync', '--yes'], other)
    assert.equal(code, 1)
    assert.match(out, /! {2}differs +tier_2_20\.month\.v1: was sold with other terms \(credits\): raise/)
    assert.match(err, /nothing was done/)
    assert.equal(await prices(), 23)
  })

  it('names the file and every problem in it', async () => {
    const { code, err } = await perennial(['sync', '--check'], { ...FILE, limits: undefined, colour: 'red' })
    assert.equal(code, 1)
    assert.match(err, /catalog\.json: the catalogue is not valid:\n {2}limits: .*\n {2}\(top\): .*colour/)
  })
})
