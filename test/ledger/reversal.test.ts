import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { captureHold } from '../../src/ledger/hold.ts'
import { readSpend, reverseSpend, type ReversalInput } from '../../src/ledger/reversal.ts'
import { spend } from '../../src/ledger/spend.ts'
import { advanceClock, assertBooks, DAY_MS, fromNow, give, openAccount, place } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('reversals of spends', () => {
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

  const use = async (amount: string, overdraft = false) =>
    (
      await spend(database.pool, {
        account,
        key: randomUUID(),
        amount: parseCredits(amount),
        actor: 'test',
        overdraft,
        feature: 'chat',
      })
    ).id
  const reverse = (id: string, amount?: string, more: Partial<ReversalInput> = {}) =>
    reverseSpend(database.pool, {
      spend: id,
      key: randomUUID(),
      amount: amount === undefined ? undefined : parseCredits(amount),
      actor: 'test',
      reasonCode: 'test',
      ...more,
    })
  const has = async () => {
    const { balance, available, debt } = (await readBalance(database.pool, account)) ?? {}
    return [balance, available, debt]
  }
  const lots = async () => (await readBalance(database.pool, account))?.lots.map(({ remaining }) => remaining)
  const entries = async () =>
    (await readLedger(database.pool, account, { limit: 20 })).map(({ kind, amount }) => `${kind} ${amount}`)
  const refusal = (code: string, data: object = {}) => ({ name: 'Refusal', code, data })

  it('go back to the lots they drew on, the last first; parts add up to the whole and no further', async () => {
    for (const amount of ['1', '2', '4']) await give(database.pool, account, amount)
    const id = await use('5')
    assert.deepEqual(await lots(), ['2'])
    assert.equal((await reverse(id, '1')).balance, '3')
    assert.deepEqual(await lots(), ['3'])
    await reverse(id, '2')
    assert.deepEqual(await lots(), ['1', '4'])
    await assert.rejects(reverse(id, '2.00000001'), refusal('reversal_too_large', { left: '2' }))
    const last = await reverse(id)
    assert.deepEqual([last.amount, last.balance, last.lapsed], ['2', '7', '0'])
    assert.deepEqual(await lots(), ['1', '2', '4'])
    await assert.rejects(reverse(id), refusal('spend_reversed', { left: '0' }))
    await assert.rejects(reverse(id, '1'), refusal('spend_reversed', { left: '0' }))
    assert.equal((await readSpend(database.pool, id)).reversed, '5')
  })

  it('of a capture go back to what was held and to what was not', async () => {
    for (const amount of ['3', '5']) await give(database.pool, account, amount)
    const { id: hold } = await place(database.pool, account, '4')
    const { id } = await captureHold(database.pool, {
      hold,
      key: 'c',
      amount: parseCredits('6'),
      final: true,
      actor: 'test',
    })
    const seen = await readSpend(database.pool, id)
    assert.deepEqual([seen.hold, seen.amount, seen.balance], [hold, '6', '2'])
    await reverse(id)
    assert.deepEqual(await lots(), ['3', '5'])
  })

  it('keep the feature of the spend, so that what was used of it goes down', async () => {
    await give(database.pool, account, '5')
    const id = await use('5')
    await reverse(id, '1', { metadata: { ticket: '7' } })
    const [entry] = await readLedger(database.pool, account, { limit: 1 })
    assert.deepEqual(
      [entry?.kind, entry?.feature, entry?.source, entry?.metadata],
      ['reversal', 'chat', { spend: id }, { ticket: '7' }],
    )
  })

  it('lapse at once what has expired meanwhile, each time under a key of its own', async () => {
    await give(database.pool, account, '4', { expiresAt: await fromNow(database, DAY_MS) })
    await give(database.pool, account, '4')
    const id = await use('6')
    await advanceClock(database, 2 * DAY_MS)
    const first = await reverse(id, '3', { key: 'r' })
    assert.deepEqual([first.balance, first.lapsed], ['4', '1'])
    const second = await reverse(id, '2')
    assert.deepEqual([second.balance, second.lapsed], ['4', '2'])
    assert.deepEqual(await reverse(id, '3', { key: 'r' }), { ...first, replayed: true })
    assert.deepEqual(await lots(), ['4'])
    assert.deepEqual(await entries(), [
      'lapse -2',
      'reversal 2',
      'lapse -1',
      'reversal 3',
      'spend -6',
      'grant 4',
      'grant 4',
    ])
  })

  for (const [carry, lives] of [
    ['0', false],
    ['5', false],
    ['Infinity', true],
  ] as const) {
    it(`after a succession that carries ${carry} over, what was spent out ${lives ? 'lives on' : 'lapses'}`, async () => {
      const month = async (n: number) =>
        give(database.pool, account, '10', {
          recurring: {
            subscription: `sub_${account}`,
            periodStart: await fromNow(database, n * DAY_MS),
            carry,
          },
          expiresAt: carry === 'Infinity' ? undefined : await fromNow(database, 90 * DAY_MS),
        })
      await month(0)
      const id = await use('10')
      await month(30)
      const { balance, lapsed } = await reverse(id)
      assert.deepEqual([balance, lapsed], lives ? ['20', '0'] : ['10', '10'])
    })
  }

  it('take off a debt first', async () => {
    await give(database.pool, account, '4')
    const id = await use('10', true)
    assert.deepEqual(await has(), ['-6', '0', '6'])
    await reverse(id, '5')
    assert.deepEqual(await has(), ['-1', '0', '1'])
    await reverse(id)
    assert.deepEqual(await has(), ['4', '4', '0'])
    assert.deepEqual(await lots(), ['4'])
  })

  it('give what a debt was repaid with back to the lots that repaid it, the first after the spend first', async () => {
    const soon = await fromNow(database, DAY_MS)
    await use('2', true)
    await give(database.pool, account, '2') // repays what was owed before
    const id = await use('10', true)
    await give(database.pool, account, '4', { expiresAt: soon, kind: 'promotion' })
    await give(database.pool, account, '20', { kind: 'pack' })
    const left = async () =>
      (await readBalance(database.pool, account))?.lots.map(({ source, remaining }) => [source, remaining])
    assert.deepEqual(await left(), [['pack', '14']])
    await reverse(id, '5')
    assert.deepEqual(await left(), [
      ['promotion', '4'],
      ['pack', '15'],
    ])
    await reverse(id)
    assert.deepEqual(await left(), [
      ['promotion', '4'],
      ['pack', '20'],
    ])
    await advanceClock(database, 2 * DAY_MS)
    assert.deepEqual(await has(), ['20', '20', '0'])
  })

  it('nobody gets credits of another kind than those that paid: what has expired meanwhile lapses at once', async () => {
    const soon = await fromNow(database, DAY_MS)
    const first = await use('10', true)
    await give(database.pool, account, '10', { expiresAt: soon })
    await use('1', true)
    await give(database.pool, account, '25', { kind: 'pack' })
    await advanceClock(database, 2 * DAY_MS)
    const { balance, lapsed } = await reverse(first)
    assert.deepEqual([balance, lapsed], ['24', '10'])
    assert.deepEqual(await lots(), ['24'])
  })

  it('a debt that the reversal of another spend took off is paid for by who had paid for that one', async () => {
    const first = await use('5', true)
    await give(database.pool, account, '5') // repays the first
    const second = await use('3', true)
    assert.deepEqual(await has(), ['-3', '0', '3'])
    await reverse(first) // takes 3 off the debt, 2 come back
    assert.deepEqual(await has(), ['2', '2', '0'])
    await reverse(second)
    assert.deepEqual(await has(), ['5', '5', '0'])
  })

  it('one key at the same moment is one reversal, and many keys give back no more than there was', async () => {
    await give(database.pool, account, '10')
    const id = await use('10')
    const same = await Promise.all(Array.from({ length: 10 }, () => reverse(id, '1', { key: 'same' })))
    assert.equal(new Set(same.map((one) => one.id)).size, 1)
    const many = await Promise.allSettled(Array.from({ length: 20 }, () => reverse(id, '2')))
    assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 4)
    assert.deepEqual(await has(), ['9', '9', '0'])
  })

  it('a key is for one content', async () => {
    await give(database.pool, account, '10')
    const [id, other] = [await use('4'), await use('4')]
    const first = await reverse(id, '1', { key: 'k' })
    for (const ask of [
      () => reverse(id, '2', { key: 'k' }),
      () => reverse(id, undefined, { key: 'k' }),
      () => reverse(other, '1', { key: 'k' }),
      () => reverse(id, '1', { key: 'k', reasonCode: 'other' }),
      () => reverse(id, '1', { key: 'k', metadata: { a: 'b' } }),
    ]) {
      await assert.rejects(ask, refusal('idempotency_key_reused', { id: first.id }))
    }
  })

  it('are of spends and captures only', async () => {
    await give(database.pool, account, '10')
    const grant = `spd_${account.slice(4)}_1` // its number is a grant's
    const back = await reverse(await use('1'))
    for (const id of [grant, back.id, 'spd_0_1', 'spd_', 'nonsense', `spd_${account.slice(4)}_99`]) {
      await assert.rejects(reverse(id), refusal('spend_not_found'), id)
      await assert.rejects(readSpend(database.pool, id), refusal('spend_not_found'), id)
    }
  })
})
