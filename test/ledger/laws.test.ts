import assert from 'node:assert/strict'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { captureHold, readHold, releaseHold } from '../../src/ledger/hold.ts'
import { spend } from '../../src/ledger/spend.ts'
import {
  advanceClock,
  assertBooks,
  DAY_MS,
  fromNow,
  give,
  openAccount,
  place,
  waitsForLock,
} from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('the laws of the ledger at their edges', () => {
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

  const use = (amount: string) =>
    spend(database.pool, { account, key: crypto.randomUUID(), amount: parseCredits(amount), actor: 'test' })
  const refusal = (code: string) => ({ name: 'Refusal', code })
  const hold = (amount: string, seconds = 60 * 86_400) => place(database.pool, account, amount, { seconds })
  const release = ({ id }: { id: string }) =>
    releaseHold(database.pool, { hold: id, key: crypto.randomUUID(), actor: 'test' })

  it('law 2: lots that expire together lapse each under its own key', async () => {
    const expiresAt = await fromNow(database, DAY_MS)
    const lots = [
      await give(database.pool, account, '1', { expiresAt }),
      await give(database.pool, account, '2', { expiresAt }),
    ]
    await advanceClock(database, 2 * DAY_MS)
    const entries = await readLedger(database.pool, account, { limit: 10 })
    assert.deepEqual(
      new Set(entries.filter(({ kind }) => kind === 'lapse').map(({ source }) => source['lot'])),
      new Set(lots.map(({ lot }) => lot)),
    )
  })

  it('law 3: a spend is never posted before the lapse in front of it, though the clock ticks between the two', async () => {
    const own = await createDatabase()
    try {
      await own.owner.query(`
        create sequence tick minvalue 0;
        grant usage on sequence tick to perennial_service;
        create or replace function business_now() returns timestamptz language sql volatile as
          $$ select timestamptz '2030-01-01' + nextval('tick') * interval '1 millisecond' $$`)
      account = await openAccount(own)
      const hour = 3_600_000
      const at = (ms: number) => new Date(Date.UTC(2030, 0, 1) + ms).toISOString()
      await give(own.pool, account, '1', { expiresAt: at(hour) })
      await give(own.pool, account, '1', { expiresAt: at(hour + 1) })
      await give(own.pool, account, '10')
      await own.owner.query(`select setval('tick', ${hour - 1})`)
      await spend(own.pool, { account, key: 'k', amount: parseCredits('1'), actor: 'test' })
      const entries = await readLedger(own.pool, account, { limit: 3 })
      assert.deepEqual(
        entries.map(({ kind }) => kind),
        ['spend', 'lapse', 'lapse'],
      )
      assert.deepEqual([entries[0]?.occurred_at, entries[1]?.occurred_at], [at(hour + 1), at(hour + 1)])
    } finally {
      await own.drop()
      account = await openAccount(database)
    }
  })

  it('law 3: business time is read after the lock, so nobody who waited spends what expired meanwhile', async () => {
    await give(database.pool, account, '5', { expiresAt: await fromNow(database, DAY_MS) })
    const other = await database.owner.connect()
    try {
      await other.query('begin')
      await other.query('select 1 from wallet where account_id = $1 for update', [account])
      const waiting = assert.rejects(use('1'), refusal('insufficient_credits'))
      await waitsForLock(database)
      await advanceClock(database, 2 * DAY_MS)
      await other.query('commit')
      await waiting
    } finally {
      other.release()
    }
  })

  it('law 14: a lone spend, which reads the clock by itself, reads what everybody else does', async () => {
    await advanceClock(database, 3 * DAY_MS)
    await give(database.pool, account, '5')
    const before = await fromNow(database, 0)
    await use('1')
    const after = await fromNow(database, 0)
    const [{ occurred_at: at } = { occurred_at: '' }] = await readLedger(database.pool, account, { limit: 1 })
    assert.ok(before <= at && at <= after, `${before} ${at} ${after}`)
  })

  it('law 9: what two lines of one period granted is there, and neither succeeds the other', async () => {
    const periodStart = await fromNow(database, 0)
    await database.pool.query(
      `insert into payment (id, account_id, amount_minor, currency, paid_at) values ('pi_two', $1, 1, 'usd', now())`,
      [account],
    )
    for (const amount of ['20', '30']) {
      await give(database.pool, account, amount, {
        kind: 'plan',
        recurring: { subscription: 'sub_two', periodStart },
        payment: 'pi_two',
      })
    }
    assert.equal((await readBalance(database.pool, account))?.balance, '50')
  })

  for (const [debt, lapses] of [
    ['0', '10'],
    ['4', '6'],
    ['12', undefined],
  ]) {
    it(`law 9: a payment that comes after its period lapses at once, but for a debt: ${debt}`, async () => {
      const owed = {
        account,
        key: 'owed',
        amount: parseCredits(debt === '0' ? '1' : (debt ?? '')),
        actor: 'test',
      }
      if (debt !== '0') await spend(database.pool, { ...owed, overdraft: true })
      const expiresAt = await fromNow(database, -DAY_MS)
      await give(database.pool, account, '10', { expiresAt })
      // what is written, before anybody touches the wallet again
      const { rows } = await database.pool.query(
        'select trim_scale(-amount)::text as amount from posting where account_id = $1 and kind = $2',
        [account, 'lapse'],
      )
      assert.deepEqual(
        rows.map(({ amount }) => amount),
        lapses === undefined ? [] : [lapses],
      )
    })
  }

  it('law 9: a lot can lapse twice: what its successor found held goes when the hold does', async () => {
    await database.pool.query(
      `insert into payment (id, account_id, amount_minor, currency, paid_at) values ('pi_held', $1, 1, 'usd', now())`,
      [account],
    )
    const plan = async (amount: string, days: number) =>
      give(database.pool, account, amount, {
        kind: 'plan',
        expiresAt: await fromNow(database, (days + 33) * DAY_MS),
        recurring: { subscription: 'sub_held', periodStart: await fromNow(database, days * DAY_MS) },
        payment: 'pi_held',
      })
    await plan('20', 0)
    const held = await hold('4')
    await plan('30', 30)
    const { balance, available } = (await readBalance(database.pool, account)) ?? {}
    assert.deepEqual([balance, available], ['34', '30'])
    await release(held)
    const entries = await readLedger(database.pool, account, { limit: 10 })
    assert.deepEqual(
      entries.map(({ kind, amount }) => `${kind} ${amount}`),
      ['lapse -4', 'grant 30', 'lapse -16', 'grant 20'],
    )
  })

  it('law 8: a debt counts against what is free', async () => {
    await give(database.pool, account, '5')
    const held = await hold('4')
    const over = { account, key: 'over', amount: parseCredits('3'), actor: 'test', overdraft: true }
    await spend(database.pool, over)
    await release(held)
    assert.equal((await readBalance(database.pool, account))?.available, '2')
    await assert.rejects(use('3'), refusal('insufficient_credits'))
    assert.equal((await use('2')).balance, '0')
  })

  it('a grant and its audit row are one', async () => {
    const { posting } = await give(database.pool, account, '1')
    await give(database.pool, account, '2', { key: 'twice' })
    await give(database.pool, account, '2', { key: 'twice' })
    const { rows } = await database.pool.query(
      'select action, subject from audit_log where account_id = $1 order by id',
      [account],
    )
    assert.equal(rows.length, 2)
    assert.deepEqual(rows[0], { action: 'grant', subject: posting })
  })

  it('the ledger that is read ends at the balance, also when nobody has touched what expired', async () => {
    await give(database.pool, account, '5', { expiresAt: await fromNow(database, DAY_MS) })
    await give(database.pool, account, '2')
    await advanceClock(database, 2 * DAY_MS)
    const [newest] = await readLedger(database.pool, account, { limit: 1 })
    assert.equal(newest?.balance_after, (await readBalance(database.pool, account))?.balance)
    assert.equal(newest?.kind, 'lapse')
  })

  for (const amount of ['0', '-1', '0.000000001', '1.000000001', 'NaN', 'Infinity']) {
    it(`audit 10: the functions refuse ${amount} themselves, whoever calls them`, async () => {
      await give(database.pool, account, '10')
      await hold('1')
      const calls = [
        `select ledger_spend($1, 'k', 'h', $2, null, 't', true)`,
        `select ledger_spend_many(array[$1], '{k}', '{h}', array[$2::numeric], '{null}', '{t}', '{t}', '{null}', true)`,
        `select ledger_hold($1, 'k', 'h', $2, 60, null, 't', null)`,
        `select ledger_capture((select id from hold where account_id = $1), 'k', 'h', $2, true, true, null, 't', null)`,
        `select ledger_debit($1, 'k', 'h', $2, true, 't', 't', '{}', null)`,
        `select ledger_reverse($1, 1, 'k', 'h', $2, 't', 't', null)`,
        `select ledger_grant($1, 'k', 'h', 'pack', $2, null, 100::smallint, null, null, null, 'system:sold', 't', 't', '{}')`,
      ]
      for (const call of calls) {
        await assert.rejects(database.pool.query(call, [account, amount]), /positive and has at most 8/)
      }
    })
  }

  it('law 1: the service may read the ledger and call its doors, and nothing else', async () => {
    const tables = await database.owner.query<{ may: string }>(
      `select c.relname || ' ' || string_agg(p, ',' order by p) as may
         from pg_class c,
              unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p
        where c.oid = any(array['wallet', 'lot', 'posting', 'posting_0', 'posting_7', 'posting_lot', 'audit_log',
                                       'business_clock', 'hold', 'hold_lot', 'note', 'reversal']::regclass[])
          and (has_table_privilege('perennial_service', c.oid, p)
               or (p in ('INSERT', 'UPDATE') and has_any_column_privilege('perennial_service', c.oid, p)))
        group by c.relname order by c.relname`,
    )
    assert.deepEqual(
      tables.rows.map(({ may }) => may),
      [
        'audit_log INSERT,SELECT',
        'business_clock SELECT',
        'hold SELECT',
        'hold_lot SELECT',
        'lot SELECT',
        'note DELETE,SELECT',
        'posting SELECT',
        'posting_lot SELECT',
        'reversal SELECT',
        'wallet SELECT',
      ],
    )
    const { rows } = await database.owner.query<{ name: string; may: boolean }>(
      `select proname as name, has_function_privilege('perennial_service', oid, 'EXECUTE') as may
         from pg_proc where pronamespace = 'public'::regnamespace
          and (prorettype in ('wallet'::regtype, 'trigger'::regtype) or 'wallet'::regtype = any(proargtypes))`,
    )
    assert.ok(rows.some(({ name }) => name === 'ledger_keep'))
    assert.deepEqual(
      rows.filter(({ may }) => may),
      [],
      'what takes or makes a wallet is the ledger’s own',
    )
  })

  it('law 4: no part of a posting can be changed, by anybody', async () => {
    await give(database.pool, account, '5')
    const changes = [
      `update posting set reason_code = 'other'`,
      'update posting set lot_amounts = lot_amounts',
      `update audit_log set actor = 'nobody'`,
      // a trigger of the whole does not see a statement that names a part
      ...Array.from({ length: 8 }, (_, part) => `delete from posting_${part}`),
      'delete from reversal',
    ]
    for (const sql of changes) await assert.rejects(database.owner.query(sql), /append-only/, sql)
  })

  it('law 4: a posting goes from or to the customer, in the direction of its sign', async () => {
    await give(database.pool, account, '5')
    const post = (from: string, to: string, amount: string, lots: string[] = []) =>
      database.owner.query(
        `insert into new_posting (account_id, seq, kind, from_account, to_account, amount, balance_after, key,
                                  request_hash, actor, reason_code, lot_ids, lot_amounts, occurred_at)
         values ($1, 2, 'grant', $2, $3, $4, 0, 'x', 'h', 't', 't', $5, '{}', now())`,
        [account, from, to, amount, lots],
      )
    const wrong: [from: string, to: string, amount: string][] = [
      ['system:plan', account, '-1'],
      ['system:plan', account, '0'],
      [account, 'system:used', '0'],
      [account, 'system:used', '1'],
      ['system:plan', 'system:used', '1'],
      [account, account, '1'],
      ['acc_other', account, '1'],
    ]
    for (const each of wrong) await assert.rejects(post(...each), /new_posting/, each.join(' '))
    // and says of each lot how much it moved
    await assert.rejects(post('system:plan', account, '1', ['lot_x']), /new_posting/)
  })

  it('law 1: whatever posts does so by way of the view that checks it', async () => {
    const { rows } = await database.owner.query<{ name: string; past: boolean }>(
      `select proname as name, prosrc ~* 'insert into posting[^_]' as past from pg_proc
        where pronamespace = 'public'::regnamespace and prosrc ~* 'insert into (new_)?posting'`,
    )
    assert.ok(rows.some(({ name }) => name === 'ledger_spend_many'))
    assert.deepEqual(
      rows.filter(({ past }) => past),
      [],
    )
  })
})

