/**
 * The sandbox's mail server: takes every mail on a loopback port, sends none on, keeps them in the data folder, and has
 * pages to read them. What a mail says is shown as text, or as HTML in a frame that may do nothing.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { SMTPServer } from 'smtp-server'
import { type ReadMail, readMail } from './mail-text.ts'

/** The latest so many are kept. */
const KEPT_MAX = 500
const SIZE_MAX = 1024 * 1024

export interface MailPage {
  status: number
  headers: Record<string, string>
  body: string
}

export interface Mailbox {
  /** smtp://127.0.0.1:port */
  url: string
  /** The page of a path below where they are mounted: '' is the list. */
  page(path: string): MailPage
  stop(): Promise<void>
}

interface Kept extends ReadMail {
  /** its file's name without the ending: the time and a number */
  id: string
}

/** @param port 0 takes any free one; always on 127.0.0.1 */
export async function startMailbox({ port, dir }: { port: number; dir: string }): Promise<Mailbox> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const ids = readdirSync(dir)
    .filter((name) => /^[\w-]+\.eml$/.test(name))
    .map((name) => name.slice(0, -'.eml'.length))
    .sort()
  let taken = 0

  function keep(source: Buffer): void {
    taken += 1
    const id = `${new Date().toISOString().replaceAll(/[:.]/g, '-')}_${String(taken).padStart(6, '0')}`
    writeFileSync(join(dir, `${id}.eml`), source, { mode: 0o600 })
    ids.push(id)
    for (const old of ids.splice(0, Math.max(0, ids.length - KEPT_MAX)))
      rmSync(join(dir, `${old}.eml`), { force: true })
  }

  const read = (id: string): Kept => ({ id, ...readMail(readFileSync(join(dir, `${id}.eml`), 'utf8')) })

  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    disableReverseLookup: true,
    size: SIZE_MAX,
    onData(stream, _session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        try {
          keep(Buffer.concat(chunks))
          done()
        } catch (error) {
          done(error as Error)
        }
      })
    },
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  // a connection that breaks is the sender's matter
  server.on('error', () => {})
  return {
    url: `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}`,
    page(path) {
      const [id = '', part] = path.split('/')
      if (id === '') return show(listPage(ids.toReversed().map(read)))
      // only what was kept is read: a path is a stranger's word
      if (!ids.includes(id)) return { ...show(frame('No such mail', back)), status: 404 }
      const mail = read(id)
      if (part === 'html') return show(mail.html, "default-src 'none'; style-src 'unsafe-inline'; sandbox")
      return show(mailPage(mail))
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
      }),
  }
}

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'"

function show(body: string, policy = POLICY): MailPage {
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': policy,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  }
  return { status: 200, headers, body }
}

const back = '<p><a href="/_sandbox/mail">All mails</a></p>'

function listPage(mails: Kept[]): string {
  const rows = mails.map(
    ({ id, to, subject }) =>
      `<tr><td>${escape(timeOf(id))}</td><td>${escape(to)}</td>
<td><a href="/_sandbox/mail/${encodeURIComponent(id)}">${escape(subject)}</a></td></tr>`,
  )
  const none = '<p>No mail yet. Customers with an e-mail address get one when their credits arrive.</p>'
  const table = `<table><tr><th>Sent</th><th>To</th><th>Subject</th></tr>${rows.join('\n')}</table>`
  return frame('Mailbox', mails.length === 0 ? none : table)
}

function mailPage({ id, from, to, subject, messageId, text }: Kept): string {
  const fields = { From: from, To: to, Sent: timeOf(id), 'Message-ID': messageId }
  const rows = Object.entries(fields).map(
    ([name, value]) => `<tr><th>${name}</th><td>${escape(value)}</td></tr>`,
  )
  return frame(
    subject,
    `${back}<table class="head">${rows.join('')}</table>
<iframe sandbox title="HTML" src="/_sandbox/mail/${encodeURIComponent(id)}/html"></iframe>
<h2>As text</h2><pre>${escape(text)}</pre>`,
  )
}

/** `2026-11-25 18:04:05` of the file's name. */
function timeOf(id: string): string {
  return id.replace(/^(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d).*$/, '$1 $2:$3:$4')
}

function frame(title: string, content: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(title)} · sandbox</title>
<style>
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1d2430 }
h1 { font-size: 1.5rem } h2 { font-size: 1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } .head { width: auto; margin-bottom: 1rem }
th, td { text-align: left; padding: .4rem 1rem .4rem 0; border-bottom: 1px solid #e3e6eb; vertical-align: top }
iframe { width: 100%; height: 32rem; border: 1px solid #e3e6eb; border-radius: 6px }
pre { white-space: pre-wrap; padding: 1rem; background: #f3f4f6; border-radius: 6px }
a { color: #1f5eff }
</style></head>
<body><h1>${escape(title)}</h1>
${content}
</body></html>
`
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (found) => ENTITIES[found] ?? '')
}
