/** How rows are found: a ledger that grows must not make its commands slower. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance, readBalanceAt } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { captureHold, placeHold, releaseHold } from '../../src/ledger/hold.ts'
import { grant } from '../../src/ledger/post.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend, type SpendInput, spendMany } from '../../src/ledger/spend.ts'
import { connect, type Pool, type Queryable, transaction } from '../../src/store/connect.ts'
import { advanceClock, DAY_MS, fromNow, give, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

function asked(account: string, count: number): SpendInput[] {
  return Array.from({ length: count }, () => ({
    account,
    key: randomUUID(),
    amount: parseCredits('1'),
    actor: 'test',
    metadata: { a: 'b' },
  }))
}

/** How many postings a session reads that looks for 33 keys, five of them known, and for what repaid a debt. */
async function readForKeys(pool: Pool, account: string): Promise<number> {
  return await transaction(pool, async (client) => {
    // of this session, also before this transaction
    const counted = async () => {
      const { rows } = await client.query<{ read: string }>(
        `select coalesce(sum(idx_tup_fetch), 0) as read from pg_stat_xact_user_tables where relname ~ '^(posting|reversal)'`,
      )
      return Number(rows[0]?.read)
    }
    const before = await counted()
    const [one] = asked(account, 1)
    const { id } = await spend(client, one as SpendInput)
    const many = asked(account, 20)
    await spendMany(client, many)
    const again = await spendMany(client, [...many.slice(0, 5), ...asked(account, 1)])
    assert.equal(again.filter((each) => 'replayed' in each && each.replayed).length, 5)
    const by = { actor: 'test', reasonCode: 'test' }
    await reverseSpend(client, { spend: id, key: randomUUID(), ...by })
    const amount = parseCredits((await readBalance(client, account))?.balance ?? '').plus(3)
    const [all] = asked(account, 1)
    const owing = await spend(client, { ...(all as SpendInput), amount, overdraft: true })
    const gift = { account, kind: 'goodwill', amount: '1', source: {}, ...by } as const
    for (let n = 0; n < 3; n++) await grant(client, { ...gift, key: randomUUID() })
    await reverseSpend(client, { spend: owing.id, key: randomUUID(), ...by })
    return (await counted()) - before
  })
}

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
      for (let n = 0; n < 4; n++) await spendMany(own.pool, asked(account, 500))
      const read = await readForKeys(own.pool, account)
      assert.ok(read < 200, `${read} postings were read for 33 keys`)
    } finally {
      await own.drop()
    }
  })

  const planned = {
    'before Postgres had looked at the ledger for the first time': async (
      own: TestDatabase,
      account: string,
    ) => {
      for (let part = 0; part < 8; part++)
        await own.owner.query(`alter table posting_${part} set (autovacuum_enabled = false)`)
      // so many that the keys are on two pages of their index, and the numbers of the postings on one
      await spendMany(own.pool, asked(account, 100), false)
    },
    'when Postgres had counted few': (own: TestDatabase) => own.owner.query('vacuum analyze'),
  }
  for (const [when, prepare] of Object.entries(planned)) {
    it(`and by a session that planned ${when}`, async () => {
      const own = await createDatabase()
      const session = connect(own.serviceUrl, 1)
      try {
        const account = await openAccount(own)
        await give(own.pool, account, '10000')
        await prepare(own, account)
        await readForKeys(session, account)
        await spendMany(own.pool, asked(account, 2000), false)
        const read = await readForKeys(session, account)
        assert.ok(read < 200, `${read} postings were read for 33 keys`)
      } finally {
        await session.end()
        await own.drop()
      }
    })
  }

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
