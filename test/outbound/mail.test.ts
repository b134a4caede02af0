/** E-mail out of the outbox: a mail server that dies in the middle delays, and never doubles. */
import assert from 'node:assert/strict'
import { createNotifyActivities } from '../../src/activities/notify.ts'
import { TRIES_MAX } from '../../src/domain/delivery.ts'
import { transaction } from '../../src/store/connect.ts'
import {
  claimDeliveries,
  EMAIL,
  markSending,
  resendDelivery,
  settleDelivery,
} from '../../src/store/delivery.ts'
import { readMail } from '../../src/sandbox/mail-text.ts'
import { freePort } from '../../src/sandbox/ports.ts'
import { openAccount } from '../support/ledger.ts'
import { type MailServer, startMailServer } from '../support/mail-server.ts'
import { alertsOf, deliveryOf, passTime, tell } from '../support/outbox.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

describe('the e-mail of a notice', () => {
  let database: TestDatabase
  let server: MailServer
  let account: string
  before(async () => {
    database = await createDatabase()
  })
  after(() => database.drop())
  beforeEach(async () => {
    server = await startMailServer()
    await database.owner.query('truncate notice cascade')
    await database.owner.query('update alert set resolved_at = now()')
    account = await openAccount(database)
    await setAddress('ada@example.com')
  })
  afterEach(() => server.close())

  async function setAddress(email: string | null): Promise<void> {
    await database.owner.query(
      `insert into customer (account_id, email) values ($1, $2)
       on conflict (account_id) do update set email = excluded.email`,
      [account, email],
    )
  }
  /** @param url null: no mail server is configured */
  const run = (url: string | null = server.url) =>
    createNotifyActivities({
      pool: database.pool,
      smtp: url === null ? undefined : { url, from: 'Billing <billing@example.com>' },
      product: 'Product',
      anywhere: false,
    }).notify()

  it('is sent once, to the address that the customer has when it is sent', async () => {
    const notice = await tell(database, account)
    await setAddress('ada@new.example.com')
    assert.deepEqual(await run(), { delivered: 1, pending: 0, failed: 0, in_doubt: 0, skipped: 0 })
    await passTime(database)
    await run()
    assert.deepEqual(
      server.mails.map(({ to }) => to),
      [['ada@new.example.com']],
    )
    const mail = readMail(server.mails[0]?.source ?? '')
    assert.equal(mail.subject, 'You are running low on credits · Product')
    assert.equal(mail.messageId, `<${notice}@example.com>`)
    const { state, attempts, status_code } = await deliveryOf(database, notice)
    assert.deepEqual([state, attempts, status_code], ['delivered', 1, 250])
    const { rows } = await database.owner.query(
      `select count(*)::int as copies from notice n join notice_delivery d on d.notice_id = n.id
        where n::text || d::text like '%ada@%'`,
    )
    assert.deepEqual(rows, [{ copies: 0 }])
  })

  it('is skipped, and says why, when there is no address, none that mail can go to, or no mail server', async () => {
    const notices: string[] = []
    for (const email of [null, 'ada@example.com, eve@example.com', 'ada']) {
      account = await openAccount(database)
      await setAddress(email)
      notices.push(await tell(database, account))
    }
    await run()
    await setAddress('ada@example.com')
    const unsent = await tell(database, account, 'pst_2')
    await run(null)
    const said = await Promise.all([...notices, unsent].map((each) => deliveryOf(database, each)))
    assert.deepEqual(
      said.map(({ state, detail }) => [state, detail]),
      [
        ['skipped', 'the customer has no address'],
        ['skipped', 'the address is not one that mail can go to'],
        ['skipped', 'the address is not one that mail can go to'],
        ['skipped', 'no mail server is configured'],
      ],
    )
    assert.deepEqual(server.mails, [])
  })

  for (const [what, fault, detail] of [
    ['answers 4xx to its recipient', { rcpt: 451 }, '451 at RCPT TO'],
    ['answers 4xx to the mail', { end: 452 }, '452 at DATA'],
    ['dies before it asks for the mail', { rcpt: 'die' }, 'ECONNECTION'],
  ] as const) {
    it(`waits when the mail server ${what}, and is then sent once`, async () => {
      const notice = await tell(database, account)
      Object.assign(server.faults, fault)
      await run()
      await run() // it is not due yet
      const { waits, ...after } = await deliveryOf(database, notice)
      assert.deepEqual([after.state, waits, after.attempts, after.detail], ['pending', true, 1, detail])
      Object.assign(server.faults, { rcpt: undefined, end: undefined })
      await passTime(database)
      await run()
      await run()
      assert.equal(server.mails.length, 1)
      assert.equal((await deliveryOf(database, notice)).state, 'delivered')
      assert.deepEqual(await alertsOf(database), [])
    })
  }

  it('waits when the mail server cannot be reached; a person is told after a few tries, until it can', async () => {
    const notice = await tell(database, account)
    const nobody = `smtp://127.0.0.1:${await freePort()}`
    for (let tries = 1; tries <= 5; tries += 1) {
      await run(nobody)
      assert.deepEqual(await alertsOf(database), tries < 5 ? [] : ['delivery_failing email'])
      await passTime(database)
    }
    assert.equal((await deliveryOf(database, notice)).attempts, 5)
    await run()
    assert.equal(server.mails.length, 1)
    assert.deepEqual(await alertsOf(database), [])
  })

  it('fails for good, and a person is told, when it is refused for good or was tried often enough', async () => {
    const refused = await tell(database, account)
    server.faults.rcpt = 550
    await run()
    const tired = await tell(database, account, 'pst_2')
    await database.owner.query('update notice_delivery set attempts = $1 where state = $2', [
      TRIES_MAX - 1,
      'pending',
    ])
    server.faults.rcpt = 451
    await run()
    const after = await Promise.all([refused, tired].map((each) => deliveryOf(database, each)))
    assert.deepEqual(
      after.map(({ state, status_code }) => [state, status_code]),
      [
        ['failed', 550],
        ['failed', 451],
      ],
    )
    assert.deepEqual(await alertsOf(database), after.map(({ id }) => `notice_failed ${id}`).sort())
  })

  it('is in doubt when the mail server dies before it answers: a person is told, and it is not sent again', async () => {
    const notice = await tell(database, account)
    server.faults.end = 'die'
    assert.equal((await run()).in_doubt, 1)
    server.faults.end = undefined
    await passTime(database)
    await run()
    const { id, state } = await deliveryOf(database, notice)
    assert.equal(state, 'in_doubt')
    assert.equal(server.mails.length, 1) // the one that the server had, and did not say so
    assert.deepEqual(await alertsOf(database), [`notice_in_doubt ${id}`])

    await transaction(database.pool, (client) => resendDelivery(client, id))
    assert.deepEqual(await alertsOf(database), [])
    await run()
    assert.equal((await deliveryOf(database, notice)).state, 'delivered')
    const ids = server.mails.map(({ source }) => readMail(source).messageId)
    assert.deepEqual(ids, [`<${notice}@example.com>`, `<${notice}@example.com>`])
  })

  it('is sent by another worker when the one that had it is killed before it began', async () => {
    const notice = await tell(database, account)
    const claims = await claimDeliveries(database.pool, EMAIL, 10) // and then it is gone
    assert.equal(claims.length, 1)
    await run()
    assert.equal(server.mails.length, 0)
    await passTime(database)
    await run()
    assert.equal(server.mails.length, 1)
    assert.equal((await deliveryOf(database, notice)).state, 'delivered')
  })

  it('is in doubt when the worker that sends it is killed; its answer, if it still comes, ends the doubt', async () => {
    const notice = await tell(database, account)
    const [claim] = await claimDeliveries(database.pool, EMAIL, 10)
    assert.ok(claim !== undefined && (await markSending(database.pool, claim)))
    await assert.rejects(resendDelivery(database.pool, claim.id), { code: 'delivery_sending' })
    await run()
    assert.equal((await deliveryOf(database, notice)).state, 'sending')
    await passTime(database)
    assert.equal((await run()).in_doubt, 1)
    assert.deepEqual(server.mails, [])
    assert.deepEqual(await alertsOf(database), [`notice_in_doubt ${claim.id}`])
    await settleDelivery(database.pool, claim, { state: 'delivered', code: 250, detail: null })
    assert.equal((await deliveryOf(database, notice)).state, 'delivered')
    assert.deepEqual(await alertsOf(database), [])
  })

  it('is marked before the server has any of it', async () => {
    const notice = await tell(database, account)
    let seen = ''
    server.faults.first = async () => {
      seen = (await deliveryOf(database, notice)).state
    }
    await run()
    assert.equal(seen, 'sending')
    assert.equal((await deliveryOf(database, notice)).state, 'delivered')
  })

  it('is had by one worker at a time', async () => {
    for (let index = 0; index < 40; index += 1) await tell(database, account, `pst_${index}`)
    await transaction(database.pool, async (client) => {
      assert.equal((await claimDeliveries(client, EMAIL, 30)).length, 30)
      // who comes at the same moment takes the others, and waits for nobody
      assert.equal((await claimDeliveries(database.pool, EMAIL, 30)).length, 10)
    })
    assert.deepEqual(await claimDeliveries(database.pool, EMAIL, 30), [])
  })

  it('is not sent by whoever had it too long: it may be somebody else’s', async () => {
    const notice = await tell(database, account)
    const [slow] = await claimDeliveries(database.pool, EMAIL, 10)
    await passTime(database)
    const [quick] = await claimDeliveries(database.pool, EMAIL, 10)
    assert.ok(slow !== undefined && quick !== undefined)
    assert.equal(await markSending(database.pool, slow), false)
    assert.equal(await markSending(database.pool, quick), true)
    await settleDelivery(database.pool, slow, { state: 'failed', code: 550, detail: 'late' })
    assert.equal((await deliveryOf(database, notice)).state, 'sending')
    await settleDelivery(database.pool, quick, { state: 'delivered', code: 250, detail: null })
  })

  it('is sent once by however many workers there are', async () => {
    const notices = await Promise.all(
      Array.from({ length: 50 }, (_, index) => tell(database, account, `pst_${index}`)),
    )
    const runs = await Promise.all(Array.from({ length: 4 }, () => run()))
    assert.equal(
      runs.reduce((sum, { delivered }) => sum + delivered, 0),
      50,
    )
    const ids = server.mails.map(({ source }) => readMail(source).messageId)
    assert.deepEqual(ids.sort(), notices.map((id) => `<${id}@example.com>`).sort())
  })
})
