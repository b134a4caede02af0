/** A mail server of the tests: smtp-server on a free port, keeping what it took, and failing where it is told to. */
import type { Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { SMTPServer } from 'smtp-server'

export interface TakenMail {
  to: string[]
  source: string
}

/** Where it fails: an SMTP code is answered there, `die` closes the connection. */
export interface Faults {
  rcpt?: number | 'die' | undefined
  /** when it has been told that a mail comes and has read nothing of it */
  data?: 'die' | undefined
  /** after all of it was read; `die` keeps the mail and does not say so */
  end?: number | 'die' | undefined
  /** what it waits for before it answers to a mail that it has read */
  first?: (() => Promise<void>) | undefined
}

export interface MailServer {
  url: string
  mails: TakenMail[]
  faults: Faults
  /** resolves when the next connection has ended */
  gone(): Promise<void>
  close(): Promise<void>
}

/** @param login what it asks for; nothing by default */
export async function startMailServer(login?: { user: string; pass: string }): Promise<MailServer> {
  const mails: TakenMail[] = []
  const faults: Faults = {}
  let ended: (() => void)[] = []
  const refusal = (code: number) => Object.assign(new Error(`refused by the test`), { responseCode: code })
  const die = (session: object) => sockets.get(session)?.destroy()
  const sockets = new Map<object, Socket>()
  const server = new SMTPServer({
    authOptional: login === undefined,
    disabledCommands: login === undefined ? ['STARTTLS', 'AUTH'] : ['STARTTLS'],
    allowInsecureAuth: true,
    hideSTARTTLS: true,
    disableReverseLookup: true,
    onAuth(auth, _session, done) {
      if (auth.username === login?.user && auth.password === login?.pass) done(null, { user: auth.username })
      else done(new Error('who are you?'))
    },
    onConnect(session, done) {
      const { connections } = server as unknown as { connections: Set<{ session: object; _socket: Socket }> }
      for (const { session: known, _socket } of connections)
        if (known === session) sockets.set(session, _socket)
      done()
    },
    onRcptTo(_address, session, done) {
      if (faults.rcpt === 'die') die(session)
      else if (faults.rcpt === undefined) done()
      else done(refusal(faults.rcpt))
    },
    onData(stream, session, done) {
      if (faults.data === 'die') {
        die(session)
        return
      }
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        const { end } = faults
        if (typeof end === 'number') {
          done(refusal(end))
          return
        }
        const to = session.envelope.rcptTo.map(({ address }) => address)
        mails.push({ to, source: Buffer.concat(chunks).toString('utf8') })
        if (end === 'die') die(session)
        else void Promise.resolve(faults.first?.()).then(() => done(), done)
      })
    },
    onClose(session) {
      sockets.delete(session)
      for (const tell of ended) tell()
      ended = []
    },
  })
  server.on('error', () => {})
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.server.address() as AddressInfo
  const who = login === undefined ? '' : `${login.user}:${login.pass}@`
  return {
    url: `smtp://${who}127.0.0.1:${port}`,
    mails,
    faults,
    gone: () => new Promise((resolve) => ended.push(resolve)),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  }
}
