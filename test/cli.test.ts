import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { findKeyHolder } from '../src/store/api-key.ts'
import { createDatabase, type TestDatabase } from './support/postgres.ts'

const PROGRAM = fileURLToPath(new URL('../bin/perennial.mjs', import.meta.url))

describe('perennial key', function () {
  this.timeout(60_000)
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  /** Runs the command line on the test's database. */
  const perennial = (...args: string[]) =>
    new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
      const env = { ...process.env, DATABASE_URL: database.ownerUrl }
      execFile(process.execPath, [PROGRAM, 'key', ...args], { env }, (error, out, err) =>
        resolve({ code: error?.code ?? 0, out: out.trim(), err }),
      )
    })

  it('makes, lists and revokes keys with the scopes that were chosen', async () => {
    const made = await perennial(
      'create',
      '--name',
      'till 7',
      '--scope',
      'spend',
      '--scope',
      'overdraft',
      'read',
    )
    assert.equal(made.code, 0, made.err)
    const holder = await findKeyHolder(database.pool, made.out)
    assert.deepEqual([holder?.scopes, holder?.revoked], [['spend', 'overdraft', 'read'], false])
    const listed = await perennial('list')
    assert.match(listed.out, new RegExp(`^${holder?.id}  \\S+Z  spend,overdraft,read  till 7$`))
    assert.equal((await perennial('revoke', holder?.id ?? '')).code, 0)
    assert.equal((await findKeyHolder(database.pool, made.out))?.revoked, true)
    assert.match((await perennial('list')).out, /till 7 {2}revoked \S+Z$/)
    const again = await perennial('revoke', holder?.id ?? '')
    assert.equal(again.code, 1)
    assert.match(again.err, /there is no key .* that is not revoked/)
  })

  it('refuses scopes that nobody knows, and keys without a name or a scope', async () => {
    const wrong = [
      ['--name', 'x', '--scope', 'write'],
      ['--name', 'x'],
      ['--scope', 'read'],
    ]
    for (const args of wrong) assert.equal((await perennial('create', ...args)).code, 1, args.join(' '))
    const { rows } = await database.owner.query(`select count(*)::int as many from api_key where name = 'x'`)
    assert.equal(rows[0].many, 0)
  })
})
