import assert from 'node:assert/strict'
import { parseCredits } from '../../src/domain/credits.ts'
import { postingKey } from '../../src/domain/id.ts'
import { INVARIANTS, violations } from '../../src/ledger/invariant.ts'
import { captureHold } from '../../src/ledger/hold.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend } from '../../src/ledger/spend.ts'
import { assertBooks, correct, DAY_MS, fromNow, give, openAccount, place } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

const SUM = 'the balance is the sum of the postings'
const LOTS = 'the balance is what the lots hold less the debt'
const GAPLESS = 'postings are numbered without gaps and the wallet has the last number'
const CHAIN = 'each posting continues the balance of the one before'
const TIME = 'time never runs backwards in a wallet'
const MOVED = 'what is left of a lot is what postings filled and drew'
const FILLED = 'each lot was filled once, with what it was granted'
const REPAID = 'what a lot repaid is not left of it'
const DEBT = 'debt is what lots could not cover'
const OWNER = 'a lot belongs to the wallet whose postings move it'
const HELD = 'what is held is held in lots'
const SHAPE = 'each posting says what it is, between its customer and a system account'
const ASIDE = 'what a lot holds is what open holds set aside'
const DUE = 'a wallet knows when something is next due'
const EXPIRED = 'nothing was drawn from a lot after it had expired'
const LEFT = 'an expired lot has nothing left but what is held'
const HOLDS = 'a hold sets aside what no capture has taken, until it is closed'
const ONCE = 'a spend is given back at most once over'
const NAMED = 'each reversal names its spend'
const WANTED = 'each adjustment is what two persons wanted, and what they wanted is made'
const ENTITLED = 'an entitlement is marked granted when it has its posting, and only then'
const CUT = 'a month of a paid year is granted as what was paid for it, less what was given back'
const GOOD = 'no account has made good more than it was given back'
const PAID = 'each grant of a plan names a payment that is written down, or the free plan that it is of'
const MONTHS = 'the months of a free plan are counted from one instant, however often it is begun'
const TOLD = 'each notice has its deliveries'

/** The books before: five wallets, as `before` makes them. */
interface Books {
  /** seq 1: a plan's 20 (`plan`), seq 2: 5 of goodwill (`gift`), seq 3: 3 of the plan spent */
  a: string
  /** seq 1: 2 of goodwill, seq 2: 5 spent, so a debt of 3 */
  b: string
  /** seq 1: 5 of goodwill (`other`) */
  c: string
  /** seq 1: 10 of goodwill (`kept`), 4 of it held (`hold`), seq 2: 1 captured, seq 3: 2 spent, seq 4: 1 reversed */
  d: string
  /** seq 1: 5 of goodwill (`taken`), seq 2: 1 of it taken by a correction */
  f: string
  plan: string
  gift: string
  other: string
  taken: string
  kept: string
  hold: string
}

/**
 * What happens to the books, in SQL of `psql`'s kind (`:a` is quoted), and every rule that then does not hold. The
 * sums hang together, so one wrong number in them breaks two rules; everything else breaks one.
 */
