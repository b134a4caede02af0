/** What tests of the outbox need: notices in one line, what became of them, and a receiver of webhooks. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { noticeKey } from '../../src/domain/id.ts'
import { writeNotice } from '../../src/store/notice.ts'
import type { TestDatabase } from './postgres.ts'

/** Writes a notice of a low balance, which has an e-mail. @returns its id */
export async function tell(database: TestDatabase, account: string, cause = 'pst_1'): Promise<string> {
  const key = noticeKey.balanceLow(cause)
  const data = { available: '3', threshold: '5' }
  await writeNotice(database.pool, { account, kind: 'balance_low', key, cause: { posting: cause }, data })
  const { rows } = await database.owner.query<{ id: string }>('select notice_id($1, $2) as id', [
    account,
    key,
  ])
  return rows[0]?.id ?? ''
}

export interface DeliveryState {
  state: string
  attempts: number
  status_code: number | null
  detail: string | null
}

/** What became of the delivery of a notice to a target. */
export async function deliveryOf(
  database: TestDatabase,
  notice: string,
  target = 'email',
): Promise<DeliveryState & { id: string; waits: boolean }> {
  const { rows } = await database.owner.query<DeliveryState & { id: string; waits: boolean }>(
    `select id, state, attempts, status_code, detail,
            state = 'pending' and next_attempt_at > clock_timestamp() as waits
       from notice_delivery where notice_id = $1 and target = $2`,
    [notice, target],
  )
  if (rows[0] === undefined) throw new Error(`${notice} is not told to ${target}`)
  return rows[0]
}

/** The wait is over: whatever is to be tried again is due now, and every lease has run out. */
export async function passTime(database: TestDatabase): Promise<void> {
  await database.owner.query(
    `update notice_delivery set next_attempt_at = clock_timestamp(),
            leased_until = case when lease is not null then clock_timestamp() - interval '1 second' end
      where state in ('pending', 'sending')`,
  )
}

/** The open alerts, as `kind subject`. */
export async function alertsOf(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.owner.query<{ what: string }>(
    `select kind || ' ' || subject as what from alert where resolved_at is null order by 1`,
  )
  return rows.map(({ what }) => what)
}

export interface Received {
  headers: IncomingHttpHeaders
  body: string
}

export interface Receiver {
  url: string
  received: Received[]
  /** what it answers from now on; a promise keeps it from answering until then */
  answer: { status: number; headers?: Record<string, string>; body?: string; after?: Promise<unknown> }
  close(): Promise<void>
}

/** A receiver of webhooks on a free port. */
export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      received.push({ headers: request.headers, body })
      const { status, headers, body: said = 'ok', after } = receiver.answer
      void Promise.resolve(after).then(() => response.writeHead(status, headers).end(said))
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks`,
    received,
    answer: { status: 200 },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return receiver
}
