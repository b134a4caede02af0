/**
 * Hands mails to a mail server, and says for each how far it got: taken, refused, certainly not sent, or unknown. What
 * tells the last two apart is whether the end of the message was given to the connection: no server delivers half a
 * message, and after the end nobody but its answer can say whether it has it.
 */
import { Readable } from 'node:stream'
import type { NodemailerError } from 'nodemailer'
import MailComposer from 'nodemailer/lib/mail-composer'
import SMTPConnection, { type SMTPConnectionOptions } from 'nodemailer/lib/smtp-connection'
import type { MailTry } from '../domain/delivery.ts'
import type { Mail } from '../domain/mail.ts'

export interface SmtpSettings {
  /** smtp:// or smtps://, with user and password if the server wants them */
  url: string
  /** an address, with or without a name before it */
  from: string
}

export interface Letter extends Mail {
  to: string
  /** stable: the same at every try */
  messageId: string
}

/** A connection to a mail server, for several mails one after the other. */
export interface MailSession {
  /**
   * Sends one mail.
   * @param onData called when the server is ready for it and before a byte of it goes out; false, or an error: nothing does
   */
  send(letter: Letter, onData: () => Promise<boolean>): Promise<MailTry>
  /** whether another mail can be sent over it */
  alive(): boolean
  close(): void
}

const CONNECT_WITHIN_MS = 10_000
const ANSWER_WITHIN_MS = 30_000

/** Connects and logs in. @throws Error with a reason that has no secret in it: nothing was sent */
export async function openSmtp({ url, from }: SmtpSettings): Promise<MailSession> {
  const { options, auth } = readUrl(url)
  const connection = new SMTPConnection(options)
  let alive = true
  let fail: (error: Error) => void = () => {}
  const failure = new Promise<never>((_resolve, reject) => {
    fail = reject
  })
  failure.catch(() => {})
  connection.on('error', (error: Error) => {
    alive = false
    fail(error)
  })
  connection.on('end', () => {
    alive = false
    fail(new Error('the connection ended'))
  })
  const step = (run: (done: (error?: Error | null) => void) => void) =>
    Promise.race([
      failure,
      new Promise<void>((resolve, reject) => {
        run((error) => (error ? reject(error) : resolve()))
      }),
    ])
  try {
    await step((done) => connection.connect((error) => done(error)))
    if (auth !== undefined)
      await step((done) => connection.login({ ...auth, credentials: auth }, (error) => done(error)))
  } catch (error) {
    connection.close()
    throw new Error(`the mail server does not let us in: ${reasonOf(error)}`, { cause: error })
  }
  return {
    alive: () => alive,
    close: () => connection.quit(),
    async send(letter, onData) {
      const { envelope, message } = await compose(letter, from)
      const body = bodyOf(message, onData)
      try {
        const info = await new Promise<{ response: string }>((resolve, reject) => {
          failure.catch(reject)
          connection.send(envelope, body.stream, (error, info) => {
            if (error) reject(error)
            else if (info) resolve(info)
          })
        })
        return { outcome: 'taken', code: Number(info.response.slice(0, 3)) }
      } catch (error) {
        const tried = triedOf(error, body.ended())
        // a message of which half was sent must not be followed by another one
        if (tried.outcome === 'refused')
          await step((done) => connection.reset((failed) => done(failed))).catch(end)
        else end()
        return tried
      }
    },
  }

  function end(): void {
    alive = false
    connection.close()
  }
}

/** The message as a stream that is asked for its first byte when the server is ready for it. */
function bodyOf(message: Buffer, onData: () => Promise<boolean>): { stream: Readable; ended(): boolean } {
  let at: 'begin' | 'content' | 'end' = 'begin'
  const stream = new Readable({
    read() {
      if (at === 'begin') {
        at = 'content'
        onData().then(
          (go) => (go ? stream.push(message) : stream.destroy(new Error('it is no longer ours to send'))),
          (error: Error) => stream.destroy(error),
        )
      } else if (at === 'content') {
        at = 'end'
        stream.push(null)
      }
    },
  })
  return { stream, ended: () => at === 'end' }
}

function triedOf(error: unknown, ended: boolean): MailTry {
  const { responseCode: code, command } = error as NodemailerError
  const detail = reasonOf(error)
  // an answer to this mail; a server that says goodbye (421) as the connection ends may say so of any of them
  if (code !== undefined && command !== 'CONN') return { outcome: 'refused', code, detail }
  return ended ? { outcome: 'unknown', detail } : { outcome: 'not_sent', detail }
}

async function compose(letter: Letter, from: string) {
  const { to, subject, text, html, messageId } = letter
  const message = new MailComposer({
    from,
    // as an object it is one address, whatever is in it
    to: { name: '', address: to },
    subject,
    text,
    html,
    messageId: `<${messageId}>`,
    headers: { 'Auto-Submitted': 'auto-generated' },
    disableFileAccess: true,
    disableUrlAccess: true,
  }).compile()
  return { envelope: message.getEnvelope(), message: await message.build() }
}

function readUrl(text: string): { options: SMTPConnectionOptions; auth?: { user: string; pass: string } } {
  const url = new URL(text)
  const secure = url.protocol === 'smtps:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const user = decodeURIComponent(url.username)
  const options: SMTPConnectionOptions = {
    host,
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    // a password never crosses a network in the clear
    requireTLS: !secure && user !== '' && !/^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host),
    connectionTimeout: CONNECT_WITHIN_MS,
    greetingTimeout: CONNECT_WITHIN_MS,
    dnsTimeout: CONNECT_WITHIN_MS,
    socketTimeout: ANSWER_WITHIN_MS,
    allowInternalNetworkInterfaces: true,
  }
  return user === '' ? { options } : { options, auth: { user, pass: decodeURIComponent(url.password) } }
}

/** What went wrong, without the server's own words: they may quote an address, which is nowhere but in `customer`. */
function reasonOf(error: unknown): string {
  const { code, originalCode, responseCode, command } = error as NodemailerError
  const what = responseCode ?? originalCode ?? code ?? 'it failed'
  return command === undefined || command === 'CONN' || command === 'API'
    ? `${what}`
    : `${what} at ${command}`
}
