import assert from 'node:assert/strict'
import { type CutProxy, startCutProxy } from '../support/cut-proxy.ts'
import { atRest, runOf } from '../support/duty.ts'
import { assertBooks } from '../support/ledger.ts'
import { type Role, startRole } from '../support/process.ts'
import { balanceOf, eventually, openCheckout, type Stack, startStack } from '../support/stack.ts'
import { deliver } from '../support/webhook.ts'

describe('kill -9', function () {
  this.timeout(120_000)
  let stack: Stack
  let proxy: CutProxy
  const roles: Role[] = []
  before(async () => {
    stack = await startStack({ worker: false, api: false })
    proxy = await startCutProxy(stack.database.serviceUrl)
  })
  after(async () => {
    await proxy?.close()
    await stack?.stop()
  })
  afterEach(async () => {
    await Promise.all(roles.splice(0).map((role) => role.kill()))
    await assertBooks(stack.database)
  })

  const start = async (role: 'api' | 'worker', databaseUrl?: string) => {
    const started = await startRole(stack, role, databaseUrl === undefined ? {} : { databaseUrl })
    roles.push(started)
    return started
  }
  const grants = async (account: string) =>
    (
      await stack.database.pool.query(`select 1 from posting where account_id = $1 and kind = 'grant'`, [
        account,
      ])
    ).rowCount
  /** Holds the wallet's lock, as another transaction would. */
  async function lockWallet(account: string): Promise<() => Promise<void>> {
    const client = await stack.database.owner.connect()
    await client.query('begin')
    await client.query('select 1 from wallet where account_id = $1 for update', [account])
    return async () => {
      await client.query('rollback')
      client.release()
    }
  }
  const waitsForLock = async () =>
    eventually('the grant waits for the lock', async () => {
      const { rowCount } = await stack.database.owner.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return (rowCount ?? 0) > 0
    })

  it('of a worker before its grant commits, and of the next one after: granted once', async () => {
    await start('api')
    const first = await start('worker')
    const { account, session } = await openCheckout(stack)
    // a plan and a pack of one wallet
    const { body: pack } = await stack.ask<{ checkout: { id: string } }>('POST', '/v1/purchases', {
      account,
      pack: 'credits_10',
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
    const unlock = await lockWallet(account)
    for (const page of [session, pack.checkout.id]) await stack.control(`checkout/${page}/pay`, {})
    await waitsForLock()
    await first.kill()
    await unlock()
    assert.equal(await grants(account), 0)

    // the second commits, and never learns that it did
    const held = proxy.holdAfter('commit', 'ledger_grant')
    const second = await start('worker', proxy.url)
    await held
    await eventually('the commit', async () => ((await grants(account)) ?? 0) > 0)
    await second.kill()

    await start('worker')
    await eventually('every event is settled', async () => {
      const { rowCount } = await stack.database.pool.query(
        'select 1 from processed_webhook_events where settled_at is null and owner is not null',
      )
      return rowCount === 0
    })
    assert.equal(await grants(account), 2)
    assert.equal(await balanceOf(stack, account), '30')
  })

  it('of the API between the event’s row and the wake: the sweeper wakes', async () => {
    await start('worker')
    // none may come in between, and none takes the event from the one that is asked for
    await atRest(stack, 'sweep')
    const plain = await start('api')
    const { account, session } = await openCheckout(stack)
    await stack.control('webhooks', { drop: {} })
    await stack.control(`checkout/${session}/pay`, {})
    const paid = (await stack.stripe.events.list({ type: 'invoice.paid', limit: 1 })).data[0]
    assert.ok(paid)
    await plain.kill()

    const held = proxy.holdAfter('inbox_store')
    const api = await start('api', proxy.url)
    const answer = deliver(stack, paid).catch(() => 'nobody answered')
    await held
    await api.kill()
    assert.equal(await answer, 'nobody answered')
    const { rows } = await stack.database.pool.query(
      'select signalled_at from processed_webhook_events where event_id = $1',
      [paid.id],
    )
    assert.deepEqual(rows, [{ signalled_at: null }])
    await runOf(stack, 'sweep')
    await eventually('the grant', async () => (await grants(account)) === 1)
  })

  it('of the API in mid-spend: the caller’s retry is answered as the first would have been', async () => {
    const plain = await start('api')
    const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
    await plain.kill()
    await stack.database.owner.query(
      `select ledger_grant($1, 'g', 'h', 'goodwill', 10, null, 100::smallint, null, null, null, 'system:goodwill', 't', 't', '{}')`,
      [account],
    )
    const held = proxy.holdAfter('ledger_spend')
    const api = await start('api', proxy.url)
    const spend = () => stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '4' }, 'mid-spend')
    const first = spend().catch(() => 'nobody answered')
    await held
    await api.kill()
    assert.equal(await first, 'nobody answered')
    await start('api')
    const retried = await spend()
    assert.equal(retried.status, 200)
    assert.equal(retried.headers.get('idempotent-replayed'), 'true')
    assert.equal(retried.body['balance'], '6')
  })
})
