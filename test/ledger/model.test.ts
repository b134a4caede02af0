import assert from 'node:assert/strict'
import fc from 'fast-check'
import { parseCredits } from '../../src/domain/credits.ts'
import { Refusal } from '../../src/domain/error.ts'
import { readBalance, readBalanceAt } from '../../src/ledger/balance.ts'
import { captureHold, placeHold, releaseHold } from '../../src/ledger/hold.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend, type SpendInput } from '../../src/ledger/spend.ts'
import { SpendQueue } from '../../src/ledger/spend-queue.ts'
import { assertBooks, correct, DAY_MS, fromNow, give, openAccount } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { type Answer, ModelWallet } from './model.ts'

const amount = fc.oneof(
  fc.integer({ min: 1, max: 40 }).map(String),
  fc
    .integer({ min: 1, max: 4_000_000_000 })
    .map((n) => parseCredits(`0.${String(n).padStart(10, '0').slice(0, 8).replace(/^0+$/, '1')}`).toFixed()),
)
const key = fc.oneof(fc.integer({ min: 1, max: 12 }).map(String), fc.uuid())
const place = fc.nat({ max: 1000 })
const lasts = fc.option(fc.integer({ min: 1, max: 30 }))
const step = fc.oneof(
  fc.record({ do: fc.constant('grant' as const), amount, days: lasts, priority: fc.constantFrom(50, 100) }),
  fc.record({
    do: fc.constant('renew' as const),
    amount,
    days: lasts,
    carry: fc.constantFrom('0', '0', '7.5', 'Infinity', null),
  }),
  fc.record({
    do: fc.constant('spend' as const),
    spends: fc.array(fc.record({ amount, key, overdraft: fc.boolean() }), { minLength: 1, maxLength: 5 }),
  }),
  fc.record({ do: fc.constant('hold' as const), amount, days: fc.integer({ min: 0, max: 9 }) }),
  fc.record({
    do: fc.constant('capture' as const),
    place,
    amount,
    key,
    final: fc.boolean(),
    overdraft: fc.boolean(),
  }),
  fc.record({ do: fc.constant('release' as const), place }),
  fc.record({
    do: fc.constant('credit' as const),
    amount,
    days: lasts,
    priority: fc.constantFrom(50, 100),
  }),
  fc.record({ do: fc.constant('debit' as const), amount, overdraft: fc.boolean() }),
  fc.record({ do: fc.constant('reverse' as const), place, amount: fc.option(amount), key }),
  fc.record({ do: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 10 }) }),
)
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** A hold's deadline is at six in the evening and a lot's expiry at midnight, where it is noon now. */
const UNTIL_EVENING_S = 6 * 3_600

/** A wallet in Postgres: its holds and spends in the order in which they were made. */
interface Real {
  account: string
  spend(inputs: SpendInput[]): Promise<Answer[]>
  holds: string[]
  spends: string[]
}

