/** How rows are found: a ledger that grows must not make its commands slower. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance, readBalanceAt } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { captureHold, placeHold, releaseHold } from '../../src/ledger/hold.ts'
import { grant } from '../../src/ledger/post.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend, spendMany } from '../../src/ledger/spend.ts'
import { connect, type Queryable, transaction } from '../../src/store/connect.ts'
import { advanceClock, DAY_MS, fromNow, give, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('plans', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  /** What `act` does in one transaction finds every row by an index. */
  async function readsNoTable<Done>(act: (client: Queryable) => Promise<Done>): Promise<Done> {
    return await transaction(database.pool, async (client) => {
      const done = await act(client)
      const { rows } = await client.query<{ relname: string; whole: boolean }>(
        `select relname, seq_scan > 0 as whole from pg_stat_xact_user_tables where seq_scan + idx_scan > 0`,
      )
      const read = rows.map(({ relname }) => relname)
      assert.ok(read.includes('wallet') && read.includes('lot'), 'what was read is counted')
      assert.deepEqual(
        rows.filter(({ relname, whole }) => whole && relname !== 'business_clock'),
        [],
      )
      return done
    })
  }

  it('no command of the ledger reads a table from end to end, also when it was planned on a small one', async () => {
    const account = await openAccount(database)
    const soon = await fromNow(database, DAY_MS)
    const amount = parseCredits('1')
    const by = (more: object = {}) => ({ account, key: randomUUID(), amount, actor: 'test', ...more })
    const gift = (more: object = {}) =>
      ({ ...by(), kind: 'goodwill', amount: '10', reasonCode: 'test', source: {}, ...more }) as const
    const hold = async (client: Queryable) =>
      (await placeHold(client, { ...by(), seconds: 60, metadata: { job: '2' } })).hold.id
    // nothing is as cheap to read whole as a table of one page that Postgres knows to be one
    await give(database.pool, account, '1')
    await database.owner.query('vacuum analyze')
    await readsNoTable(async (client) => {
      await grant(client, gift({ expiresAt: soon }))
      await grant(client, gift())
      const { id } = await spend(client, by({ metadata: { job: '1' } }))
      await spend(client, by({ amount: parseCredits('25'), overdraft: true }))
      await grant(client, gift({ amount: '30', expiresAt: soon }))
      await spendMany(client, [by(), by(), by({ amount: parseCredits('1000') })])
      await reverseSpend(client, { spend: id, key: randomUUID(), actor: 'test', reasonCode: 'test' })
      await captureHold(client, { ...by(), hold: await hold(client), final: true })
      await releaseHold(client, { hold: await hold(client), key: randomUUID(), actor: 'test' })
      await hold(client)
      await readBalance(client, account)
    })
    await advanceClock(database, 2 * DAY_MS)
    await readsNoTable(async (client) => {
      await client.query('select ledger_settle($1)', [account])
      await readBalanceAt(client, account, soon)
    })
    const [last] = await readLedger(database.pool, account, { limit: 1 })
    assert.equal(last?.kind, 'lapse')
  })

  /** How many postings commands read that need some thirty keys, in an account that has thousands. */
  async function postingsRead(client: Queryable, account: string): Promise<number> {
    const by = (more: object = {}) => {
      const amount = parseCredits('1')
      return { account, key: randomUUID(), amount, actor: 'test', metadata: { a: 'b' }, ...more }
    }
    const gift = { account, kind: 'goodwill', actor: 'test', reasonCode: 'test', source: {} } as const
    // of this session, also before this transaction
    const counted = async () => {
      const { rows } = await client.query<{ read: string }>(
        `select coalesce(sum(idx_tup_fetch), 0) as read from pg_stat_xact_user_tables where relname ~ '^(posting|reversal)'`,
      )
      return Number(rows[0]?.read)
    }
    const before = await counted()
    const { id } = await spend(client, by())
    const some = Array.from({ length: 20 }, () => by())
    await spendMany(client, some)
    const again = await spendMany(client, [...some.slice(0, 5), by()])
    assert.equal(again.filter((each) => 'replayed' in each && each.replayed).length, 5)
    await reverseSpend(client, { spend: id, key: randomUUID(), actor: 'test', reasonCode: 'test' })
    const { balance } = (await readBalance(client, account)) ?? { balance: '0' }
    const owing = await spend(client, by({ amount: parseCredits(balance).plus(3), overdraft: true }))
    // three lots that repaid it
    for (let n = 0; n < 3; n += 1) await grant(client, { ...gift, amount: '1', key: randomUUID() })
    await reverseSpend(client, { spend: owing.id, key: randomUUID(), actor: 'test', reasonCode: 'test' })
    return (await counted()) - before
  }

  /** Spends of an account, as if they had been made. */
  async function spent({ owner }: TestDatabase, account: string, count: number): Promise<void> {
    await owner.query(
      `insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash,
                            actor, reason_code, lot_ids, lot_amounts, occurred_at)
       select $1, w.seq + n, 'spend', $1, 'system:used', -1, 1, 'spend:' || n, '', 'test', 'test', '{}', '{}', now()
         from wallet w, generate_series(1, $2::int) n where w.account_id = $1`,
      [account, count],
    )
    await owner.query('update wallet set seq = seq + $2 where account_id = $1', [account, count])
  }

  it('a key is found by the index of keys, also where most accounts have one posting', async () => {
    const own = await createDatabase()
    try {
      await own.owner.query(`
        insert into account (id) select 'acc_' || md5(n::text) from generate_series(1, 5000) n;
        insert into posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key, request_hash, actor,
                             reason_code, lot_ids, lot_amounts, occurred_at)
        select id, 1, 'grant', 'system:goodwill', id, 1, 1, 'grant:' || id, '', 'test', 'test', '{}', '{}', now() from account`)
      await own.owner.query('vacuum analyze')
      const account = await openAccount(own)
      await give(own.pool, account, '10000')
      await spent(own, account, 2000)
      const read = await transaction(own.pool, (client) => postingsRead(client, account))
      assert.ok(read < 200, `${read} postings were read for 31 keys`)
    } finally {
      await own.drop()
    }
  })

  it('and by whoever planned it when the account had few', async () => {
    const own = await createDatabase()
    // one connection, which plans once
    const pool = connect(own.serviceUrl, 1)
    try {
      const account = await openAccount(own)
      await give(own.pool, account, '10000')
      await own.owner.query('vacuum analyze')
      const reading = () => transaction(pool, (client) => postingsRead(client, account))
      await reading()
      await spent(own, account, 2000)
      const read = await reading()
      assert.ok(read < 200, `${read} postings were read for 31 keys`)
    } finally {
      await pool.end()
      await own.drop()
    }
  })

  it('every function of the ledger says so, whichever migration wrote it last', async () => {
    const { rows } = await database.owner.query<{ proname: string; says: boolean }>(
      `select proname, coalesce('enable_seqscan=off' = any(proconfig), false) as says from pg_proc
        where pronamespace = 'public'::regnamespace and prosecdef and proname like 'ledger\\_%'`,
    )
    const found = rows.map(({ proname }) => proname)
    for (const known of ['ledger_spend', 'ledger_spend_many', 'ledger_grant'])
      assert.ok(found.includes(known))
    assert.deepEqual(
      rows.filter(({ says }) => !says),
      [],
    )
  })
})
