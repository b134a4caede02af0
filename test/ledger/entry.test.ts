import assert from 'node:assert/strict'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalanceAt } from '../../src/ledger/balance.ts'
import { ENTRY_KINDS, type EntryKind, readLedger, readUsage } from '../../src/ledger/entry.ts'
import { captureHold } from '../../src/ledger/hold.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend } from '../../src/ledger/spend.ts'
import { advanceClock, assertBooks, give, openAccount, place } from '../support/ledger.ts'
import type { Queryable } from '../../src/store/connect.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const DAYS = ['2031-01-30', '2031-01-31', '2031-02-01'].map((day) => `${day}T00:00:00.000Z`)
const HOUR_MS = 3_600_000

describe('the ledger, read', () => {
  let database: TestDatabase
  let account: string
  before(async () => {
    database = await createDatabase()
    // a clock that stands still, so that the limits of a period can be met exactly
    await database.owner.query(
      `create or replace function business_now() returns timestamptz language sql volatile as
         $$ select timestamptz '${DAYS[0]}' + offset_ms * interval '1 millisecond' from business_clock $$`,
    )
    account = await openAccount(database)
    const by = { account, actor: 'test' }
    /** Lone spends read the wall, which is behind; they never go back behind the wallet's own time. */
    const use = async (amount: string, feature: string | undefined) => {
      await database.owner.query('update wallet set touched_at = business_now() where account_id = $1', [
        account,
      ])
      const key = crypto.randomUUID()
      return await spend(database.pool, {
        ...by,
        key,
        amount: parseCredits(amount),
        feature,
        metadata: { key },
      })
    }
    await give(database.pool, account, '100') // at midnight
    await use('1', 'chat')
    await advanceClock(database, 24 * HOUR_MS) // to the second day's midnight
    const { id } = await use('2', 'chat')
    await advanceClock(database, HOUR_MS)
    await use('4', 'images')
    await use('8', undefined)
    await advanceClock(database, 23 * HOUR_MS) // the first of February
    const { id: hold } = await place(database.pool, account, '16', { feature: 'chat' })
    await captureHold(database.pool, { ...by, hold, key: 'c', amount: parseCredits('16'), final: true })
    await reverseSpend(database.pool, {
      ...by,
      spend: id,
      key: 'r',
      amount: parseCredits('0.5'),
      reasonCode: 'test',
    })
  })
  after(() => database.drop())
  afterEach(() => assertBooks(database))

  const amounts = async (filter: object) =>
    (await readLedger(database.pool, account, { limit: 20, ...filter })).map(({ amount }) => amount)

  it('shows notes beside what they are about', async () => {
    const entries = await readLedger(database.pool, account, { limit: 20 })
    assert.deepEqual(
      entries.map(({ kind, metadata }) => [kind, Object.keys(metadata).join()]),
      [
        ['reversal', ''],
        ['capture', ''],
        ['spend', 'key'],
        ['spend', 'key'],
        ['spend', 'key'],
        ['spend', 'key'],
        ['grant', ''],
      ],
    )
  })

  it('by feature and by kind', async () => {
    assert.deepEqual(await amounts({ feature: 'chat' }), ['0.5', '-16', '-2', '-1'])
    assert.deepEqual(await amounts({ kind: 'spend' }), ['-8', '-4', '-2', '-1'])
    assert.deepEqual(await amounts({ kind: 'capture', feature: 'chat' }), ['-16'])
    assert.deepEqual(await amounts({ kind: 'grant', feature: 'chat' }), [])
  })

  it('by time: from an instant on, to before another', async () => {
    const [first, second, third] = DAYS
    assert.deepEqual(await amounts({ from: second }), ['0.5', '-16', '-8', '-4', '-2'])
    assert.deepEqual(await amounts({ to: second }), ['-1', '100'])
    assert.deepEqual(await amounts({ from: second, to: third }), ['-8', '-4', '-2'])
    assert.deepEqual(await amounts({ from: first, to: first }), [])
    assert.deepEqual(await amounts({ to: first }), [])
    assert.deepEqual(await amounts({ from: '2032-01-01T00:00:00.000Z' }), [])
    assert.deepEqual(await amounts({ from: second, before: '5' }), ['-4', '-2'])
  })

  const usage = async (
    by: 'feature' | 'day' | 'month',
    from = DAYS[0] ?? '',
    to = '2031-03-01T00:00:00.000Z',
  ) => {
    const { total, parts } = await readUsage(database.pool, account, { from, to, by })
    const short = ({ feature, at, spends, spent, reversed, used }: typeof total) =>
      [feature ?? at?.slice(0, 10) ?? null, spends, spent, reversed, used].join(' ')
    return [short(total), ...parts.map(short)]
  }

  it('the balance of an instant has what happened in its millisecond', async () => {
    const at = async (instant = '', ms = 0) =>
      (await readBalanceAt(database.pool, account, new Date(new Date(instant).getTime() + ms).toISOString()))
        ?.balance
    await advanceClock(database, 1000)
    assert.deepEqual([await at(DAYS[0], -1), await at(DAYS[0])], ['0', '99'])
    assert.deepEqual([await at(DAYS[1], -1), await at(DAYS[1]), await at(DAYS[1], 1)], ['99', '97', '97'])
    assert.deepEqual([await at(DAYS[2], -1), await at(DAYS[2])], ['85', '69.5'])
  })

  it('added up by feature, the most used first', async () => {
    assert.deepEqual(await usage('feature'), [
      ' 5 31 0.5 30.5',
      'chat 3 19 0.5 18.5',
      ' 1 8 0 8',
      'images 1 4 0 4',
    ])
  })

  it('added up by day and by month; what is given back counts when it is', async () => {
    assert.deepEqual(await usage('day'), [
      ' 5 31 0.5 30.5',
      '2031-01-30 1 1 0 1',
      '2031-01-31 3 14 0 14',
      '2031-02-01 1 16 0.5 15.5',
    ])
    assert.deepEqual((await usage('month')).slice(1), ['2031-01-01 4 15 0 15', '2031-02-01 1 16 0.5 15.5'])
  })

  it('added up for a period: from an instant on, to before another', async () => {
    assert.deepEqual(await usage('feature', DAYS[1], DAYS[2]), [
      ' 3 14 0 14',
      ' 1 8 0 8',
      'images 1 4 0 4',
      'chat 1 2 0 2',
    ])
    assert.deepEqual(await usage('feature', '2020-01-01T00:00:00.000Z', DAYS[0]), [' 0 0 0 0'])
  })
})

