import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { finishCommand } from '../../src/store/command.ts'
import { type Answer, type ApiUnderTest, mirror, sell, startApi } from './api-under-test.ts'
import { Workflows } from './workflows.ts'

describe('a key and its answer', () => {
  const workflows = new Workflows()
  let api: ApiUnderTest
  let other: ApiUnderTest
  before(async () => {
    api = await startApi({ reach: workflows.reach })
    other = await startApi({ reach: workflows.reach, beside: api })
    await sell(api.database, 'pro')
  })
  after(async () => {
    await other.close()
    await api.close()
  })
  beforeEach(() => {
    workflows.answer = undefined
  })

  const newKey = () => ({ 'idempotency-key': randomUUID() })
  const newAccount = async (): Promise<string> => (await api.post('/v1/accounts', {})).body.id
  const order = (account: string, plan = 'pro') => ({
    account,
    plan,
    success_url: 'https://product.example/thanks',
    cancel_url: 'https://product.example/plans',
    metadata: { seat: '7' },
  })
  async function newSubscription(): Promise<string> {
    const id = `sub_${randomUUID().slice(0, 8)}`
    await mirror(api.database, { id, account: await newAccount() })
    return id
  }
  const finish = (command: string, result: Record<string, unknown> = {}) =>
    finishCommand(api.database.pool, command, { state: 'done', statusCode: 200, result })
  /** Moves what the answer of a cancel shows. */
  const endsOn = (id: string, day: number) =>
    api.database.owner.query('update subscription set cancel_at = $2 where id = $1', [
      id,
      `2027-01-0${day}T00:00:00Z`,
    ])

  /** Resolves when so many sessions wait for a lock. */
  async function waiting(many: number): Promise<void> {
    for (;;) {
      const { rowCount } = await api.database.owner.query(
        `select 1 from pg_locks l join pg_database d on d.oid = l.database
          where not granted and d.datname = current_database()`,
      )
      if ((rowCount ?? 0) >= many) return
    }
  }

  it('are one when two processes answer one command at the same moment and see different things', async () => {
    const id = await newSubscription()
    const headers = newKey()
    workflows.answer = async (command) => {
      await endsOn(id, 1)
      return finish(command)
    }
    const client = await api.database.owner.connect()
    let answers: Promise<Answer[]>
    try {
      await client.query('begin')
      await client.query('lock table reply in exclusive mode')
      const first = api.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
      await waiting(1)
      // the first has looked and is about to write its answer down; the second sees another day. Either may win.
      await endsOn(id, 2)
      const second = other.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
      await waiting(2)
      answers = Promise.all([first, second])
    } finally {
      await client.query('commit')
      client.release()
    }
    const [first, second] = await answers
    assert.equal(second?.text, first?.text)
    assert.equal((await other.post(`/v1/subscriptions/${id}/cancel`, {}, headers)).text, first?.text)
  })

  it('stay when the subscription ends, from whichever process', async () => {
    const id = await newSubscription()
    const headers = newKey()
    workflows.answer = async (command) => {
      await endsOn(id, 3)
      return finish(command)
    }
    const first = await api.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
    await api.database.owner.query(
      `update subscription set status = 'canceled', ended_at = now(), cancel_at = now() where id = $1`,
      [id],
    )
    for (const one of [api, other]) {
      const replay = await one.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
      assert.deepEqual([replay.status, replay.text], [200, first.text])
      assert.equal(replay.headers['idempotent-replayed'], 'true')
    }
    assert.equal(workflows.sent.filter(({ owner }) => owner === id).length, 1)
  })

  it('are the command while it is pending, and then its first final answer for ever', async () => {
    const id = await newSubscription()
    const headers = newKey()
    const ask = (one: ApiUnderTest) => one.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
    const taken = await ask(api)
    const joined = await ask(other)
    assert.deepEqual([taken.status, joined.status], [202, 202])
    assert.equal(joined.body.id, taken.body.id)
    workflows.answer = (command) => finish(command)
    const final = await ask(api)
    assert.equal(final.status, 200)
    await endsOn(id, 4)
    assert.deepEqual([(await ask(other)).text, (await ask(api)).text], [final.text, final.text])
  })

  it('wait for what follows a command that is done: no view of before is answered, and none kept', async () => {
    const id = await newSubscription()
    const headers = newKey()
    const ask = (one: ApiUnderTest) => one.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
    const taken = await ask(api)
    const done = await finish(taken.body.id)
    // nobody can be asked whether the pass was
    const early = await ask(other)
    assert.deepEqual([early.status, early.body.id, early.body.state], [202, taken.body.id, 'done'])
    workflows.answer = async () => {
      await endsOn(id, 5)
      return done
    }
    const final = await ask(other)
    assert.deepEqual([final.status, final.body.cancel_at], [200, '2027-01-05T00:00:00.000Z'])
    assert.equal((await ask(api)).text, final.text)
    const sent = workflows.sent.filter(({ owner }) => owner === id)
    assert.deepEqual(new Set(sent.map(({ command }) => command)), new Set([taken.body.id]))
    assert.equal(sent.length, 3)
  })

  it('are a refusal at once, whether or not its workflow can be reached', async () => {
    const id = await newSubscription()
    const headers = newKey()
    const ask = () => api.post(`/v1/subscriptions/${id}/cancel`, {}, headers)
    const taken = await ask()
    await finishCommand(api.database.pool, taken.body.id, {
      state: 'refused',
      statusCode: 409,
      result: { code: 'subscription_ended', detail: 'it has ended' },
    })
    const refused = await ask()
    assert.deepEqual([refused.status, refused.body.code], [409, 'subscription_ended'])
    assert.equal(workflows.sent.filter(({ owner }) => owner === id).length, 1)
  })

  it('are not used up by a refusal: 402 when there is more, 404 when it is there', async () => {
    const account = await newAccount()
    const [spending, opening] = [newKey(), newKey()]
    const spend = () => api.post(`/v1/accounts/${account}/spend`, { amount: '6' }, spending)
    assert.equal((await spend()).status, 402)
    const open = () => api.post('/v1/subscriptions', order(account, 'later'), opening)
    assert.equal((await open()).status, 404)
    await api.database.owner.query(
      `select ledger_grant($1, 'k', 'h', 'pack', 6, null, 100::smallint, null, null, null, 'system:sold', 'test', 'test', '{}')`,
      [account],
    )
    await sell(api.database, 'later')
    assert.equal((await spend()).status, 200)
    assert.equal((await open()).status, 202)
  })

  it('are refused for another body, and for another thing in the path', async () => {
    const account = await newAccount()
    const headers = newKey()
    await api.post('/v1/subscriptions', order(account), headers)
    const { metadata: _, ...less } = order(account)
    const reused = await other.post('/v1/subscriptions', less, headers)
    assert.deepEqual([reused.status, reused.body.code], [409, 'idempotency_key_reused'])

    const [first, second] = [await newSubscription(), await newSubscription()]
    await api.database.owner.query(
      `update subscription set plan_group = 'second', account_id = (select account_id from subscription where id = $1)
        where id = $2`,
      [first, second],
    )
    const cancelling = newKey()
    await api.post(`/v1/subscriptions/${first}/cancel`, {}, cancelling)
    const elsewhere = await api.post(`/v1/subscriptions/${second}/cancel`, {}, cancelling)
    assert.deepEqual([elsewhere.status, elsewhere.body.code], [409, 'idempotency_key_reused'])
  })

  it('say nothing personal any more once the row of the answer was erased', async () => {
    const headers = newKey()
    const first = await api.post('/v1/accounts', { name: 'Grace Hopper' }, headers)
    assert.equal(first.status, 201)
    const { owner } = api.database
    await owner.query('delete from reply where account_id = $1', [first.body.id])
    await owner.query('update customer set name = null where account_id = $1', [first.body.id])
    const replay = await api.post('/v1/accounts', { name: 'Grace Hopper' }, headers)
    assert.deepEqual([replay.status, replay.body.id, replay.body.name], [201, first.body.id, null])
    await owner.query(`update customer set name = 'Ada' where account_id = $1`, [first.body.id])
    assert.equal((await other.post('/v1/accounts', { name: 'Grace Hopper' }, headers)).text, replay.text)
  })

  it('cannot be changed by the service, only given', async () => {
    await newAccount()
    await assert.rejects(api.database.pool.query(`update reply set body = '{}'`), /permission denied/)
    await assert.rejects(api.database.pool.query('delete from reply'), /permission denied/)
  })
})