describe('the ledger against a simple model', function () {
  this.timeout(180_000)
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())

  it('agrees after every operation of random histories, one by one and coalesced, and the books balance', async () => {
    let ended = 0
    await fc.assert(
      fc.asyncProperty(
        // one history is longer: what is asked of a wallet meets what is asked of another, and nothing
        fc.array(step, { minLength: 1, maxLength: 30, size: 'max' }),
        fc.array(step, { minLength: 1, maxLength: 20, size: 'max' }),
        async (...histories) => {
          await runHistories(histories)
          ended += 1
        },
      ),
      { numRuns: 40, interruptAfterTimeLimit: 90_000, markInterruptAsFailure: false },
    )
    await assertBooks(database)
    assert.ok(ended >= 15, `only ${ended} histories ended in time`)
  })

  /** Each history is one wallet's; those that are coalesced share a queue, so that its batches hold several wallets. */
  async function runHistories(histories: Step[][]): Promise<void> {
    const queue = new SpendQueue(database.pool)
    const wallets = await Promise.all(
      histories.map(async (steps) => ({
        steps,
        model: new ModelWallet(),
        period: 0,
        singly: await openReal(async (inputs, spends) => {
          const answers: Answer[] = []
          for (const input of inputs) answers.push(await answerOf(spend(database.pool, input), spends))
          return answers
        }),
        coalesced: await openReal((inputs, spends) =>
          Promise.all(inputs.map((input) => answerOf(queue.spend(input), spends))),
        ),
      })),
    )
    const start = await setDay(0)
    const seen: { account: string; at: string; has: object }[] = []
    let now = 0
    for (let turn = 0; wallets.some(({ steps }) => turn < steps.length); turn++) {
      await tick()
      const asked = wallets.flatMap((wallet) => {
        const one = wallet.steps[turn]
        return one === undefined ? [] : [{ ...wallet, wallet, one }]
      })
      // time passes for all of them
      for (const { one } of asked) if (one.do === 'wait') now += one.days * DAY_MS
      if (asked.some(({ one }) => one.do === 'wait')) await setDay(now)
      for (const { model } of wallets) model.now = now
      const told = asked.map(({ wallet, model, one }) => {
        if (one.do === 'renew') wallet.period += 1
        return tell(model, one, wallet.period)
      })
      const does = (kind: 'singly' | 'coalesced') => (each: (typeof asked)[number]) =>
        act(each[kind], each.one, start, now, each.wallet.period)
      const answered: Record<'singly' | 'coalesced', Answer[][]> = {
        singly: [],
        coalesced: await Promise.all(asked.map(does('coalesced'))),
      }
      for (const each of asked) answered.singly.push(await does('singly')(each))
      for (const kind of ['singly', 'coalesced'] as const) {
        assert.deepEqual(answered[kind], told, asked.map(({ one }) => one.do).join())
        for (const { model, [kind]: real } of asked) {
          const balance = await readBalance(database.pool, real.account)
          assert.deepEqual(balance?.lots.map((lot) => lot.remaining).sort(), model.lots())
          assert.deepEqual(has(balance), {
            balance: model.balance().toFixed(),
            held: model.held().toFixed(),
            available: model.available().toFixed(),
            debt: model.debt.toFixed(),
          })
          if (kind === 'singly') {
            const { account } = real
            seen.push({ account, at: await fromNow(database, 0), has: has(balance) })
          }
        }
      }
    }
    await tick()
    for (const { account, at, has: then } of seen.filter((_, index) => index % 5 === 0)) {
      assert.deepEqual(has(await readBalanceAt(database.pool, account, at)), then, at)
    }
  }

  async function openReal(ask: (inputs: SpendInput[], spends: string[]) => Promise<Answer[]>): Promise<Real> {
    const spends: string[] = []
    return {
      account: await openAccount(database),
      holds: [],
      spends,
      spend: (inputs) => ask(inputs, spends),
    }
  }

  const has = (balance?: { balance: string; held: string; available: string; debt: string }) => ({
    balance: balance?.balance,
    held: balance?.held,
    available: balance?.available,
    debt: balance?.debt,
  })

  /** What the model says to a step. */
  function tell(model: ModelWallet, one: Step, period: number): Answer[] {
    const expiresAt = 'days' in one && one.days !== null ? model.now + one.days * DAY_MS : null
    if (one.do === 'grant' || one.do === 'credit')
      model.grant(one.amount, { expiresAt, priority: one.priority })
    if (one.do === 'debit') return [model.debit(one.amount, one.overdraft)]
    if (one.do === 'renew') {
      model.grant(one.amount, { expiresAt, priority: 100, recurring: { period, carry: one.carry } })
    }
    if (one.do === 'spend')
      return one.spends.map((each) => model.spend(each.key, each.amount, each.overdraft))
    if (one.do === 'hold') {
      return [model.hold(one.amount, model.now + one.days * DAY_MS + UNTIL_EVENING_S * 1000)]
    }
    if (one.do === 'capture' && model.holds.length > 0) {
      const at = one.place % model.holds.length
      return [model.capture(one.key, at, one.amount, one.final, one.overdraft)]
    }
    if (one.do === 'release' && model.holds.length > 0) return [model.release(one.place % model.holds.length)]
    if (one.do === 'reverse' && model.spends.length > 0) {
      return [model.reverse(one.key, one.place % model.spends.length, one.amount)]
    }
    return []
  }

  /** What the ledger says to it. */
  async function act(real: Real, one: Step, start: number, now: number, period: number): Promise<Answer[]> {
    const { pool } = database
    const { account, holds, spends } = real
    const by = { account, actor: 'test' }
    if (one.do === 'grant' || one.do === 'renew') {
      const expiresAt =
        one.days === null ? undefined : new Date(start + now + one.days * DAY_MS).toISOString()
      await give(pool, account, one.amount, {
        expiresAt,
        ...(one.do === 'grant'
          ? { priority: one.priority }
          : {
              recurring: {
                subscription: `sub_${account}`,
                periodStart: new Date(start + period * DAY_MS).toISOString(),
                carry: one.carry,
              },
            }),
      })
    }
    if (one.do === 'credit') {
      const expiresAt = one.days === null ? null : new Date(start + now + one.days * DAY_MS).toISOString()
      await correct(pool, account, { ...one, direction: 'credit', expiresAt })
    }
    if (one.do === 'debit') {
      return [
        await answerOf(
          correct(pool, account, { ...one, direction: 'debit' }).then(({ posting, balance }) => ({
            id: posting,
            balance,
          })),
        ),
      ]
    }
    if (one.do === 'spend') {
      return await real.spend(
        one.spends.map((each) => ({ ...each, ...by, amount: parseCredits(each.amount) })),
      )
    }
    if (one.do === 'hold') {
      const seconds = (one.days * DAY_MS) / 1000 + UNTIL_EVENING_S
      const input = { ...by, key: crypto.randomUUID(), amount: parseCredits(one.amount), seconds }
      return [
        await answerOf(
          placeHold(pool, input).then(async ({ hold: { id } }) => {
            holds.push(id)
            return { id, balance: (await readBalance(pool, account))?.balance ?? '' }
          }),
        ),
      ]
    }
    if (one.do === 'capture' && holds.length > 0) {
      const hold = holds[one.place % holds.length] ?? ''
      const input = { ...one, hold, actor: 'test', amount: parseCredits(one.amount) }
      return [await answerOf(captureHold(pool, input), spends)]
    }
    if (one.do === 'release' && holds.length > 0) {
      const hold = holds[one.place % holds.length] ?? ''
      return [
        await answerOf(
          releaseHold(pool, { hold, key: crypto.randomUUID(), actor: 'test' }).then(async () => ({
            id: hold,
            balance: (await readBalance(pool, account))?.balance ?? '',
          })),
        ),
      ]
    }
    if (one.do === 'reverse' && spends.length > 0) {
      const input = {
        spend: spends[one.place % spends.length] ?? '',
        key: one.key,
        amount: one.amount === null ? undefined : parseCredits(one.amount),
        actor: 'test',
        reasonCode: 'test',
      }
      return [await answerOf(reverseSpend(pool, input))]
    }
    return []
  }

  async function answerOf(
    asked: Promise<{ id: string; balance: string; replayed?: boolean }>,
    ids?: string[],
  ): Promise<Answer> {
    try {
      const { id, balance, replayed } = await asked
      if (replayed !== true) ids?.push(id)
      return { balance }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return { refused: error.code }
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
    // noon, so that the milliseconds the wall moves meanwhile never reach a deadline
    const at = epoch + ms + DAY_MS / 2
    await database.owner.query(
      'update business_clock set offset_ms = $1 - floor(extract(epoch from clock_timestamp()) * 1000)',
      [at],
    )
    return epoch
  }

  /** No two steps happen in the same millisecond, so that the older of two lots is known. */
  const tick = () => database.owner.query('update business_clock set offset_ms = offset_ms + 1')
})
