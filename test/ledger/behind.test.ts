/** Batches that are sent before those before them are answered. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parseCredits } from '../../src/domain/credits.ts'
import type { Refusal } from '../../src/domain/error.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { spend, type SpendInput } from '../../src/ledger/spend.ts'
import { SpendQueue } from '../../src/ledger/spend-queue.ts'
import { connect, transaction } from '../../src/store/connect.ts'
import { startCutProxy } from '../support/cut-proxy.ts'
import { assertBooks, give, onTheWay, openAccount, waitsForLock } from '../support/ledger.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('a batch behind another of its account', () => {
  let database: TestDatabase
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  afterEach(() => assertBooks(database))

  const of = (account: string, amount = '1'): SpendInput => ({
    account,
    key: randomUUID(),
    amount: parseCredits(amount),
    actor: 'test',
  })
  const opened = async (credits: string) => {
    const account = await openAccount(database)
    await give(database.pool, account, credits)
    return account
  }
  /** Twenty are more than a batch is worth. */
  const many = (queue: SpendQueue, account: string, amount?: string) =>
    Array.from({ length: 20 }, () => queue.spend(of(account, amount)))
  const told = async (asked: Promise<{ balance: string }>[]) =>
    (await Promise.allSettled(asked)).map((one) =>
      one.status === 'fulfilled' ? one.value.balance : (one.reason as Refusal).code,
    )
  const down = (from: number, count: number) =>
    Array.from({ length: count }, (_, index) => String(from - index))
  const waitFor = (time: string) =>
    database.owner.query(`alter function ledger_spend_many set lock_timeout = '${time}'`)
  /** Counts what is asked of the database, and what of it fails. */
  const counted = () => {
    const seen = { asked: 0, failed: [] as unknown[] }
    const connections = onTheWay(database, (ask) => {
      seen.asked += 1
      return ask().catch((error: { code?: string }) => {
        seen.failed.push(error.code)
        throw error
      })
    })
    return { seen, connections }
  }
  /** Has two batches of the account be sent while somebody has locked its wallet, and then lets go of it. */
  async function bothWait<T>(account: string, send: () => Promise<T>): Promise<T> {
    return await transaction(database.owner, async (client) => {
      await client.query('select from wallet where account_id = $1 for update', [account])
      const sent = await send()
      await waitsForLock(database)
      return sent
    })
  }

  it('is with Postgres before that is answered, on the same connection; a third is not', async () => {
    await waitFor('10s')
    const account = await opened('100')
    const { seen, connections } = counted()
    const queue = new SpendQueue(connections)
    const asked = await bothWait(account, async () => {
      const sent = many(queue, account)
      await turn()
      sent.push(...many(queue, account))
      await turn()
      assert.equal(seen.asked, 2)
      sent.push(...many(queue, account))
      await turn()
      assert.equal(seen.asked, 2)
      return { sent }
    })
    assert.deepEqual(await told(asked.sent), down(99, 60))
    assert.deepEqual([seen.asked, seen.failed], [3, []])
  })

  it('is no reason for others to wait', async () => {
    const [account, other] = [await opened('100'), await opened('100')]
    let letGo = () => {}
    const held = new Promise<void>((resolve) => (letGo = resolve))
    let asked = 0
    const queue = new SpendQueue(
      onTheWay(database, async (ask) => {
        asked += 1
        if (asked === 1) await held
        return ask()
      }),
    )
    const first = many(queue, account)
    await turn()
    // it overtakes the first on the way, and is not decided before it
    const then = many(queue, account)
    await turn()
    assert.deepEqual(await told(many(queue, other)), down(99, 20))
    letGo()
    assert.deepEqual(await told([...first, ...then]), down(99, 40))
  })

  it('is not decided before what it goes behind, when that fails for a key that is known', async () => {
    await waitFor('10s')
    const account = await opened('101')
    const known = of(account)
    await spend(database.pool, known)
    const { seen, connections } = counted()
    const queue = new SpendQueue(connections)
    const asked = await bothWait(account, async () => {
      const sent = [...many(queue, account), queue.spend(known)]
      await turn()
      sent.push(...many(queue, account))
      await turn()
      return { sent }
    })
    assert.deepEqual(await told(asked.sent), [...down(99, 20), '100', ...down(79, 20)])
    assert.deepEqual(seen.failed, ['23505', 'PB001'])
  })

  it('is not decided before what it goes behind, when somebody has locked the wallet for too long', async () => {
    await waitFor('200ms')
    const [account, other] = [await opened('100'), await opened('100')]
    const { seen, connections } = counted()
    const queue = new SpendQueue(connections, { lanes: 1 })
    const asked = await bothWait(account, async () => {
      const sent = many(queue, account)
      await turn()
      sent.push(...many(queue, account))
      await turn()
      // both come back, and the first of the first waits by itself
      while (seen.asked < 3) await turn()
      // who comes now goes behind nobody, least of all behind another account
      const others = many(queue, other)
      sent.push(...many(queue, account))
      assert.deepEqual(await told(others), down(99, 20))
      return { sent }
    })
    assert.deepEqual(await told(asked.sent), down(99, 60))
    assert.deepEqual(seen.failed, ['55P03', 'PB001'])
  })

  it('nobody knows whether both committed when their connection is lost; their keys do', async () => {
    await waitFor('10s')
    const account = await opened('100')
    const proxy = await startCutProxy(database.serviceUrl)
    const pool = connect(proxy.url, 2)
    try {
      const queue = new SpendQueue(pool)
      const asked = await bothWait(account, async () => {
        proxy.cutAfter('ledger_spend_many')
        const sent = many(queue, account)
        await turn()
        sent.push(...many(queue, account))
        await turn()
        return { sent }
      })
      assert.deepEqual(await told(asked.sent), down(99, 40))
      assert.equal((await readBalance(database.pool, account))?.balance, '60')
    } finally {
      await pool.end()
      await proxy.close()
    }
  })

  it('takes whoever is ready along: a lane that never rests is everybody’s', async () => {
    const [busy, other] = [await opened('100'), await opened('1')]
    const answers: (() => void)[] = []
    const queue = new SpendQueue(
      onTheWay(database, async (ask) => {
        const answered = new Promise<void>((resolve) => answers.push(resolve))
        const answer = await ask()
        await answered
        return answer
      }),
      { lanes: 1 },
    )
    const first = many(queue, busy)
    await turn()
    const asked = many(queue, busy)
    await turn()
    asked.push(...many(queue, busy))
    const ready = queue.spend(of(other))
    answers[0]?.()
    await Promise.all(first)
    // the third is under way although the second is not answered, and has the other account
    answers[2]?.()
    assert.equal((await ready).balance, '0')
    answers[1]?.()
    assert.deepEqual(await told(asked), down(79, 40))
  })
})
