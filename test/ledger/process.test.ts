import assert from 'node:assert/strict'
import { Exact } from '../../src/domain/credits.ts'
import { readBalance } from '../../src/ledger/balance.ts'
import { readHold } from '../../src/ledger/hold.ts'
import { spend } from '../../src/ledger/spend.ts'
import { parseCredits } from '../../src/domain/credits.ts'
import { startCutProxy } from '../support/cut-proxy.ts'
import { assertBooks, give, openAccount, place } from '../support/ledger.ts'
import { type Job, startLedgerProcess } from '../support/ledger-process.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('the ledger and processes of its own', function () {
  this.timeout(120_000)
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

  const keysOf = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `k${from + i}`)
  const postings = async (kind: string) =>
    Number(
      (
        await database.pool.query(`select count(*) from posting where account_id = $1 and kind = $2`, [
          account,
          kind,
        ])
      ).rows[0].count,
    )

  it('two of them spend from one hot wallet, many at once, and every key once', async () => {
    await give(database.pool, account, '500.5')
    await give(database.pool, account, '200')
    const jobs = (keys: string[]): Job[] => [{ do: 'queue', account, keys, amount: '1.1' }]
    const [one, other] = [keysOf(0, 500), keysOf(300, 800)]
    const processes = [one, other].map((keys) => startLedgerProcess(database.serviceUrl, jobs(keys)))
    const [[first], [second]] = (await Promise.all(processes.map(({ answers }) => answers))) as [
      [Told[]],
      [Told[]],
    ]
    const told = new Map(one.map((key, index) => [key, first[index]]))
    for (const [index, key] of other.entries()) {
      const [here, there] = [told.get(key), second[index]]
      // whoever comes second is told what the first was; one of them may have been refused before
      if (here?.id !== undefined && there?.id !== undefined) {
        assert.equal(here.id, there.id)
        assert.notEqual(here.replayed, there.replayed)
      }
    }
    const spent = [...first, ...second].filter(({ replayed }) => replayed === false)
    for (const { refused } of [...first, ...second])
      assert.ok([undefined, 'insufficient_credits'].includes(refused))
    assert.equal(spent.length, 636) // floor(700.5 / 1.1)
    assert.equal(await postings('spend'), 636)
    assert.equal(new Set(spent.map(({ id }) => id)).size, 636)
    assert.equal(
      (await readBalance(database.pool, account))?.balance,
      new Exact('700.5').minus('699.6').toFixed(),
    )
  })

  it('one that is killed between COMMIT and its answer is retried by another, and each key is done once', async () => {
    await give(database.pool, account, '100')
    const captured = await place(database.pool, account, '10')
    const released = await place(database.pool, account, '20')
    const { id } = await spend(database.pool, {
      account,
      key: 'to be reversed',
      amount: parseCredits('5'),
      actor: 'test',
    })
    const jobs: [job: Job, at: string][] = [
      [{ do: 'spend', account, key: 'lone', amount: '1' }, 'ledger_spend'],
      [{ do: 'batch', account, keys: ['many 1', 'many 2'], amount: '2' }, 'ledger_spend_many'],
      [{ do: 'hold', account, key: 'hold', amount: '3' }, 'ledger_hold'],
      [{ do: 'capture', hold: captured.id, key: 'capture', amount: '7' }, 'ledger_capture'],
      [{ do: 'release', hold: released.id, key: 'release' }, 'ledger_release'],
      [{ do: 'reverse', spend: id, key: 'reverse' }, 'ledger_reverse'],
      [{ do: 'grant', account, key: 'grant', amount: '50' }, 'commit'],
    ]
    const proxies = await Promise.all(jobs.map(() => startCutProxy(database.serviceUrl)))
    for (const [index, [job, at]] of jobs.entries()) {
      const proxy = proxies[index]
      assert.ok(proxy)
      const answered = proxy.holdAfter(at)
      const process = startLedgerProcess(proxy.url, [job])
      await answered
      await process.kill()
      await assert.rejects(process.answers, 'it was never told')
    }
    await Promise.all(proxies.map((proxy) => proxy.close()))
    const after = await readBalance(database.pool, account)
    // 100 - 5 - 1 - 4 - 7 + 5 + 50; 3 are held
    assert.deepEqual([after?.balance, after?.held], ['138', '3'])

    const again = startLedgerProcess(
      database.serviceUrl,
      jobs.map(([job]) => job),
    )
    const answers = (await again.answers).flat()
    assert.equal(answers.length, 8)
    for (const answer of answers)
      assert.ok(answer.replayed ?? answer.outcome === 'replayed', JSON.stringify(answer))
    assert.deepEqual(await readBalance(database.pool, account), after)
    assert.equal((await readHold(database.pool, captured.id)).captured, '7')
    assert.equal((await readHold(database.pool, released.id)).status, 'released')
  })
})

interface Told {
  replayed?: boolean
  id?: string
  refused?: string
}