const FACTS: [what: string, sql: string, broken: string[]][] = [
  [
    'a wallet has a credit that no posting brought',
    'update wallet set balance = balance + 1 where account_id = :a',
    [SUM, LOTS],
  ],
  [
    'a posting and its balance were rewritten',
    'update posting set amount = amount + 1, balance_after = balance_after + 1 where account_id = :a and seq = 3',
    [SUM, DEBT],
  ],
  [
    'a lot has a credit that no posting brought',
    'update lot set remaining = remaining + 1 where id = :plan',
    [LOTS, MOVED],
  ],
  [
    'a posting is of a kind that nobody knows',
    `update posting set kind = 'gift' where account_id = :a and seq = 2`,
    [SHAPE],
  ],
  [
    'a correction goes the other way than its amount',
    `update posting set from_account = to_account, to_account = from_account where account_id = :f and seq = 2`,
    [SHAPE],
  ],
  [
    'a posting does not say how much it moved of a lot',
    `update posting set lot_ids = lot_ids || array['lot_x'] where account_id = :a and seq = 3`,
    [SHAPE],
  ],
  [
    'a feature is a free text',
    `update posting set feature = 'For Grace' where account_id = :a and seq = 3`,
    [SHAPE],
  ],
  [
    'a posting is missing',
    `update posting set seq = 4 where account_id = :a and seq = 3;
     update wallet set seq = 4 where account_id = :a`,
    [GAPLESS],
  ],
  [
    'a posting has a number too high',
    `update posting set seq = 4 where account_id = :a and seq = 3`,
    [GAPLESS],
  ],
  ['a wallet is behind its postings', 'update wallet set seq = 2 where account_id = :a', [GAPLESS]],
  [
    'a posting was made beside another',
    'update posting set balance_after = balance_after + 1 where account_id = :a and seq = 2',
    [CHAIN],
  ],
  [
    'a posting happened before the one before it',
    `update posting set occurred_at = occurred_at - interval '1 hour' where account_id = :a and seq = 3`,
    [TIME],
  ],
  [
    'credits went from lot to lot without a posting',
    `update lot set remaining = remaining + 1 where id = :plan;
     update lot set remaining = remaining - 1 where id = :gift`,
    [MOVED],
  ],
  ['a lot says that it was granted more', 'update lot set granted = 21 where id = :plan', [FILLED]],
  [
    'a lot was filled in two parts',
    `update posting set lot_amounts = '{19}' where account_id = :a and seq = 1;
     update posting set lot_ids = lot_ids || :plan::text, lot_amounts = lot_amounts || 1.0 where account_id = :a and seq = 3`,
    [FILLED],
  ],
  ['a lot repaid more than was used of it', 'update lot set repaid = 4 where id = :plan', [REPAID]],
  ['a lot repaid less than nothing', 'update lot set repaid = -1 where id = :plan', [REPAID]],
  ['a debt is more than was overdrawn', 'update wallet set debt = 4 where account_id = :b', [LOTS, DEBT]],
  ['a debt was forgotten', 'update wallet set debt = 0, balance = 0 where account_id = :b', [SUM, DEBT]],
  [
    'two wallets have each other’s lot',
    `update lot set account_id = case id when :gift then :c else :a end where id in (:gift, :other)`,
    [OWNER],
  ],
  ['a wallet holds what no lot does', 'update wallet set held = 1 where account_id = :a', [HELD]],
  ['a lot holds what its wallet does not know', 'update lot set held = 1 where id = :gift', [HELD, ASIDE]],
  [
    'a lot holds for no hold',
    `update lot set held = 1 where id = :gift;
     update wallet set held = 1 where account_id = :a`,
    [ASIDE],
  ],
  [
    'two lots hold for each other',
    `update hold set lot_ids = array[:other::text] where id = :hold;
     update lot set held = 0 where id = :kept;
     update lot set held = 3 where id = :gift;
     update wallet set held = case account_id when :d then 0 else 3 end where account_id in (:a, :d)`,
    [ASIDE],
  ],
  [
    'a hold was closed and kept its credits',
    `update hold set state = 'lapsed', closed_at = now() where id = :hold`,
    [ASIDE, HOLDS],
  ],
  [
    'a hold that is over sets credits aside',
    `insert into hold (id, account_id, key, request_hash, amount, state, actor, lot_ids, lot_amounts, placed_seq,
                       placed_at, expires_at, closed_at)
     select 'hld_2', account_id, 'x', request_hash, amount, 'lapsed', actor, lot_ids, lot_amounts, placed_seq,
            placed_at, expires_at, now() from hold where id = :hold`,
    [HOLDS],
  ],
  ['a capture was not counted', 'update hold set captured = 0 where id = :hold', [HOLDS]],
  [
    'a capture names a hold that is not there',
    `update posting set source = source || '{"hold": "hld_0"}' where account_id = :d and seq = 2`,
    [HOLDS],
  ],
  [
    'more was given back than was spent',
    'insert into reversal (account_id, seq, spend_seq, amount) values (:d, 1, 3, 2)',
    [ONCE],
  ],
  ['what was given back was no spend', 'update reversal set spend_seq = 1 where account_id = :d', [ONCE]],
  ['nobody knows what was given back', 'delete from reversal where account_id = :d', [NAMED]],
  ['less was noted than was given back', 'update reversal set amount = 0.5 where account_id = :d', [NAMED]],
  [
    'a wallet forgot that its lot lapses',
    'update wallet set next_lapse_at = null where account_id = :a',
    [DUE],
  ],
  [
    'a wallet looks for its next lapse too late',
    `update wallet set next_lapse_at = next_lapse_at + interval '1 millisecond' where account_id = :a`,
    [DUE],
  ],
  [
    'a wallet looks for the end of its hold too late',
    `update wallet set next_lapse_at = next_lapse_at + interval '1 millisecond' where account_id = :d`,
    [DUE],
  ],
  [
    'an expired credit was spent',
    `update lot set expires_at = '2020-01-01' where id = :plan;
     update wallet set next_lapse_at = '2020-01-01' where account_id = :a`,
    [EXPIRED, LEFT],
  ],
  [
    'more was captured from an expired lot than was held of it',
    `update posting set kind = 'capture', source = jsonb_build_object('hold', :hold::text, 'reserved', '0')
      where account_id = :d and seq = 3;
     update hold set captured = 3 where id = :hold;
     update lot set expires_at = '2020-01-01' where id = :kept;
     update wallet set next_lapse_at = '2020-01-01' where account_id = :d`,
    [EXPIRED, LEFT],
  ],
  [
    'credits outlived their expiry',
    `update lot set expires_at = '2020-01-01' where id = :gift;
     update wallet set next_lapse_at = '2020-01-01' where account_id = :a`,
    [LEFT],
  ],
  [
    'a month was granted and is still due',
    `update entitlement set granted_at = null where key = 'invoice_line:il_1:0'`,
    [ENTITLED],
  ],
  [
    'a month is marked granted and has no posting',
    `update entitlement set granted_at = now() where key = 'invoice_line:il_1:1'`,
    [ENTITLED],
  ],
  [
    'a month was granted whole whose money was given back in part',
    `update entitlement set cut = 5 where key = 'invoice_line:il_1:0'`,
    [CUT],
  ],
  [
    'what was given back is made good twice',
    `insert into settlement (key, account_id, subscription_id, invoice_id, owed)
     values ('proration:in_1:price', :a, 'sub_1', 'in_1', 5), ('invoice_line:il_2', :a, 'sub_1', 'in_2', -5),
            ('invoice_line:il_3', :a, 'sub_1', 'in_3', -5)`,
    [GOOD],
  ],
  ['the payment of a plan is not there', `delete from payment where id = 'pi_1'`, [PAID]],
  [
    'a free plan granted to somebody else',
    `update subscription set account_id = :b where id = 'free_${'1'.repeat(32)}'`,
    [PAID],
  ],
  ['what is free names a payment', `update lot set payment_id = 'pi_1' where key = 'free:default:0'`, [PAID]],
  [
    'a free plan granted what was no month of it',
    `update lot set key = 'goodwill:0' where key = 'free:default:0';
     update posting set key = 'goodwill:0' where key = 'free:default:0'`,
    [PAID],
  ],
  [
    'what is paid for grants as if it were free',
    `update lot set key = 'free:default:9', payment_id = null where id = :plan;
     update posting set key = 'free:default:9' where account_id = :a and seq = 1`,
    [ENTITLED, PAID],
  ],
  [
    'a second enrolment counts from another day',
    `insert into subscription (id, account_id, role, plan_group, price_id, current_period_end, quantity, status,
                               anchor, observed_at, created_at, ended_at)
     select 'free_' || repeat('2', 32), account_id, role, plan_group, price_id, current_period_end, quantity, 'canceled',
            anchor + interval '1 day', observed_at, created_at, now() from subscription where role = 'fallback'`,
    [MONTHS],
  ],
  [
    'two free months begin within one',
    `update lot set period_start = period_start - interval '1 day' where key = 'free:default:1'`,
    [MONTHS],
  ],
  [
    'a correction is of another amount than was approved',
    `update approval set plan = jsonb_set(plan, '{amount}', '"2"')`,
    [WANTED],
  ],
  [
    'a correction goes the other way than was approved',
    `update approval set plan = jsonb_set(plan, '{direction}', '"credit"')`,
    [WANTED],
  ],
  ['a correction was made that nobody approved', 'delete from approval', [WANTED]],
  [
    'a correction that was approved is not in the books',
    `update approval set id = 'apr_' || repeat('0', 32)`,
    [WANTED],
  ],
  [
    'a correction looks like a use',
    `update posting set kind = 'spend' where account_id = :f and seq = 2`,
    [SHAPE, WANTED],
  ],
  [
    'a correction was drawn from a lot after it had expired',
    `update lot set expires_at = granted_at - interval '1 second', remaining = 0 where id = :taken;
     update posting set amount = -5, balance_after = 0, lot_amounts = array[-5] where account_id = :f and seq = 2;
     update wallet set balance = 0 where account_id = :f;
     update approval set plan = jsonb_set(plan, '{amount}', '"5"')`,
    [EXPIRED],
  ],
  [
    'a notice was written and nobody is told',
    `insert into notice (id, account_id, kind, event, key, cause, data, emailed)
     values (notice_id(:a, 'k'), :a, 'balance_low', 'balance.low', 'k', '{}', '{}', true)`,
    [TOLD],
  ],
]

