import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import pg from 'pg'
import { Exact, parseCredits } from '../../src/domain/credits.ts'
import { Refusal } from '../../src/domain/error.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readLedger } from '../../src/ledger/entry.ts'
import { captureHold } from '../../src/ledger/hold.ts'
import { readSpend, reverseSpend } from '../../src/ledger/reversal.ts'
import { spend, type SpendInput, spendMany, type SpendResult } from '../../src/ledger/spend.ts'
import { SpendQueue } from '../../src/ledger/spend-queue.ts'
import { connect, transaction } from '../../src/store/connect.ts'
import { startCutProxy } from '../support/cut-proxy.ts'
import {
  assertBooks,
  DAY_MS,
  fromNow,
  give,
  onTheWay,
  openAccount,
  place,
  waitsForLock,
} from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('spends that wait together', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  afterEach(() => assertBooks(database))

  const of = (account: string, amount: string, more: Partial<SpendInput> = {}): SpendInput => ({
    account,
    key: randomUUID(),
    amount: parseCredits(amount),
    actor: 'test',
    ...more,
  })
  const codes = (answers: unknown[]) =>
    answers.map((answer) =>
      answer instanceof Refusal ? answer.code : (answer as { balance: string }).balance,
    )
  const balance = async (account: string) => (await readBalance(database.pool, account))?.balance
  /** What each caller was told: its balance, or why not. */
  const told = async (asked: Promise<{ balance: string }>[]) =>
    (await Promise.allSettled(asked)).map((one) =>
      one.status === 'fulfilled' ? one.value.balance : (one.reason as Refusal).code,
    )

  it('one refusal touches no neighbour: a poor wallet, a reused key, no account, a replay, each its own answer', async () => {
    const [rich, poor] = [await openAccount(database), await openAccount(database)]
    await give(database.pool, rich, '10', { expiresAt: await fromNow(database, DAY_MS) })
    await give(database.pool, rich, '10')
    await give(database.pool, poor, '5')
    const known = of(rich, '1')
    await spend(database.pool, known)
    const batch = [
      of(rich, '12'),
      of(poor, '3'),
      of('acc_nobody', '1'),
      { ...known, amount: parseCredits('2') },
      of(poor, '4'),
      known,
      of(poor, '9', { overdraft: true }),
      of(rich, '4'),
      of(poor, '1'),
    ]
    const expected = [
      '7',
      '2',
      'account_not_found',
      'idempotency_key_reused',
      'insufficient_credits',
      '19',
      '-7',
      '3',
      'insufficient_credits',
    ]
    assert.deepEqual(codes(await spendMany(database.pool, batch)), expected)
    assert.deepEqual([await balance(rich), await balance(poor)], ['3', '-7'])
    // and again: what was done is done, what was refused is refused for the same reason
    const again = await spendMany(database.pool, batch)
    assert.deepEqual(codes(again), expected)
    assert.deepEqual(
      again.map((answer) => !(answer instanceof Refusal) && answer.replayed),
      [true, true, false, false, false, true, true, true, false],
    )
  })

  it('what a hold sets aside is nobody’s to spend, however many wait', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '6')
    await give(database.pool, account, '6')
    await place(database.pool, account, '7')
    // there is enough for both, and none of it in the lot that would burn first
    assert.deepEqual(codes(await spendMany(database.pool, [of(account, '1'), of(account, '1')])), [
      '11',
      '10',
    ])
    const batch = ['2', '2', '1'].map((amount) => of(account, amount))
    assert.deepEqual(codes(await spendMany(database.pool, batch)), ['8', 'insufficient_credits', '7'])
    assert.deepEqual(codes(await spendMany(database.pool, [of(account, '1', { overdraft: true })])), ['6'])
    const { held, available, debt } = (await readBalance(database.pool, account)) ?? {}
    assert.deepEqual([held, available, debt], ['7', '0', '1'])
  })

  it('nor is it drawn from the lot that burns first, if that has less that is free than is asked for', async () => {
    const account = await openAccount(database)
    for (const amount of ['6', '6']) await give(database.pool, account, amount)
    await place(database.pool, account, '2')
    assert.deepEqual(codes(await spendMany(database.pool, [of(account, '3'), of(account, '2')])), ['9', '7'])
    const entries = await readLedger(database.pool, account, { limit: 2 })
    assert.deepEqual(
      entries.map(({ lots }) => lots.map(({ amount }) => amount).join()),
      ['-1,-1', '-3'],
    )
  })

  it('a rich wallet with a poor neighbour draws on its lots as it would alone', async () => {
    const [alone, together] = [await openAccount(database), await openAccount(database)]
    const lots: string[][] = []
    for (const account of [alone, together]) {
      for (const amount of ['1', '2', '4']) await give(database.pool, account, amount)
      const asked = ['0.5', '1', '2.5'].map((amount) => of(account, amount))
      if (account === alone) for (const one of asked) await spend(database.pool, one)
      else await spendMany(database.pool, [of(await openAccount(database), '1'), ...asked])
      const entries = await readLedger(database.pool, account, { limit: 3 })
      lots.push(entries.map((entry) => entry.lots.map((lot) => lot.amount).join()))
    }
    assert.deepEqual(lots[0], ['-1.5,-1', '-0.5,-0.5', '-0.5'])
    assert.deepEqual(lots[1], lots[0])
  })

  it('law 9: none draws on a lot at its expiry or after, whenever that comes', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '1000000')
    for (let times = 0; times < 20; times += 1) {
      const expiresAt = await fromNow(database, 20)
      const { lot } = await give(database.pool, account, '1000', { expiresAt })
      let drawn = true
      while (drawn) {
        const answers = await spendMany(database.pool, [of(account, '0.1'), of(account, '0.2')])
        assert.ok(answers.every((answer) => !(answer instanceof Refusal)))
        const entries = await readLedger(database.pool, account, { limit: 2, kind: 'spend' })
        for (const { lots, occurred_at } of entries) {
          drawn = lots.some(({ id }) => id === lot)
          assert.ok(!drawn || occurred_at < expiresAt, `${occurred_at} ${expiresAt}`)
        }
      }
    }
  })

  it('none is posted before the one before it, also when the clock was turned back', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '5')
    await give(database.pool, account, '5')
    const turned = (ms: number) => database.owner.query('update business_clock set offset_ms = $1', [ms])
    await turned(-DAY_MS)
    try {
      // from one lot, and then from both
      for (const amount of ['1', '2'])
        await spendMany(database.pool, [of(account, amount), of(account, amount)])
    } finally {
      await turned(0)
    }
    const at = (await readLedger(database.pool, account, { limit: 10 })).map(({ occurred_at }) => occurred_at)
    assert.equal(at.length, 6)
    assert.deepEqual(at, [...at].sort().reverse())
  })

  it('a key that waits twice is one spend, and both callers are answered alike', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '100') // enough for all of them: nobody is decided alone
    const failed: unknown[] = []
    const queue = new SpendQueue(
      onTheWay(database, (ask) =>
        ask().catch((error: unknown) => {
          failed.push(error)
          throw error
        }),
      ),
    )
    const twice = of(account, '3')
    const answers = await Promise.all([
      queue.spend(of(account, '1')), // the lane is busy: the rest waits
      queue.spend(twice),
      queue.spend(of(account, '2')),
      queue.spend(twice),
      queue.spend(twice),
    ])
    assert.deepEqual(
      answers.map(({ balance, replayed }) => [balance, replayed]),
      [
        ['99', false],
        ['96', false],
        ['94', false],
        ['96', true],
        ['96', true],
      ],
    )
    assert.deepEqual(failed, [], 'no batch was tried in vain')
  })

  it('a key that is known fails a batch that did not look for it, and nothing of it is done', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const known = of(account, '3')
    await spend(database.pool, known)
    await assert.rejects(spendMany(database.pool, [of(account, '1'), known], false), { code: '23505' })
    assert.equal(await balance(account), '7')
  })

  it('and whoever waits together with a retry is answered like everybody', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const queue = new SpendQueue(database.pool)
    const known = of(account, '3')
    await queue.spend(known)
    const asked = () => [queue.spend(of(account, '1')), queue.spend(of(account, '1')), queue.spend(known)]
    assert.deepEqual(await told(asked()), ['6', '5', '7'])
    assert.deepEqual(await told(asked()), ['4', '3', '7']) // by now it looks first
  })

  it('a wallet in more pieces than a batch looks at is spent from all the same', async () => {
    const [pieces, whole] = [await openAccount(database), await openAccount(database)]
    for (let lot = 0; lot < 70; lot++) await give(database.pool, pieces, '0.1')
    await give(database.pool, whole, '10')
    const batch = [of(pieces, '0.1'), of(whole, '1'), of(pieces, '6.8')]
    // in one statement: nobody else is decided alone because of it
    assert.deepEqual(codes(await spendMany(database.pool, batch, false)), ['6.9', '9', '0.1'])
  })

  /** How long a batch waits for a wallet that somebody has locked. */
  const waitFor = (time: string) =>
    database.owner.query(`alter function ledger_spend_many set lock_timeout = '${time}'`)

  it('law 3: it locks the wallets before it reads them, so whoever came first is waited for', async () => {
    await waitFor('10s')
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const batch = [of(account, '1'), of(account, '2')]
    const waiting = await transaction(database.pool, async (client) => {
      await spend(client, of(account, '4'))
      const asked = spendMany(database.pool, batch, false)
      await waitsForLock(database)
      return { asked }
    })
    assert.deepEqual(codes(await waiting.asked), ['5', '3'])
  })

  it('law 3: it locks them in the order of their ids: while it waits for one it has none that comes after', async () => {
    await waitFor('10s')
    for (let times = 0; times < 4; times++) {
      const [first, second] = [await openAccount(database), await openAccount(database)].sort()
      assert.ok(first !== undefined && second !== undefined)
      for (const account of [first, second]) await give(database.pool, account, '10')
      const waiting = await transaction(database.pool, async (client) => {
        await spend(client, of(first, '1'))
        const asked = spendMany(database.pool, [of(second, '2'), of(first, '2')], false)
        await waitsForLock(database)
        assert.equal((await spend(database.pool, of(second, '1'))).balance, '9')
        return { asked }
      })
      assert.deepEqual(codes(await waiting.asked), ['7', '7'])
    }
  })

  it('nobody waits for a wallet that somebody else has locked', async () => {
    await waitFor('200ms')
    const [locked, free] = [await openAccount(database), await openAccount(database)]
    for (const account of [locked, free]) await give(database.pool, account, '10')
    const queue = new SpendQueue(database.pool)
    const waiting = await transaction(database.pool, async (client) => {
      await spend(client, of(locked, '4'))
      const asked = queue.spend(of(locked, '1'))
      await waitsForLock(database)
      assert.equal((await queue.spend(of(free, '1'))).balance, '9')
      return { asked }
    })
    assert.equal((await waiting.asked).balance, '5')
  })

  it('however many wallets are locked', async () => {
    const locked = await Promise.all([1, 2, 3].map(() => openAccount(database)))
    const free = await openAccount(database)
    for (const account of [...locked, free]) await give(database.pool, account, '10')
    const queue = new SpendQueue(database.pool)
    const waiting = await transaction(database.pool, async (client) => {
      for (const account of locked) await spend(client, of(account, '4'))
      const asked: Promise<SpendResult>[] = []
      for (const account of locked) {
        asked.push(queue.spend(of(account, '1')))
        await waitsForLock(database, asked.length)
      }
      assert.equal((await queue.spend(of(free, '1'))).balance, '9')
      return asked
    })
    assert.deepEqual(await told(waiting), ['5', '5', '5'])
  })

  it('nor does who was taken into one batch with it', async () => {
    await waitFor('200ms')
    const [locked, free] = [await openAccount(database), await openAccount(database)]
    for (const account of [locked, free]) await give(database.pool, account, '10')
    // a connection that would wait for ever
    const patient = new pg.Pool({ connectionString: database.serviceUrl })
    const queue = new SpendQueue(patient, { lanes: 1 })
    const ask = (account: string) => queue.spend(of(account, '1'))
    try {
      const waiting = await transaction(database.pool, async (client) => {
        await spend(client, of(locked, '4'))
        const asked = [ask(locked), ask(free), ask(locked), ask(free)] as const
        assert.deepEqual(await told([asked[1], asked[3]]), ['9', '8'])
        // and who comes behind it does not wait for the batch either
        assert.equal((await ask(free)).balance, '7')
        return [asked[0], ask(locked), asked[2]]
      })
      assert.deepEqual(await told(waiting), ['5', '3', '4'])
    } finally {
      await patient.end()
    }
  })

  it('they are served in the order of their arrival, also beside others', async () => {
    const accounts = [await openAccount(database), await openAccount(database), await openAccount(database)]
    for (const account of accounts) await give(database.pool, account, '50')
    const queue = new SpendQueue(database.pool, { batchMax: 20 })
    const asked = accounts.map((): Promise<{ balance: string }>[] => [])
    // some come while others of their account are under way
    for (let round = 0; round < 8; round++) {
      accounts.forEach((account, place) => {
        for (let n = 0; n < 5; n++) asked[place]?.push(queue.spend(of(account, '1')))
      })
      await asked[round % 3]?.[round * 3]
    }
    for (const one of asked) {
      assert.deepEqual(
        await told(one),
        Array.from({ length: 40 }, (_, index) => String(49 - index)),
      )
    }
  })

  it('they are served in the order of their arrival', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '30')
    const queue = new SpendQueue(database.pool, { batchMax: 7 })
    const asked = Array.from({ length: 40 }, () => queue.spend(of(account, '1')))
    assert.deepEqual(
      await told(asked),
      Array.from({ length: 40 }, (_, index) => (index < 30 ? String(29 - index) : 'insufficient_credits')),
    )
  })

  it('one who was first and all the others do not go for ever as two batches: they become two of a size', async () => {
    const accounts = await Promise.all(Array.from({ length: 32 }, () => openAccount(database)))
    await Promise.all(accounts.map((account) => give(database.pool, account, '1')))
    const sizes: number[] = []
    let letGo = () => {}
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const queue = new SpendQueue(
      onTheWay(database, async (ask, what) => {
        const [many] = typeof what === 'string' ? [] : (what.values ?? [])
        sizes.push(Array.isArray(many) ? many.length : 1)
        if (sizes.length <= 2) await held
        return ask()
      }),
    )
    const [first, ...others] = accounts.map((account) => of(account, '1'))
    const asked = [queue.spend(first as SpendInput)]
    await turn()
    asked.push(...others.map((other) => queue.spend(other)))
    await turn()
    letGo()
    assert.deepEqual(
      await told(asked),
      Array.from({ length: 32 }, () => '0'),
    )
    assert.deepEqual(sizes, [1, 16, 15])
  })

  it('nobody knows whether a batch committed whose answer was lost; its keys do', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const proxy = await startCutProxy(database.serviceUrl)
    const pool = connect(proxy.url, 1)
    try {
      const queue = new SpendQueue(pool)
      proxy.cutAfter('ledger_spend_many')
      const answers = await Promise.all(['1', '2', '3'].map((amount) => queue.spend(of(account, amount))))
      assert.deepEqual(
        answers.map(({ balance, replayed }) => [balance, replayed]),
        [
          ['9', true],
          ['7', true],
          ['4', true],
        ],
      )
      assert.equal(await balance(account), '4')
    } finally {
      await pool.end()
      await proxy.close()
    }
  })

  it('too many callers are sent away before anything is written', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const queue = new SpendQueue(database.pool, { waitingMax: 2 })
    const answers = await Promise.allSettled(
      ['1', '1', '1'].map((amount) => queue.spend(of(account, amount))),
    )
    assert.deepEqual(
      answers.map((answer) => (answer.status === 'rejected' ? answer.reason.name : answer.status)),
      ['fulfilled', 'fulfilled', 'SpendQueueFull'],
    )
    assert.equal(await balance(account), '8')
  })

  it('callers whose notes weigh too much together are sent away, until those before them are answered', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    let letGo = () => {}
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const queue = new SpendQueue(
      onTheWay(database, (ask) => held.then(ask)),
      { weightMax: 1000 },
    )
    const ask = (characters: number, amount = '1') =>
      queue.spend(of(account, amount, { metadata: { job: 'x'.repeat(characters - 'job'.length) } }))
    const full = { name: 'SpendQueueFull' }
    const waiting = [ask(400)]
    await assert.rejects(ask(101), full)
    waiting.push(ask(100, '100'), queue.spend(of(account, '1')))
    await assert.rejects(ask(3), full)
    letGo()
    assert.deepEqual(await told(waiting), ['9', 'insufficient_credits', '8'])
    assert.equal((await ask(500)).balance, '7')
    await assert.rejects(ask(501), full)
  })

  it('notes stand beside what was spent, and neither a replay nor a reused key writes any', async () => {
    const account = await openAccount(database)
    await give(database.pool, account, '10')
    const [noted, bare] = [of(account, '1', { metadata: { job: '7' } }), of(account, '1')]
    const [first, second] = await spendMany(database.pool, [noted, bare])
    assert.ok(!(first instanceof Refusal) && !(second instanceof Refusal) && first && second)
    assert.deepEqual((await readSpend(database.pool, first.id)).metadata, { job: '7' })
    await database.pool.query('delete from note where account_id = $1', [account]) // an erasure
    const answers = await spendMany(database.pool, [noted, { ...bare, metadata: { other: 'x' } }])
    assert.deepEqual(codes(answers), ['9', 'idempotency_key_reused'])
    for (const { id } of [first, second]) assert.deepEqual((await readSpend(database.pool, id)).metadata, {})
  })

  it('precision: 100,000 operations at 8 places end exactly', async function () {
    this.timeout(120_000)
    const account = await openAccount(database)
    let expected = new Exact(0)
    let counted = 0
    // small steps of a number that no binary fraction hits, so that every place is used
    const next = () => new Exact(++counted).times('0.00000037').plus('0.00012347').toDecimalPlaces(8)
    const batch = async (size: number) => {
      const amounts = Array.from({ length: size }, next)
      await give(
        database.pool,
        account,
        Exact.sum(...amounts)
          .plus('0.00000001')
          .toFixed(),
      )
      const answers = await spendMany(
        database.pool,
        amounts.map((amount) => ({ account, key: randomUUID(), amount, actor: 'test' })),
      )
      expected = expected.plus('0.00000001')
      const last = answers.at(-1)
      assert.ok(last && !(last instanceof Refusal))
      assert.equal(last.balance, expected.toFixed())
      return last.id
    }
    for (let round = 0; round < 100; round += 1) {
      const spent = await batch(995)
      const hold = await place(database.pool, account, '0.00000001')
      const captured = await captureHold(database.pool, {
        hold: hold.id,
        key: randomUUID(),
        amount: parseCredits('0.00000001'),
        final: true,
        actor: 'test',
      })
      // in two parts
      const back = { spend: spent, actor: 'test', reasonCode: 'test' }
      await reverseSpend(database.pool, { ...back, key: randomUUID(), amount: parseCredits('0.00000003') })
      await reverseSpend(database.pool, { ...back, spend: captured.id, key: randomUUID() })
      expected = expected.plus('0.00000003')
    }
    assert.equal(counted, 99_500)
    const end = await readBalance(database.pool, account)
    assert.deepEqual([end?.balance, end?.available, end?.debt], [expected.toFixed(), expected.toFixed(), '0'])
    assert.equal(expected.toFixed(), '0.000004')
  })
})
