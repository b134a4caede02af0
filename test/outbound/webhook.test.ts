/** Signed webhooks out of the outbox: told until they are answered, under one id, and only to who may be told. */
import assert from 'node:assert/strict'
import { Webhook } from 'standardwebhooks'
import { createNotifyActivities } from '../../src/activities/notify.ts'
import { waitAfter } from '../../src/domain/delivery.ts'
import { transaction } from '../../src/store/connect.ts'
import { resendDelivery } from '../../src/store/delivery.ts'
import {
  changeEndpoint,
  insertEndpoint,
  makeWebhookSecret,
  requireEndpoint,
  rotateSecret,
} from '../../src/store/webhook-endpoint.ts'
import { isPublic } from '../../src/outbound/address.ts'
import { createCaller } from '../../src/outbound/webhook.ts'
import { openAccount } from '../support/ledger.ts'
import { alertsOf, deliveryOf, passTime, type Receiver, startReceiver, tell } from '../support/outbox.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'
import { eventually } from '../support/stack.ts'

describe('the webhook of a notice', () => {
  let database: TestDatabase
  let account: string
  let receiver: Receiver
  let endpoint: string
  let secret: string
  let made = 0
  before(async () => {
    database = await createDatabase()
    account = await openAccount(database)
  })
  after(() => database.drop())
  beforeEach(async () => {
    await database.owner.query('truncate notice, webhook_endpoint cascade')
    await database.owner.query('update alert set resolved_at = now()')
    receiver = await startReceiver()
    secret = makeWebhookSecret()
    endpoint = await register(receiver.url, secret)
  })
  afterEach(() => receiver.close())

  async function register(url: string, of = makeWebhookSecret()): Promise<string> {
    made += 1
    const id = `we_${String(made).padStart(32, '0')}`
    await insertEndpoint(database.pool, { id, url, events: null, secret: of })
    return id
  }
  const notifier = (anywhere = true) =>
    createNotifyActivities({ pool: database.pool, smtp: undefined, product: 'Product', anywhere })
  const run = () => notifier().notify()
  const verified = (by: string, index = 0) => {
    const { body, headers } = receiver.received[index] ?? { body: '', headers: {} }
    return new Webhook(by).verify(body, headers as Record<string, string>) as Record<string, unknown>
  }

  it('is signed by the rules of Standard Webhooks, and says what the API says', async () => {
    const notice = await tell(database, account)
    await run()
    assert.equal(receiver.received.length, 1)
    const { timestamp, ...rest } = verified(secret)
    assert.deepEqual(rest, {
      type: 'balance.low',
      data: {
        id: notice,
        object: 'notice',
        account,
        kind: 'balance_low',
        type: 'balance.low',
        cause: { posting: 'pst_1' },
        data: { available: '3', threshold: '5' },
        created_at: timestamp,
      },
    })
    assert.equal(receiver.received[0]?.headers['webhook-id'], notice)
    assert.throws(() => verified(makeWebhookSecret()))
    const { state, status_code, detail } = await deliveryOf(database, notice, endpoint)
    assert.deepEqual([state, status_code, detail], ['delivered', 200, 'ok'])
  })

  it('is told again, under the same id and with the same body, until it is answered', async () => {
    const notice = await tell(database, account)
    for (const status of [500, 404, 301]) {
      receiver.answer = {
        status,
        headers: { location: `${receiver.url}/elsewhere` },
        body: 'no\0\n'.repeat(200),
      }
      await run()
      await run() // not due yet
      const after = await deliveryOf(database, notice, endpoint)
      assert.deepEqual([after.state, after.waits, after.status_code], ['pending', true, status])
      assert.ok((after.detail?.length ?? 0) <= 200 && !after.detail?.includes('\n'))
      assert.notEqual((await requireEndpoint(database.pool, endpoint)).failingSince, null)
      await passTime(database)
    }
    receiver.answer = { status: 204, body: '' }
    await run()
    assert.equal((await deliveryOf(database, notice, endpoint)).state, 'delivered')
    const { received } = receiver
    assert.equal(received.length, 4) // a redirect is not followed
    assert.deepEqual(new Set(received.map(({ headers }) => headers['webhook-id'])), new Set([notice]))
    assert.equal(new Set(received.map(({ body }) => body)).size, 1)
    const { failingSince, deliveredAt } = await requireEndpoint(database.pool, endpoint)
    assert.equal(failingSince, null)
    assert.ok(deliveredAt)
  })

  it('is given up after about three days, a person is told, and it can be asked for again', async () => {
    const notice = await tell(database, account)
    receiver.answer = { status: 500 }
    await database.owner.query('update notice_delivery set attempts = 44 where target = $1', [endpoint])
    await run()
    const { id, state } = await deliveryOf(database, notice, endpoint)
    assert.equal(state, 'failed')
    assert.deepEqual(await alertsOf(database), [`notice_failed ${id}`])
    const waits = Array.from({ length: 44 }, (_, index) => waitAfter(index + 1, 0))
    const days = waits.reduce((sum, wait) => sum + wait, 0) / 86_400_000
    assert.ok(days > 2.9 && days < 3.3, `${days} days`)

    receiver.answer = { status: 200 }
    await assert.rejects(
      transaction(database.pool, (client) => resendDelivery(client, id, `we_${'f'.repeat(32)}`)),
      { code: 'delivery_not_found' },
    )
    await transaction(database.pool, (client) => resendDelivery(client, id, endpoint))
    await run()
    assert.equal((await deliveryOf(database, notice, endpoint)).state, 'delivered')
    assert.deepEqual(await alertsOf(database), [])
  })

  it('has two signatures while the secret is being rolled, and one when that is over', async () => {
    const next = makeWebhookSecret()
    await rotateSecret(database.pool, endpoint, next)
    await tell(database, account)
    await run()
    assert.ok(verified(secret) && verified(next))
    await database.owner.query(`update webhook_endpoint set old_until = clock_timestamp()`)
    await tell(database, account, 'pst_2')
    await run()
    assert.ok(verified(next, 1))
    assert.throws(() => verified(secret, 1))
  })

  it('waits while its endpoint is disabled', async () => {
    const notice = await tell(database, account)
    await changeEndpoint(database.pool, endpoint, { enabled: false })
    await run()
    assert.deepEqual(receiver.received, [])
    await changeEndpoint(database.pool, endpoint, { enabled: true })
    await run()
    assert.equal((await deliveryOf(database, notice, endpoint)).state, 'delivered')
  })

  it('keeps nobody else waiting when its receiver does not answer', async () => {
    let answer = () => {}
    const after = new Promise<void>((resolve) => {
      answer = resolve
    })
    receiver.answer = { status: 200, after }
    const other = await startReceiver()
    try {
      await register(other.url)
      for (let index = 0; index < 12; index += 1) await tell(database, account, `pst_${index}`)
      const running = run()
      await eventually('the other has all of them', async () => other.received.length === 12)
      answer()
      await running
      assert.equal(receiver.received.length, 12)
    } finally {
      await other.close()
    }
  })

  it('is told to no private address, whatever name it has, and not over plain http', async () => {
    const port = new URL(receiver.url).port
    const call = { secrets: [secret], id: 'ntc_1', body: '{}', at: new Date() }
    const said = (url: string) => createCaller({ anywhere: false })({ ...call, url })
    for (const [url, detail] of [
      [receiver.url, 'the URL is not https'],
      [`https://127.0.0.1:${port}`, 'the address is not public'],
      [`https://[::1]:${port}`, 'the address is not public'],
      [`https://[::ffff:127.0.0.1]:${port}`, 'the address is not public'],
      [`https://2130706433:${port}`, 'the address is not public'],
      ['https://169.254.169.254/latest', 'the address is not public'],
      [`https://localhost:${port}`, 'the name resolves to no public address'],
    ] as const) {
      assert.deepEqual(await said(url), { code: null, detail }, url)
    }
    assert.deepEqual(receiver.received, [])
    const open = ['1.1.1.1', '93.184.216.34', '2606:4700:4700::1111']
    const closed =
      '0.0.0.0 10.1.2.3 100.64.0.1 127.9.9.9 169.254.0.1 172.16.0.1 172.31.255.255 192.168.1.1 224.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8 64:ff9b::a00:1 fc00::1 fe80::1 ff02::1 2001:db8::1 2002:a00:1::1 localhost'
    assert.deepEqual(open.filter(isPublic), open)
    assert.deepEqual(closed.split(' ').filter(isPublic), [])
  })
})