describe('law 9: expired is gone at that instant', () => {
  let database: TestDatabase
  let account: string
  const INSTANT = '2030-01-31T12:00:00.000Z'
  before(async () => {
    database = await createDatabase()
    // a clock that stands still, so that an instant can be met exactly
    await database.owner.query(
      `create or replace function business_now() returns timestamptz language sql volatile as
         $$ select timestamptz '${INSTANT}' + offset_ms * interval '1 millisecond' from business_clock $$`,
    )
  })
  after(() => database.drop())
  beforeEach(async () => {
    account = await openAccount(database)
    await database.owner.query('update business_clock set offset_ms = 0')
  })
  afterEach(() => assertBooks(database))

  const seen = async () => (await readBalance(database.pool, account))?.available
  const one = (key: string) => ({ account, key, amount: parseCredits('1'), actor: 'test' })
  const kinds = async () =>
    (await readLedger(database.pool, account, { limit: 20 })).map(({ kind, amount }) => `${kind} ${amount}`)
  const refused = { code: 'insufficient_credits' }

  it('not a millisecond before and not a millisecond after, for whoever reads and whoever spends', async () => {
    await give(database.pool, account, '5', { expiresAt: await fromNow(database, 1000) })
    await advanceClock(database, 999)
    assert.equal(await seen(), '5')
    await spend(database.pool, one('in time'))
    await advanceClock(database, 1)
    assert.equal(await seen(), '0')
    await assert.rejects(spend(database.pool, one('late')), refused)
    assert.deepEqual((await kinds())[0], 'lapse -4')
  })

  it('a lot that expires between hold and capture is captured from, and what is freed of it lapses then', async () => {
    await give(database.pool, account, '5', { expiresAt: await fromNow(database, 1000) })
    const { id: hold } = await place(database.pool, account, '4', { seconds: 2 })
    await advanceClock(database, 1000)
    const answer = await captureHold(database.pool, {
      hold,
      key: 'c',
      amount: parseCredits('3'),
      final: true,
      actor: 'test',
    })
    assert.deepEqual([answer.status, answer.balance], ['captured', '1'])
    assert.deepEqual(await kinds(), ['lapse -1', 'capture -3', 'lapse -1', 'grant 5'])
    assert.equal((await readBalance(database.pool, account))?.balance, '0')
  })

  it('a hold ends at its millisecond: before, it is captured from; at it, from what is available', async () => {
    const capture = (hold: string, amount: string, final: boolean) =>
      captureHold(database.pool, {
        hold,
        key: crypto.randomUUID(),
        amount: parseCredits(amount),
        final,
        actor: 'test',
      })
    await give(database.pool, account, '5', { expiresAt: await fromNow(database, 2000) })
    const { id: hold } = await place(database.pool, account, '5', { seconds: 2 })
    await advanceClock(database, 1999)
    assert.equal((await readHold(database.pool, hold)).status, 'open')
    assert.equal(await seen(), '0')
    await capture(hold, '2', false)
    await advanceClock(database, 1)
    const { status, closedAt, expiresAt } = await readHold(database.pool, hold)
    assert.deepEqual([status, closedAt], ['lapsed', expiresAt])
    assert.deepEqual((await readBalance(database.pool, account))?.held, '0')
    await advanceClock(database, 0)
    await assert.rejects(capture(hold, '1', false), refused)
    assert.deepEqual(await kinds(), ['lapse -3', 'capture -2', 'grant 5'])
    // what is there by then pays for it, as often as it takes
    await give(database.pool, account, '3')
    assert.equal((await capture(hold, '1', false)).status, 'lapsed')
    assert.equal((await capture(hold, '1', true)).status, 'captured')
    await assert.rejects(capture(hold, '1', false), { code: 'hold_closed' })
    assert.equal(await seen(), '1')
  })

  it('holds and lots that are due end in the order of time', async () => {
    const at = (ms: number) => fromNow(database, ms)
    await give(database.pool, account, '1', { expiresAt: await at(1000) })
    await give(database.pool, account, '2', { expiresAt: await at(3000) })
    await give(database.pool, account, '4', { expiresAt: await at(5000) })
    await place(database.pool, account, '2', { seconds: 2 }) // all of the first lot, half of the second
    await place(database.pool, account, '3', { seconds: 4 }) // the rest of the second, half of the third
    await advanceClock(database, 10_000)
    const entries = await readLedger(database.pool, account, { limit: 20 })
    const start = new Date(INSTANT).getTime()
    assert.deepEqual(
      entries
        .filter(({ kind }) => kind === 'lapse')
        .map((entry) => `${entry.amount} after ${new Date(entry.occurred_at).getTime() - start} ms`),
      ['-4 after 5000 ms', '-1 after 4000 ms', '-1 after 3000 ms', '-1 after 2000 ms'],
    )
  })
})