describe('the ledger of a large wallet', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('finds what is no spend without walking past the spends', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '5000')
    await database.owner.query(
      `insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash, actor,
                            reason_code, lot_ids, lot_amounts, occurred_at)
       select $1, n + 1, 'spend', $1, 'system:used', -1, 5000 - n, 'k' || n, 'h', 'test', 'spend', '{}', '{}', now()
         from generate_series(1, 5000) n`,
      [account],
    )
    await database.owner.query('analyze posting')
    const many: Partial<Record<EntryKind, number>> = { spend: 20, grant: 1 }
    for (const kind of ENTRY_KINDS) {
      const plans: string[] = []
      const explained: Queryable = {
        async query(query, values) {
          const text = typeof query === 'string' ? query : query.text
          const { rows } = await database.pool.query<{ 'QUERY PLAN': string }>(
            `explain (costs off) ${text}`,
            values,
          )
          plans.push(rows.map((row) => row['QUERY PLAN']).join('\n'))
          return await database.pool.query(query, values)
        },
      }
      const entries = await readLedger(explained, account, { limit: 20, kind })
      assert.equal(entries.length, many[kind] ?? 0, kind)
      const index = kind === 'spend' ? /using posting_\d_pkey/ : /using posting_\d_account_id_kind_seq_idx/
      assert.match(plans.at(-1) ?? '', index, kind)
    }
  })
})
