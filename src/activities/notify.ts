/**
 * Sends what is in the outbox. Each target has a lane of its own, so that a receiver that does not answer keeps nobody
 * else waiting; a lane that gets nothing through stops until the next run.
 */
import { afterCall, afterMail, type MailTry, type Verdict } from '../domain/delivery.ts'
import { mailOf } from '../domain/mail.ts'
import type { NoticeData, NoticeKind } from '../domain/notice.ts'
import { webhookBody } from '../domain/notice-view.ts'
import { type MailSession, openSmtp, type SmtpSettings } from '../outbound/smtp.ts'
import { createCaller } from '../outbound/webhook.ts'
import type { Pool } from '../store/connect.ts'
import { readAddresses } from '../store/customer.ts'
import {
  type Claim,
  claimDeliveries,
  doubtDeserted,
  dueTargets,
  EMAIL,
  markSending,
  settleDelivery,
} from '../store/delivery.ts'
import { recorded } from '../store/duty.ts'
import { readReceiver } from '../store/webhook-endpoint.ts'
import { translated } from './translate.ts'

export interface NotifyDeps {
  pool: Pool
  /** undefined: no e-mail is sent */
  smtp: SmtpSettings | undefined
  /** what customers know the product by */
  product: string
  /** whether webhooks may go to private addresses and over plain http: in the sandbox only */
  anywhere: boolean
}

/** How many of one target are taken at a time. */
const PAGE = { mail: 20, webhook: 8 } as const
const LANES_MAX = 16
/** A run ends well before its time-out; the next one goes on. */
const RUN_MS = 4 * 60_000

type Tally = Record<Verdict['state'], number>

export type NotifyActivities = ReturnType<typeof createNotifyActivities>

export function createNotifyActivities({ pool, smtp, product, anywhere }: NotifyDeps) {
  const call = createCaller({ anywhere })

  return translated({
    /** Sends every delivery that is due, until nothing is or nothing gets through. */
    notify: () =>
      recorded(pool, 'notify', async () => {
        const until = Date.now() + RUN_MS
        const tally: Tally = { delivered: 0, pending: 0, failed: 0, in_doubt: 0, skipped: 0 }
        tally.in_doubt += await doubtDeserted(pool)
        const targets = (await dueTargets(pool)).values()
        const lane = async () => {
          for (const target of targets) await sendAll(target, until, tally)
        }
        await Promise.all(Array.from({ length: LANES_MAX }, lane))
        return tally
      }),
  })

  async function sendAll(target: string, until: number, tally: Tally): Promise<void> {
    const [send, page] = target === EMAIL ? [sendMails, PAGE.mail] : [callReceiver, PAGE.webhook]
    while (Date.now() < until) {
      const claims = await claimDeliveries(pool, target, page)
      const verdicts = await send(target, claims)
      for (const { state } of verdicts) tally[state] += 1
      if (claims.length < page || verdicts.every(({ state }) => state === 'pending' || state === 'failed'))
        return
    }
  }

  /** One after the other over one connection, or over the next one when it breaks. */
  async function sendMails(_target: string, claims: Claim[]): Promise<Verdict[]> {
    const addresses = await readAddresses(
      pool,
      claims.map(({ notice }) => notice.account),
    )
    const verdicts: Verdict[] = []
    let session: MailSession | undefined
    let closed: MailTry | undefined
    const settle = async (claim: Claim, verdict: Verdict) => {
      await settleDelivery(pool, claim, verdict)
      verdicts.push(verdict)
    }
    try {
      for (const claim of claims) {
        const to = addresses.get(claim.notice.account)
        const why = smtp === undefined ? 'no mail server is configured' : noAddress(to)
        if (smtp === undefined || to === undefined || why !== undefined) {
          await settle(claim, { state: 'skipped', code: null, detail: why ?? null })
          continue
        }
        if (session?.alive() !== true && closed === undefined) {
          session = await openSmtp(smtp).catch((error: Error) => {
            closed = { outcome: 'not_sent', detail: error.message }
            return undefined
          })
        }
        // who cannot connect for one need not try for the others of this page
        const tried =
          session === undefined || closed !== undefined ? closed : await sendMail(session, claim, to)
        if (tried !== undefined) await settle(claim, afterMail(tried, claim.tries, Math.random()))
      }
    } finally {
      session?.close()
    }
    return verdicts
  }

  async function sendMail(session: MailSession, claim: Claim, to: string): Promise<MailTry> {
    const { id, kind, data } = claim.notice
    // what was written under a kind has that kind's data
    const mail = mailOf({ kind, data: data as unknown as NoticeData[NoticeKind] }, product)
    const domain = smtp?.from.match(/@([^\s<>@]+?)>?$/)?.[1] ?? 'localhost'
    return await session.send({ ...mail, to, messageId: `${id}@${domain}` }, () => markSending(pool, claim))
  }

  /** All of a page at once. */
  async function callReceiver(target: string, claims: Claim[]): Promise<Verdict[]> {
    const receiver = await readReceiver(pool, target)
    return await Promise.all(
      claims.map(async (claim) => {
        const verdict: Verdict =
          receiver === undefined
            ? { state: 'skipped', code: null, detail: 'the endpoint is disabled' }
            : afterCall(
                await call({
                  ...receiver,
                  id: claim.notice.id,
                  body: webhookBody(claim.notice),
                  at: new Date(),
                }),
                claim.tries,
                Math.random(),
              )
        await settleDelivery(pool, claim, verdict)
        return verdict
      }),
    )
  }
}

function noAddress(to: string | undefined): string | undefined {
  if (to === undefined) return 'the customer has no address'
  // it was checked when it came in; what is sent to a server must be one address and nothing else
  return /^[^\s<>,;:"()[\]\\@\p{C}]+@[^\s<>,;:"()[\]\\@\p{C}]+$/u.test(to)
    ? undefined
    : 'the address is not one that mail can go to'
}
