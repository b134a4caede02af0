import assert from 'node:assert/strict'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { grant } from '../../src/ledger/post.ts'
import { spend } from '../../src/ledger/spend.ts'
import { connect, transaction } from '../../src/store/connect.ts'
import { startCutProxy } from '../support/cut-proxy.ts'
import { advanceClock, assertBooks, DAY_MS, fromNow, give, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('the ledger', () => {
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
  const balance = async () => (await readBalance(database.pool, account))?.balance
  const refusal = (code: string) => ({ name: 'Refusal', code })

  describe('grants', () => {
    it('audit 1: ten concurrent grants of one period grant once', async () => {
      const expiresAt = await fromNow(database, 30 * DAY_MS)
      const outcomes = await Promise.all(
        Array.from({ length: 10 }, () =>
          give(database.pool, account, '20', { key: 'invoice_line:il_1', expiresAt }),
        ),
      )
      assert.equal(outcomes.filter(({ outcome }) => outcome === 'granted').length, 1)
      assert.equal(new Set(outcomes.map(({ posting }) => posting)).size, 1)
      assert.equal(await balance(), '20')
    })

    it('refuses a known key with other content and changes nothing', async () => {
      await give(database.pool, account, '20', { key: 'k' })
      await assert.rejects(
        give(database.pool, account, '21', { key: 'k' }),
        refusal('idempotency_key_reused'),
      )
      assert.equal(await balance(), '20')
    })

    it('repays debt inside its own posting', async () => {
      await use('7', 'over', true)
      assert.deepEqual(pick(await readBalance(database.pool, account)), {
        balance: '-7',
        available: '0',
        debt: '7',
      })
      const { lot } = await give(database.pool, account, '10')
      assert.deepEqual(pick(await readBalance(database.pool, account)), {
        balance: '3',
        available: '3',
        debt: '0',
      })
      const [entry] = await readLedger(database.pool, account, { limit: 1 })
      assert.deepEqual(entry?.lots, [
        { id: lot, amount: '10' },
        { id: lot, amount: '-7' },
      ])
    })

    it('lapse their predecessor: a later period of the same subscription, and nothing else', async () => {
      const [may, june, july] = await Promise.all([0, 30, 60].map((days) => fromNow(database, days * DAY_MS)))
      const plan = (amount: string, subscription: string, periodStart = may ?? '') =>
        give(database.pool, account, amount, {
          kind: 'plan',
          expiresAt: july,
          recurring: { subscription, periodStart },
          payment: `in_${subscription}`,
        })
      await database.pool.query(
        `insert into payment (id, account_id, amount_minor, currency, paid_at)
         select 'in_' || s, $1, 1, 'usd', now() from unnest(array['sub_a', 'sub_b']) s on conflict do nothing`,
        [account],
      )
      await give(database.pool, account, '5', { kind: 'pack' })
      await plan('20', 'sub_a')
      await plan('30', 'sub_b')
      assert.equal(await balance(), '55')
      await plan('21', 'sub_a', june)
      assert.equal(await balance(), '56')
      // a late, older invoice succeeds nothing and is succeeded by nothing that was there before
      await plan('2', 'sub_a', await fromNow(database, -30 * DAY_MS))
      assert.equal(await balance(), '58')
      // nor does one without a carry, which stands beside; the next period succeeds it with the rest
      const beside = { subscription: 'sub_a', periodStart: july ?? '', carry: null }
      await give(database.pool, account, '3', {
        kind: 'plan',
        expiresAt: await fromNow(database, 90 * DAY_MS),
        recurring: beside,
        payment: 'in_sub_a',
      })
      assert.equal(await balance(), '61')
      const { rows: ends } = await database.pool.query<{ expires_at: Date }>(
        `select distinct expires_at from lot where account_id = $1 and subscription_id = 'sub_a' and granted <> 3
            and expires_at > business_now()`,
        [account],
      )
      assert.deepEqual(
        ends.map((row) => row.expires_at.toISOString()),
        [july],
        'what it stands beside ends when it did',
      )
      const august = await fromNow(database, 90 * DAY_MS)
      await give(database.pool, account, '22', {
        kind: 'plan',
        expiresAt: await fromNow(database, 120 * DAY_MS),
        recurring: { subscription: 'sub_a', periodStart: august },
        payment: 'in_sub_a',
      })
      assert.equal(await balance(), '57')
    })

    it('audit 10: hold eight decimals exactly and refuse a ninth', async () => {
      await give(database.pool, account, '0.00000001')
      await give(database.pool, account, '999999999999999.99999999')
      assert.equal(await balance(), '1000000000000000')
      await assert.rejects(
        database.pool.query(`select * from ledger_spend($1, 'k', 'h', 0.000000001, null, 't', false)`, [
          account,
        ]),
        /at most 8 decimals/,
      )
    })
  })

  describe('spends', () => {
    it('audit 3, RC-5: 200 concurrent spends of one account never overdraw and sum exactly', async () => {
      await give(database.pool, account, '60.5')
      await give(database.pool, account, '40', { expiresAt: await fromNow(database, DAY_MS) })
      const outcomes = await Promise.allSettled(Array.from({ length: 200 }, () => use('0.7')))
      const spent = outcomes.filter(({ status }) => status === 'fulfilled')
      assert.equal(spent.length, 143) // floor(100.5 / 0.7)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'insufficient_credits')
      }
      assert.equal(await balance(), '0.4')
    })

    it('burn what expires soonest, then by priority, then the oldest, and what never expires last', async () => {
      const never = await give(database.pool, account, '1', { priority: 1 })
      const late = await give(database.pool, account, '1', { expiresAt: await fromNow(database, 9 * DAY_MS) })
      const soon = await fromNow(database, 3 * DAY_MS)
      const old = await give(database.pool, account, '1', { expiresAt: soon })
      const young = await give(database.pool, account, '1', { expiresAt: soon })
      const first = await give(database.pool, account, '1', { expiresAt: soon, priority: 5 })
      const drawn: string[] = []
      for (let i = 0; i < 5; i++) {
        await use('1')
        const [entry] = await readLedger(database.pool, account, { limit: 1 })
        drawn.push(...(entry?.lots.map(({ id }) => id) ?? []))
      }
      assert.deepEqual(drawn, [first.lot, old.lot, young.lot, late.lot, never.lot])
    })

    it('answer a replay as first given, also when the balance has changed and would not suffice', async () => {
      await give(database.pool, account, '10')
      const first = await use('6', 'key-1')
      await use('4')
      const again = await use('6', 'key-1')
      assert.deepEqual(again, { ...first, replayed: true })
      await assert.rejects(use('5', 'key-1'), refusal('idempotency_key_reused'))
      assert.equal(await balance(), '0')
    })

    it('with one key at the same moment are one spend', async () => {
      await give(database.pool, account, '10')
      const answers = await Promise.all(Array.from({ length: 20 }, () => use('3', 'same')))
      assert.equal(new Set(answers.map(({ id }) => id)).size, 1)
      assert.equal(answers.filter(({ replayed }) => !replayed).length, 1)
      assert.equal(await balance(), '7')
    })

    it('whose connection was cut at COMMIT are done once when retried', async () => {
      await give(database.pool, account, '10')
      const proxy = await startCutProxy(database.serviceUrl)
      const pool = connect(proxy.url, 1)
      try {
        proxy.cutAfter('ledger_spend')
        const call = { account, key: 'cut', amount: parseCredits('4'), actor: 'test' }
        await assert.rejects(spend(pool, call))
        const retried = await spend(pool, call)
        assert.deepEqual(retried.replayed, true)
        assert.equal(retried.balance, '6')
        assert.equal(await balance(), '6')
      } finally {
        await pool.end()
        await proxy.close()
      }
    })

    it('and grants whose connection was cut at COMMIT grant once when retried', async () => {
      const proxy = await startCutProxy(database.serviceUrl)
      const pool = connect(proxy.url, 1)
      try {
        proxy.cutAfter('commit')
        const call = () =>
          transaction(pool, (client) =>
            grant(client, {
              account,
              key: 'invoice_line:il_cut',
              kind: 'goodwill',
              amount: '4',
              actor: 'test',
              reasonCode: 'test',
              source: {},
            }),
          )
        await assert.rejects(call())
        assert.equal((await call()).outcome, 'replayed')
        assert.equal(await balance(), '4')
      } finally {
        await pool.end()
        await proxy.close()
      }
    })
  })

  describe('expiry', () => {
    it('audit 9: expired is gone at that instant, swept or not, and is posted on the next touch', async () => {
      await give(database.pool, account, '5', { expiresAt: await fromNow(database, DAY_MS) })
      await give(database.pool, account, '2')
      await advanceClock(database, DAY_MS + 1000)
      assert.equal(
        (await database.pool.query('select balance from wallet where account_id = $1', [account])).rows[0]
          .balance,
        '7.00000000',
      )
      assert.deepEqual(pick(await readBalance(database.pool, account)), {
        balance: '2',
        available: '2',
        debt: '0',
      })
      await assert.rejects(use('3'), refusal('insufficient_credits'))
      await use('1')
      const kinds = (await readLedger(database.pool, account, { limit: 10 })).map(
        ({ kind, amount }) => `${kind} ${amount}`,
      )
      assert.deepEqual(kinds, ['spend -1', 'lapse -5', 'grant 2', 'grant 5'])
    })

    it('is posted once by fifty concurrent touches', async () => {
      await give(database.pool, account, '5', { expiresAt: await fromNow(database, DAY_MS) })
      await give(database.pool, account, '100')
      await advanceClock(database, 2 * DAY_MS)
      await Promise.all(Array.from({ length: 50 }, () => use('1')))
      const entries = await readLedger(database.pool, account, { limit: 100 })
      assert.equal(entries.filter(({ kind }) => kind === 'lapse').length, 1)
      assert.equal(await balance(), '50')
    })
  })

  describe('law 4: the database itself', () => {
    it('lets nobody change or delete a posting, not even its owner', async () => {
      await give(database.pool, account, '5')
      for (const table of ['posting', 'audit_log']) {
        await assert.rejects(database.owner.query(`delete from ${table}`), /append-only/)
        await assert.rejects(database.owner.query(`truncate ${table} cascade`), /append-only/)
      }
      await assert.rejects(database.owner.query('update posting set amount = 6'), /append-only/)
    })

    it('law 1: gives the service no way to credits but the functions', async () => {
      for (const statement of [
        `insert into posting select * from posting`,
        `insert into new_posting select * from posting`,
        `update wallet set balance = 100`,
        `update lot set remaining = granted`,
        `delete from posting`,
        `update business_clock set offset_ms = 1`,
        `select ledger_keep(w) from wallet w`,
      ]) {
        await assert.rejects(database.pool.query(statement), /permission denied/, statement)
      }
    })

    it('refuses a second posting of a key, a lot beyond its grant, a wallet below its debt', async () => {
      await give(database.pool, account, '5', { key: 'once' })
      const sql = `insert into posting select account_id, seq + 1, kind, from_account, to_account, amount,
                     balance_after, key, request_hash, feature, actor, reason_code, lot_ids, lot_amounts, source, occurred_at from posting where account_id = $1`
      await assert.rejects(database.owner.query(sql, [account]), /posting_\d_account_id_key_key/)
      await assert.rejects(
        database.owner.query('update lot set remaining = granted + 1 where account_id = $1', [account]),
        /check/,
      )
      await assert.rejects(
        database.owner.query('update wallet set balance = -1 where account_id = $1', [account]),
        /check/,
      )
    })
  })

  it('refuses an account that does not exist', async () => {
    const stranger = { account: 'acc_nobody', key: 'k', amount: parseCredits('1'), actor: 'test' }
    await assert.rejects(spend(database.pool, stranger), refusal('account_not_found'))
    await assert.rejects(give(database.pool, 'acc_nobody', '1'), refusal('account_not_found'))
  })
})

function pick(balance: { balance: string; available: string; debt: string } | undefined) {
  return balance && { balance: balance.balance, available: balance.available, debt: balance.debt }
}
