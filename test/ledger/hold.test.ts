import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../../src/domain/credits.ts'
import { readBalance, readBalanceAt } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import {
  type CaptureInput,
  captureHold,
  listHolds,
  placeHold,
  readHold,
  releaseHold,
} from '../../src/ledger/hold.ts'
import { spend } from '../../src/ledger/spend.ts'
import { advanceClock, assertBooks, DAY_MS, fromNow, give, openAccount, place } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('holds', () => {
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

  const has = async () => {
    const { balance, held, available, debt } = (await readBalance(database.pool, account)) ?? {}
    return [balance, held, available, debt]
  }
  const capture = (hold: string, amount: string, more: Partial<CaptureInput> = {}) =>
    captureHold(database.pool, {
      hold,
      key: randomUUID(),
      amount: parseCredits(amount),
      final: true,
      actor: 'test',
      ...more,
    })
  const release = (hold: string, key: string = randomUUID()) =>
    releaseHold(database.pool, { hold, key, actor: 'releaser' })
  const refusal = (code: string, data: object = {}) => ({ name: 'Refusal', code, data })

  it('set aside what is available, never more, and post nothing', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '7')
    assert.deepEqual(await has(), ['10', '7', '3', '0'])
    await assert.rejects(
      place(database.pool, account, '4'),
      refusal('insufficient_credits', { available: '3' }),
    )
    const input = { account, key: 's', amount: parseCredits('4'), actor: 'test' }
    await assert.rejects(spend(database.pool, input), refusal('insufficient_credits', { available: '3' }))
    assert.equal((await readLedger(database.pool, account, { limit: 9 })).length, 1)
    assert.equal((await readHold(database.pool, id)).status, 'open')
  })

  it('are never drawn on by a spend that overdraws: it owes instead', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '7')
    await spend(database.pool, {
      account,
      key: 's',
      amount: parseCredits('8'),
      actor: 'test',
      overdraft: true,
    })
    assert.deepEqual(await has(), ['2', '7', '0', '5'])
    assert.equal((await capture(id, '7')).balance, '-5')
  })

  it('fifty at once never set aside more than there is', async () => {
    await give(database.pool, account, '10')
    const placed = await Promise.allSettled(
      Array.from({ length: 50 }, () => place(database.pool, account, '0.3')),
    )
    assert.equal(placed.filter(({ status }) => status === 'fulfilled').length, 33)
    assert.deepEqual(await has(), ['10', '9.9', '0.1', '0'])
  })

  it('a replay answers the hold as it was placed, whatever has become of it and of its notes', async () => {
    await give(database.pool, account, '10')
    const input = {
      account,
      key: 'h',
      amount: parseCredits('7'),
      seconds: 60,
      actor: 'test',
      feature: 'chat',
    }
    const first = await placeHold(database.pool, { ...input, metadata: { b: '1', a: '2' } })
    assert.deepEqual(Object.keys(first.hold.metadata), ['a', 'b'])
    await capture(first.hold.id, '2')
    await database.pool.query('delete from note where account_id = $1', [account]) // an erasure
    const again = await placeHold(database.pool, { ...input, metadata: { a: '2', b: '1' } })
    assert.equal(JSON.stringify(again.hold), JSON.stringify(first.hold))
    assert.equal(again.replayed, true)
    assert.deepEqual((await readHold(database.pool, first.hold.id)).metadata, {})
    for (const other of [
      { seconds: 61 },
      { metadata: { a: '3' } },
      { feature: 'x' },
      { metadata: undefined },
    ]) {
      await assert.rejects(
        placeHold(database.pool, { ...input, metadata: { b: '1', a: '2' }, ...other }),
        refusal('idempotency_key_reused', { id: first.hold.id }),
      )
    }
  })

  it('are captured in part, and the rest is free again', async () => {
    const { lot: first } = await give(database.pool, account, '5')
    const { lot: second } = await give(database.pool, account, '5')
    const { id } = await place(database.pool, account, '8')
    const { balance, status } = await capture(id, '6')
    assert.deepEqual([balance, status], ['4', 'captured'])
    assert.deepEqual(await has(), ['4', '0', '4', '0'])
    const [entry] = await readLedger(database.pool, account, { limit: 1 })
    assert.deepEqual(entry?.lots, [
      { id: first, amount: '-5' },
      { id: second, amount: '-1' },
    ])
    assert.deepEqual(entry?.source['hold'], id)
    const { captured, closedAt } = await readHold(database.pool, id)
    assert.equal(captured, '6')
    assert.equal(closedAt, entry?.occurred_at)
  })

  it('are captured piece by piece until the last', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '6')
    assert.equal((await capture(id, '2', { final: false })).status, 'open')
    assert.deepEqual(await has(), ['8', '4', '4', '0'])
    assert.equal((await capture(id, '3', { final: false })).status, 'open')
    assert.deepEqual(await has(), ['5', '1', '4', '0'])
    assert.equal((await capture(id, '1', { final: false })).status, 'open')
    assert.equal((await capture(id, '2')).status, 'captured')
    assert.deepEqual(await has(), ['2', '0', '2', '0'])
  })

  it('above what they set aside the excess is a spend, refused as a whole when it is not there', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '6')
    await spend(database.pool, { account, key: 's', amount: parseCredits('3'), actor: 'test' })
    await assert.rejects(capture(id, '8'), refusal('insufficient_credits', { available: '7' }))
    assert.deepEqual(await has(), ['7', '6', '1', '0'])
    assert.equal((await capture(id, '8', { overdraft: true })).balance, '-1')
    assert.deepEqual(await has(), ['-1', '0', '0', '1'])
  })

  it('a capture is answered to a replay as first given; its key is for one hold and one content', async () => {
    await give(database.pool, account, '10')
    const [{ id }, { id: other }] = [
      await place(database.pool, account, '4'),
      await place(database.pool, account, '4'),
    ]
    const first = await capture(id, '2', { key: 'c', final: false })
    await capture(id, '1')
    assert.deepEqual(await capture(id, '2', { key: 'c', final: false }), { ...first, replayed: true })
    assert.equal(first.status, 'open')
    for (const [hold, amount, final] of [
      [other, '2', false],
      [id, '3', false],
      [id, '2', true],
    ] as const) {
      await assert.rejects(
        capture(hold, amount, { key: 'c', final }),
        refusal('idempotency_key_reused', { id: first.id }),
      )
    }
  })

  it('one key at the same moment is one capture', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '4')
    const answers = await Promise.all(Array.from({ length: 20 }, () => capture(id, '3', { key: 'same' })))
    assert.equal(new Set(answers.map((answer) => answer.id)).size, 1)
    assert.deepEqual(await has(), ['7', '0', '7', '0'])
  })

  it('captured and released at the same moment are one of the two', async () => {
    await give(database.pool, account, '100')
    for (let round = 0; round < 10; round += 1) {
      const { id } = await place(database.pool, account, '4')
      const ends = await Promise.allSettled([capture(id, '3'), release(id)])
      assert.equal(ends.filter(({ status }) => status === 'fulfilled').length, 1)
      const lost = ends.find((end) => end.status === 'rejected')
      const { status } = await readHold(database.pool, id)
      assert.deepEqual([lost?.reason.code, lost?.reason.data], ['hold_closed', { hold_status: status }])
    }
    assert.equal((await has())[1], '0')
  })

  it('are released once; a replay says the same, and the key is for one hold', async () => {
    await give(database.pool, account, '10')
    const [{ id }, { id: other }] = [
      await place(database.pool, account, '4'),
      await place(database.pool, account, '4'),
    ]
    await capture(id, '1', { final: false })
    const first = await release(id, 'r')
    assert.deepEqual([first.amount, first.captured], ['4', '1'])
    assert.deepEqual(await release(id, 'r'), { ...first, replayed: true })
    await assert.rejects(release(id), refusal('hold_closed', { hold_status: 'released' }))
    await assert.rejects(capture(id, '1'), refusal('hold_closed', { hold_status: 'released' }))
    await assert.rejects(release(other, 'r'), refusal('idempotency_key_reused'))
    assert.deepEqual(await has(), ['9', '4', '5', '0'])
    const { rows } = await database.pool.query('select actor, released_by from hold where id = $1', [id])
    assert.deepEqual(rows, [{ actor: 'test', released_by: 'releaser' }])
  })

  it('a lapsed one frees its credits by itself, and can be captured from what is there, or be released', async () => {
    await give(database.pool, account, '10')
    const { id } = await place(database.pool, account, '8', { seconds: 60 })
    const other = await place(database.pool, account, '2', { seconds: 60 })
    await advanceClock(database, 61_000)
    assert.deepEqual(await has(), ['10', '0', '10', '0'])
    const { status, closedAt, expiresAt } = await readHold(database.pool, id)
    assert.deepEqual([status, closedAt], ['lapsed', expiresAt])
    await spend(database.pool, { account, key: 's', amount: parseCredits('5'), actor: 'test' })
    await assert.rejects(capture(id, '8'), refusal('insufficient_credits', { available: '5' }))
    assert.equal((await capture(id, '8', { overdraft: true })).balance, '-3')
    const captured = await readHold(database.pool, id)
    assert.deepEqual([captured.status, captured.captured, captured.closedAt], ['captured', '8', expiresAt])
    assert.equal((await release(other.id)).closedAt, other.expiresAt)
    assert.equal((await readHold(database.pool, other.id)).status, 'released')
  })

  it('law 9: what they hold survives its expiry until they end', async () => {
    const expiresAt = await fromNow(database, DAY_MS)
    await give(database.pool, account, '10', { expiresAt })
    const { id } = await place(database.pool, account, '6', { seconds: 2 * 86_400 })
    await advanceClock(database, 1.5 * DAY_MS)
    assert.deepEqual(await has(), ['6', '6', '0', '0'])
    assert.equal((await capture(id, '4')).balance, '2')
    assert.deepEqual(await has(), ['0', '0', '0', '0'])
    const entries = await readLedger(database.pool, account, { limit: 9 })
    assert.deepEqual(
      entries.map(({ kind, amount, reason_code }) => `${kind} ${amount} ${reason_code}`),
      ['lapse -2 released', 'capture -4 capture', 'lapse -4 expired', 'grant 10 test'],
    )
  })

  it('count as left when a period rolls over, and what is freed of them lives on as far as there is room', async () => {
    const month = async (n: number, carry: string) =>
      give(database.pool, account, '10', {
        recurring: {
          subscription: `sub_${account}`,
          periodStart: await fromNow(database, n * DAY_MS),
          carry,
        },
        expiresAt: await fromNow(database, (n + 30) * DAY_MS),
      })
    await month(0, '0')
    const { id } = await place(database.pool, account, '9')
    await month(1, '5') // 1 is free and lives on, of what is held 4 may
    assert.deepEqual(await has(), ['20', '9', '11', '0'])
    await release(id)
    assert.deepEqual(await has(), ['20', '0', '20', '0'])
    await month(2, '12') // the younger 10, and 2 of the older
    assert.deepEqual(await has(), ['22', '0', '22', '0'])
    const { id: last } = await place(database.pool, account, '22')
    await month(3, '3') // all is held: of the younger lot 3 count as left, the older one ends
    assert.deepEqual(await has(), ['32', '22', '10', '0'])
    await release(last)
    assert.deepEqual(await has(), ['20', '0', '20', '0'])
  })

  it('are listed newest first, by what has become of them', async () => {
    await give(database.pool, account, '10')
    const ids: string[] = []
    for (const seconds of [60, 3600, 3600, 3600]) {
      ids.push((await place(database.pool, account, '1', { seconds })).id)
      await advanceClock(database, 1)
    }
    await capture(ids[1] ?? '', '1')
    await release(ids[2] ?? '')
    await advanceClock(database, 61_000)
    const all = await listHolds(database.pool, account, { limit: 10 })
    assert.deepEqual(
      all.map(({ id, status }) => [id, status]),
      [
        [ids[3], 'open'],
        [ids[2], 'released'],
        [ids[1], 'captured'],
        [ids[0], 'lapsed'],
      ],
    )
    for (const { id, status } of all) {
      assert.deepEqual(
        (await listHolds(database.pool, account, { limit: 10, status })).map((hold) => hold.id),
        [id],
      )
    }
    const [, second] = all
    const rest = await listHolds(database.pool, account, {
      limit: 10,
      after: { at: second?.createdAt ?? '', id: second?.id ?? '' },
    })
    assert.deepEqual(rest, all.slice(2))
  })

  it('are part of the balance at any instant before', async () => {
    const instants: [at: string, held: string, balance: string][] = []
    const note = async (held: string, balance: string) => {
      instants.push([await fromNow(database, 0), held, balance])
      await advanceClock(database, 1000)
    }
    await note('0', '0')
    await give(database.pool, account, '10')
    await note('0', '10')
    const { id } = await place(database.pool, account, '6', { seconds: 100 })
    await note('6', '10')
    await capture(id, '2', { final: false })
    await note('4', '8')
    await advanceClock(database, 100_000)
    await note('0', '8')
    await capture(id, '7', { final: false })
    await note('0', '1')
    for (const [at, held, balance] of instants) {
      const then = await readBalanceAt(database.pool, account, at)
      assert.deepEqual([then?.held, then?.balance], [held, balance], at)
    }
    await assert.rejects(
      readBalanceAt(database.pool, account, await fromNow(database, 60_000)),
      refusal('instant_not_over'),
    )
    assert.equal(await readBalanceAt(database.pool, 'acc_nobody', await fromNow(database, -1)), undefined)
  })

  it('that are not there are not found', async () => {
    await assert.rejects(place(database.pool, 'acc_nobody', '1'), refusal('account_not_found'))
    const asks = [() => capture('hld_0', '1'), () => release('hld_0'), () => readHold(database.pool, 'hld_0')]
    for (const ask of asks) await assert.rejects(ask, refusal('hold_not_found'))
  })
})
