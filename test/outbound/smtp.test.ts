/** How far a mail got, whatever happens to the mail server meanwhile: what the outbox decides by. */
import assert from 'node:assert/strict'
import { type Letter, type MailSession, openSmtp } from '../../src/outbound/smtp.ts'
import { readMail } from '../../src/sandbox/mail-text.ts'
import { freePort } from '../../src/sandbox/ports.ts'
import { type MailServer, startMailServer, type TakenMail } from '../support/mail-server.ts'

const FROM = 'Ünlimited <billing@example.com>'
const letter: Letter = {
  to: 'ada@example.com',
  subject: 'Crédits · Perennial',
  text: 'Hello\n.\n..\nfrom the text',
  html: '<p>Hello</p>',
  messageId: 'ntc_1@example.com',
}

describe('a mail on its way to the server', () => {
  let server: MailServer
  let session: MailSession
  let marked: number
  const mark = async () => {
    marked += 1
    return true
  }
  beforeEach(async () => {
    marked = 0
    server = await startMailServer()
    session = await openSmtp({ url: server.url, from: FROM })
  })
  afterEach(async () => {
    session.close()
    await server.close()
  })

  it('is taken once, with the id that it is known by; the connection serves the next one', async () => {
    for (const messageId of ['ntc_1@example.com', 'ntc_2@example.com']) {
      assert.deepEqual(await session.send({ ...letter, messageId }, mark), { outcome: 'taken', code: 250 })
    }
    assert.equal(marked, 2)
    assert.deepEqual(
      server.mails.map(({ to, source }) => [to, /^Message-ID: (.*)$/im.exec(source)?.[1]]),
      [
        [['ada@example.com'], '<ntc_1@example.com>'],
        [['ada@example.com'], '<ntc_2@example.com>'],
      ],
    )
    const [{ source }] = server.mails as [TakenMail]
    const { from, subject, text, html } = readMail(source)
    assert.deepEqual(
      { from, subject, text: text.replaceAll('\r\n', '\n'), html },
      { from: FROM, subject: letter.subject, text: letter.text, html: letter.html },
    )
    assert.match(source, /^Auto-Submitted: auto-generated$/im)
  })

  it('is refused when the server says so, before or after it was sent; the connection serves the next one', async () => {
    server.faults.rcpt = 550
    assert.deepEqual(await session.send(letter, mark), {
      outcome: 'refused',
      code: 550,
      detail: '550 at RCPT TO',
    })
    assert.equal(marked, 0)
    server.faults.rcpt = undefined
    server.faults.end = 451
    assert.deepEqual(await session.send(letter, mark), {
      outcome: 'refused',
      code: 451,
      detail: '451 at DATA',
    })
    server.faults.end = undefined
    assert.equal((await session.send(letter, mark)).outcome, 'taken')
    assert.equal(server.mails.length, 1)
  })

  it('was certainly not sent when the server dies before it asked for it', async () => {
    server.faults.rcpt = 'die'
    assert.equal((await session.send(letter, mark)).outcome, 'not_sent')
    assert.equal(marked, 0)
    assert.equal(session.alive(), false)
  })

  it('was certainly not sent when the server dies before its end was sent', async () => {
    server.faults.data = 'die'
    const gone = server.gone()
    const tried = await session.send(letter, async () => {
      await gone
      return true
    })
    assert.equal(tried.outcome, 'not_sent')
  })

  it('is in doubt when the server dies after it was sent and before it answered', async () => {
    server.faults.end = 'die'
    assert.equal((await session.send(letter, mark)).outcome, 'unknown')
    assert.equal(server.mails.length, 1) // and the server does have it
    assert.equal(session.alive(), false)
  })

  it('is not sent when whoever sends it may not any more, or cannot find out', async () => {
    assert.equal((await session.send(letter, async () => false)).outcome, 'not_sent')
    const other = await openSmtp({ url: server.url, from: FROM })
    const failing = other.send(letter, () => Promise.reject(new Error('Postgres is down')))
    assert.equal((await failing).outcome, 'not_sent')
    assert.deepEqual(server.mails, [])
  })

  it('goes to one address, whatever is written in it', async () => {
    await session.send({ ...letter, to: 'ada@example.com, eve@example.com' }, mark)
    assert.ok(server.mails.every(({ to }) => to.length === 1))
  })
})

describe('a mail server', () => {
  it('that does not let us in says why, without its words and our password', async () => {
    const server = await startMailServer({ user: 'perennial', pass: 's3cret' })
    try {
      const session = await openSmtp({ url: server.url, from: FROM })
      assert.equal((await session.send(letter, async () => true)).outcome, 'taken')
      session.close()
      await assert.rejects(
        openSmtp({ url: server.url.replace('s3cret', 'guess'), from: FROM }),
        (error: Error) => {
          assert.match(error.message, /^the mail server does not let us in: 535/)
          assert.doesNotMatch(error.message, /guess|who are you/)
          return true
        },
      )
    } finally {
      await server.close()
    }
  })

  it('that is down was sent nothing', async () => {
    const url = `smtp://127.0.0.1:${await freePort()}`
    await assert.rejects(openSmtp({ url, from: FROM }), /does not let us in: ECONNREFUSED/)
  })

  it('elsewhere gets no password in the clear', async () => {
    const server = await startMailServer({ user: 'perennial', pass: 's3cret' })
    try {
      // a name that is not loopback by its looks
      const url = server.url.replace('127.0.0.1', '0.0.0.0')
      await assert.rejects(openSmtp({ url, from: FROM }), /does not let us in/)
    } finally {
      await server.close()
    }
  })
})
