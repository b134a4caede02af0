import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { contentHash } from '../../src/ledger/content.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend } from '../../src/ledger/spend.ts'
import { assertBooks, give } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const FOLDER = new URL('../../migrations/', import.meta.url)
const POSTINGS = `select account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash, feature,
    actor, reason_code, lot_ids, lot_amounts, source, occurred_at, recorded_at from posting order by account_id, seq`
const WALLETS = 'select account_id, seq, balance, held, debt from wallet order by account_id'

describe('books of the version that was shipped', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
    await database.owner.query('drop schema public cascade; create schema public')
  })
  after(() => database.drop())

  async function apply(from: string, before: string): Promise<void> {
    for (const name of readdirSync(FOLDER).sort()) {
      if (name >= from && name < before)
        await database.owner.query(readFileSync(new URL(name, FOLDER), 'utf8'))
    }
  }
  const rows = async (sql: string) => (await database.owner.query(sql)).rows

  /** As the version before asked for it. */
  const grantBefore = (account: string, key: string, amount: string, expires: string | null) =>
    database.owner.query(
      `select * from ledger_grant($1, $2, $3, 'goodwill', $4, $5, 100::smallint, null, null, null, 'system:goodwill', 't', 't', '{}')`,
      [
        account,
        key,
        contentHash({ amount, kind: 'goodwill', subscription: null, period_start: null }),
        amount,
        expires,
      ],
    )
  const spendBefore = (account: string, key: string, amount: string, overdraft = false) =>
    database.owner.query('select * from ledger_spend($1, $2, $3, $4, $5, $6, $7)', [
      account,
      `spend:${key}`,
      contentHash({ amount, feature: null, overdraft }),
      amount,
      null,
      't',
      overdraft,
    ])

  it('are the same books after the migration, and go on', async () => {
    await apply('0001', '0003')
    const accounts = Array.from({ length: 20 }, (_, index) => `acc_${index}`)
    for (const account of accounts) {
      await database.owner.query('insert into account (id) values ($1)', [account])
      await grantBefore(account, 'first', '5', '2090-01-01')
      await grantBefore(account, 'second', '7.00000001', null)
      await spendBefore(account, 'a', '6.5')
      await spendBefore(account, 'b', '9', true)
      await grantBefore(account, 'third', '20', '2090-02-01')
      // it came too late, and nobody has touched the wallet since
      await grantBefore(account, 'late', '3', '2020-01-01')
    }
    const [postings, wallets] = [await rows(POSTINGS), await rows(WALLETS)]
    assert.equal(postings.length, 120)

    await apply('0003', '9999')
    const kept = (await rows(POSTINGS)).filter(({ kind }) => kind !== 'lapse')
    assert.deepEqual(kept, postings)
    const lapses = (await rows(POSTINGS)).filter(({ kind }) => kind === 'lapse')
    assert.deepEqual(
      lapses.map(({ amount }) => amount),
      accounts.map(() => '-3.00000000'),
    )
    assert.deepEqual(
      (await rows(WALLETS)).map(({ account_id, debt }) => [account_id, debt]),
      wallets.map(({ account_id, debt }) => [account_id, debt]),
    )
    assert.ok(new Set((await rows('select tableoid from posting')).map(({ tableoid }) => tableoid)).size > 4)
    await assertBooks(database)

    // what was spent then is known, whoever asks
    const [account = ''] = accounts
    assert.equal((await readBalance(database.pool, account))?.balance, '16.50000001')
    const known = { account, key: 'a', amount: parseCredits('6.5'), actor: 'test' }
    const again = await spend(database.pool, known)
    assert.deepEqual([again.replayed, again.balance], [true, '5.50000001'])
    await assert.rejects(spend(database.pool, { ...known, amount: parseCredits('6') }), {
      code: 'idempotency_key_reused',
    })
    assert.equal((await give(database.pool, account, '5', { key: 'first' })).outcome, 'replayed')
    // and a process of that version still runs against these functions
    assert.equal((await spendBefore(account, 'c', '1')).rows[0].outcome, 'spent')
    assert.equal((await grantBefore(account, 'fourth', '1', null)).rows[0].outcome, 'granted')
    // what was spent then can be given back, also what was owed and repaid
    const spent = (await readLedger(database.pool, account, { limit: 20 })).find(
      ({ amount }) => amount === '-9',
    )
    await reverseSpend(database.pool, { spend: spent?.id ?? '', key: 'r', actor: 'test', reasonCode: 'test' })
    assert.equal((await readBalance(database.pool, account))?.balance, '25.50000001')
    await assert.rejects(database.owner.query('delete from posting'), /append-only/)
    await assertBooks(database)
  })
})
