import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { findKeyHolder } from '../src/store/api-key.ts'
import { raiseAlert } from '../src/store/alert.ts'
import { noteStray } from '../src/store/stray.ts'
import { openAccount } from './support/ledger.ts'
import { alertsOf, deliveryOf, tell } from './support/outbox.ts'
import { createDatabase, type TestDatabase } from './support/postgres.ts'

const PROGRAM = fileURLToPath(new URL('../bin/perennial.mjs', import.meta.url))

describe('the perennial command', function () {
  this.timeout(60_000)
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  /** Runs the command line on the test's database. */
  const run = (...args: string[]) =>
    new Promise<{ code: unknown; out: string; err: string }>((resolve) => {
      const env = { ...process.env, DATABASE_URL: database.ownerUrl }
      execFile(process.execPath, [PROGRAM, ...args], { env }, (error, out, err) =>
        resolve({ code: error?.code ?? 0, out: out.trim(), err }),
      )
    })

  const perennial = (...args: string[]) => run('key', ...args)

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

  it('lists what a person must look at, and closes it', async () => {
    await raiseAlert(database.pool, 'catalog_drift', 'tier_1.month.v1', 'archived')
    await noteStray(database.pool, { id: 'sub_1', kind: 'subscription', named: 'acc_gone' })
    assert.match((await run('alert', 'list')).out, /catalog_drift {2}tier_1.month.v1 {2}1 × {2}archived/)
    assert.match((await run('strays')).out, /orphan {2}subscription {2}sub_1 {2}names acc_gone/)
    assert.equal((await run('alert', 'close', 'catalog_drift', 'tier_1.month.v1')).code, 0)
    const again = await run('alert', 'close', 'catalog_drift', 'tier_1.month.v1')
    assert.equal(again.code, 1)
    assert.match(again.err, /no alert catalog_drift about tier_1.month.v1 is open/)
  })

  it('shows what was told and its e-mail, and sends a mail in doubt once more', async () => {
    const account = await openAccount(database)
    const notice = await tell(database, account)
    const { id } = await deliveryOf(database, notice)
    await database.owner.query(
      `update notice_delivery set state = 'in_doubt', finished_at = now(), detail = 'ECONNECTION' where id = $1`,
      [id],
    )
    await raiseAlert(database.pool, 'notice_in_doubt', id, 'ECONNECTION')
    assert.match(
      (await run('notice', 'list', '--account', account)).out,
      new RegExp(`^${notice}.*balance_low`),
    )
    assert.match((await run('notice', 'list', '--state', 'in_doubt')).out, new RegExp(`^${id}.*ECONNECTION`))
    assert.match((await run('notice', 'preview', notice)).out, /^Subject: You are running low on credits/)
    const shown = await run('notice', 'show', notice)
    assert.ok(shown.out.includes(`"account": "${account}"`) && shown.out.includes(id))
    assert.equal((await run('notice', 'resend', id)).code, 0)
    assert.equal((await deliveryOf(database, notice)).state, 'pending')
    assert.ok(!(await alertsOf(database)).includes(`notice_in_doubt ${id}`))
    assert.match((await run('notice', 'resend', 'dlv_0')).err, /there is no delivery dlv_0/)
  })
})