describe('law 4: each invariant can fail', () => {
  let database: TestDatabase
  let books: Books
  before(async () => {
    database = await createDatabase()
    const { pool } = database
    const [a = '', b = '', c = '', d = ''] = await Promise.all([1, 2, 3, 4].map(() => openAccount(database)))
    const [periodStart, expiresAt] = [await fromNow(database, 0), await fromNow(database, 30 * DAY_MS)]
    await pool.query(
      `insert into payment (id, account_id, amount_minor, currency, paid_at) values ('pi_1', $1, 2000, 'usd', now())`,
      [a],
    )
    await pool.query(
      `insert into entitlement (key, account_id, subscription_id, payment_id, amount, due_at, period_end, expires_at,
                                source, granted_at)
       select 'invoice_line:il_1:' || n, $1, 'sub_1', 'pi_1', 20, now(), now(), now(), '{}',
              case n when 0 then now() end
         from generate_series(0, 1) n`,
      [a],
    )
    const free = `free_${'1'.repeat(32)}`
    const e = await openAccount(database)
    await pool.query(
      `insert into subscription (id, account_id, role, plan_group, price_id, current_period_end, quantity, status, anchor,
                                 observed_at, created_at)
       values ($1, $2, 'fallback', 'default', 'free.free.v1', now(), 1, 'active', now(), now(), now())`,
      [free, e],
    )
    for (const index of [0, 1]) {
      await give(pool, e, '2', {
        key: postingKey.freeMonth('default', index),
        kind: 'plan',
        recurring: { subscription: free, periodStart: await fromNow(database, index * 28 * DAY_MS) },
      })
    }
    const { lot: plan } = await give(pool, a, '20', {
      key: 'invoice_line:il_1:0',
      kind: 'plan',
      recurring: { subscription: 'sub_1', periodStart },
      payment: 'pi_1',
      expiresAt,
    })
    const { lot: gift } = await give(pool, a, '5')
    await spend(pool, { account: a, key: 'a', amount: parseCredits('3'), actor: 'test' })
    await give(pool, b, '2')
    await spend(pool, { account: b, key: 'b', amount: parseCredits('5'), actor: 'test', overdraft: true })
    const { lot: other } = await give(pool, c, '5')
    const f = await openAccount(database)
    const { lot: taken } = await give(pool, f, '5')
    await correct(pool, f, { direction: 'debit', amount: '1' })
    const { lot: kept } = await give(pool, d, '10')
    const { id: hold } = await place(pool, d, '4')
    const by = { actor: 'test', amount: parseCredits('1') }
    await captureHold(pool, { ...by, hold, key: 'c', final: false })
    const { id: spent } = await spend(pool, { ...by, account: d, key: 'd', amount: parseCredits('2') })
    await reverseSpend(pool, { ...by, spend: spent, key: 'r', reasonCode: 'test' })
    books = { a, b, c, d, f, plan, gift, other, taken, kept, hold }
  })
  after(() => database.drop())
  afterEach(() => assertBooks(database))

  /** Rewrites history as only the owner can, with every trigger off, and answers the rules that see it. */
  async function brokenBy(sql: string): Promise<string[]> {
    const client = await database.owner.connect()
    try {
      await client.query('begin')
      await client.query('set local session_replication_role = replica')
      const names = Object.entries(books) as [keyof Books, string][]
      await client.query(sql.replace(/:([a-z]+)\b/g, (text, name) => quoted(text, name, names)))
      const found = await violations(client)
      for (const { rows } of found) assert.ok(rows.length > 0)
      return found.map(({ invariant }) => invariant)
    } finally {
      await client.query('rollback')
      client.release()
    }
  }

  for (const [what, sql, broken] of FACTS) {
    it(`it is seen when ${what}`, async () => assert.deepEqual(await brokenBy(sql), broken))
  }

  it('each has a fact that breaks it', () => {
    assert.deepEqual(new Set(FACTS.flatMap(([, , broken]) => broken)), new Set(INVARIANTS.map(nameOf)))
  })
})

const nameOf = ({ name }: { name: string }) => name

/** The id that a name in a fact's SQL stands for; whatever is no such name stays. */
function quoted(text: string, name: string, books: [string, string][]): string {
  const id = books.find(([known]) => known === name)?.[1]
  return id === undefined ? text : `'${id}'`
}
