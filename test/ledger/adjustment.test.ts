import assert from 'node:assert/strict'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger, readUsage } from '../../src/ledger/entry.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend } from '../../src/ledger/spend.ts'
import {
  advanceClock,
  assertBooks,
  correct,
  DAY_MS,
  fromNow,
  give,
  openAccount,
  place,
} from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('a correction', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
  })
  afterEach(() => assertBooks(database))

  const use = (amount: string, key: string = crypto.randomUUID(), overdraft = false) =>
    spend(database.pool, { account, key, amount: parseCredits(amount), actor: 'test', overdraft })
  const debit = (amount: string, overdraft = false) =>
    correct(database.pool, account, { direction: 'debit', amount, overdraft })
  const sums = async () => {
    const { balance, held, available, debt } = (await readBalance(database.pool, account)) ?? {}
    return { balance, held, available, debt }
  }
  const newest = async () => (await readLedger(database.pool, account, { limit: 1 }))[0]

  it('that gives is a lot of its own, with its expiry and its place in the order of burning', async () => {
    await give(database.pool, account, '10')
    const expiresAt = await fromNow(database, DAY_MS)
    await correct(database.pool, account, { amount: '4', expiresAt, priority: 3 })
    const [lot] = (await readBalance(database.pool, account))?.lots ?? []
    assert.deepEqual([lot?.source, lot?.granted, lot?.expires_at], ['adjustment', '4', expiresAt])
    await use('1')
    assert.equal((await readBalance(database.pool, account))?.lots[0]?.remaining, '3')
    await advanceClock(database, DAY_MS)
    assert.equal((await sums()).balance, '10')
  })

  it('that gives repays a debt first', async () => {
    await use('5', 'over', true)
    await correct(database.pool, account, { amount: '8' })
    assert.deepEqual(await sums(), { balance: '3', held: '0', available: '3', debt: '0' })
    // what was owed is given back to what repaid it
    const owed = (await readLedger(database.pool, account, { limit: 5, kind: 'spend' }))[0]
    await reverseSpend(database.pool, { spend: owed?.id ?? '', key: 'r', actor: 'test', reasonCode: 'test' })
    const back = await readBalance(database.pool, account)
    assert.deepEqual(
      back?.lots.map(({ source, remaining }) => [source, remaining]),
      [['adjustment', '8']],
    )
  })

  it('that takes draws what expires soonest first, over several lots', async () => {
    const expiresAt = await fromNow(database, DAY_MS)
    const { lot: forever } = await give(database.pool, account, '10')
    const { lot: soon } = await give(database.pool, account, '3', { expiresAt })
    await debit('5')
    assert.deepEqual((await newest())?.lots, [
      { id: soon, amount: '-3' },
      { id: forever, amount: '-2' },
    ])
    assert.equal((await sums()).balance, '8')
  })

  it('that takes leaves what holds set aside, and no more than is available', async () => {
    await give(database.pool, account, '10')
    await place(database.pool, account, '4')
    await assert.rejects(debit('6.00000001'), { code: 'insufficient_credits', data: { available: '6' } })
    await debit('6')
    assert.deepEqual(await sums(), { balance: '4', held: '4', available: '0', debt: '0' })
  })

  it('may leave a debt when it was approved so, which the next grant repays', async () => {
    await give(database.pool, account, '10')
    await place(database.pool, account, '4')
    await debit('8', true)
    assert.deepEqual(await sums(), { balance: '2', held: '4', available: '0', debt: '2' })
    await give(database.pool, account, '5')
    assert.deepEqual(await sums(), { balance: '7', held: '4', available: '3', debt: '0' })
  })

  it('looks like what it is, in the ledger, and never like a grant or a use', async () => {
    await give(database.pool, account, '10')
    await use('1', 'used')
    await debit('2')
    await correct(database.pool, account, { amount: '0.5' })
    const entries = await readLedger(database.pool, account, { limit: 10, kind: 'adjustment' })
    assert.deepEqual(
      entries.map(({ id, kind, amount, reason_code, actor, source }) => [
        id.slice(0, 4),
        kind,
        amount,
        reason_code,
        actor,
        Object.keys(source),
      ]),
      [
        ['pst_', 'adjustment', '0.5', 'test', 'key_decides', ['approval']],
        ['pst_', 'adjustment', '-2', 'test', 'key_decides', ['approval']],
      ],
    )
    const { total } = await readUsage(database.pool, account, {
      from: await fromNow(database, -DAY_MS),
      to: await fromNow(database, DAY_MS),
      by: 'feature',
    })
    assert.deepEqual([total.spends, total.spent, total.used], ['1', '1', '1'])
    const { rows } = await database.owner.query(
      `select from_account, to_account from posting where account_id = $1 and kind = 'adjustment' order by seq`,
      [account],
    )
    assert.deepEqual(rows, [
      { from_account: account, to_account: 'system:adjusted' },
      { from_account: 'system:adjusted', to_account: account },
    ])
    // and cannot be given back as if it had been used
    const taken = entries[1]?.id.replace('pst_', 'spd_') ?? ''
    await assert.rejects(
      reverseSpend(database.pool, { spend: taken, key: 'r', actor: 'test', reasonCode: 'test' }),
      { code: 'spend_not_found' },
    )
  })

  it('is made once for its approval, whoever repeats it', async () => {
    await give(database.pool, account, '10')
    const call = `select outcome, amount::numeric(24, 8), balance_after from ledger_debit($1, 'adjustment:apr_x', $2, 3, false, 't', 't', '{}', null)`
    const client = await database.owner.connect()
    try {
      await client.query('begin')
      for (const outcome of ['debited', 'replayed']) {
        const { rows } = await client.query(call, [account, 'h'])
        assert.deepEqual(rows, [{ outcome, amount: '-3.00000000', balance_after: '7.00000000' }])
      }
      assert.equal((await client.query(call, [account, 'other'])).rows[0].outcome, 'key_reused')
      assert.equal((await client.query(call, ['acc_nobody', 'h'])).rows[0].outcome, 'no_account')
    } finally {
      // it was of no approval
      await client.query('rollback')
      client.release()
    }
  })
})
