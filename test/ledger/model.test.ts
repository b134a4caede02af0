import assert from 'node:assert/strict'
import fc from 'fast-check'
import { parseCredits } from '../../src/domain/credits.ts'
import { Refusal } from '../../src/domain/error.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { spend } from '../../src/ledger/spend.ts'
import { assertBooks, DAY_MS, give, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { ModelWallet } from './model.ts'

const amount = fc.oneof(
  fc.integer({ min: 1, max: 40 }).map(String),
  fc
    .integer({ min: 1, max: 4_000_000_000 })
    .map((n) => parseCredits(`0.${String(n).padStart(10, '0').slice(0, 8).replace(/^0+$/, '1')}`).toFixed()),
)
const step = fc.oneof(
  fc.record({
    do: fc.constant('grant' as const),
    amount,
    days: fc.option(fc.integer({ min: 1, max: 30 })),
    priority: fc.constantFrom(50, 100),
  }),
  fc.record({
    do: fc.constant('spend' as const),
    amount,
    key: fc.integer({ min: 1, max: 30 }).map(String),
    overdraft: fc.boolean(),
  }),
  fc.record({ do: fc.constant('spend' as const), amount, key: fc.uuid(), overdraft: fc.constant(false) }),
  fc.record({ do: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 10 }) }),
)

describe('the ledger against a simple model', function () {
  this.timeout(120_000)
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('agrees after every operation of random histories, and the books balance', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), async (steps) => {
        const account = await openAccount(database)
        const model = new ModelWallet()
        const start = await setDay(0)
        for (const one of steps) {
          if (one.do === 'wait') {
            model.now += one.days * DAY_MS
            await setDay(model.now)
          } else if (one.do === 'grant') {
            const expiresAt = one.days === null ? null : model.now + one.days * DAY_MS
            model.grant(one.amount, expiresAt, one.priority)
            await give(database.pool, account, one.amount, {
              priority: one.priority,
              expiresAt: expiresAt === null ? undefined : new Date(start + expiresAt).toISOString(),
            })
          } else {
            assert.deepEqual(await trySpend(account, one), model.spend(one.key, one.amount, one.overdraft))
          }
          const seen = await readBalance(database.pool, account)
          assert.equal(seen?.balance, model.balance().toFixed())
          assert.equal(seen?.available, model.available().toFixed())
          assert.equal(seen?.debt, model.debt.toFixed())
        }
        await setDay(model.now)
      }),
      { numRuns: 60, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false },
    )
    await assertBooks(database)
  })

  async function trySpend(account: string, one: { key: string; amount: string; overdraft: boolean }) {
    try {
      const answer = await spend(database.pool, {
        account,
        key: one.key,
        amount: parseCredits(one.amount),
        actor: 'test',
        overdraft: one.overdraft,
      })
      assert.equal(answer.amount, one.amount)
      return { amount: `${one.amount}/${one.overdraft}`, balance: answer.balance }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (error.code === 'insufficient_credits') return undefined
      assert.equal(error.code, 'idempotency_key_reused')
      return 'reused'
    }
  }

  // Histories follow each other on one clock, each some way later, so that time never runs backwards.
  let epoch = Math.ceil(Date.now() / DAY_MS) * DAY_MS
  let latest = 0
  async function setDay(ms: number): Promise<number> {
    if (ms === 0) {
      epoch += latest + DAY_MS
      latest = 0
    }
    latest = Math.max(latest, ms)
    // noon, so that the milliseconds the wall moves meanwhile never reach a deadline at midnight
    const at = epoch + ms + DAY_MS / 2
    await database.owner.query(
      'update business_clock set offset_ms = $1 - floor(extract(epoch from clock_timestamp()) * 1000)',
      [at],
    )
    return epoch
  }
})
