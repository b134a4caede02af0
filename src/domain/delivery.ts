/**
 * What becomes of a delivery after a try: pure. The rule for e-mail: what certainly did not arrive is tried again, what
 * may have arrived never is, unless a person says so. A webhook is told again until it is answered: its id stays the
 * same, so that a receiver knows it.
 */
import { HOUR_MS } from './calendar.ts'

export type DeliveryState = 'pending' | 'sending' | 'delivered' | 'failed' | 'in_doubt' | 'skipped'

/** How a try to send an e-mail ended, as far as this side can know. */
export type MailTry =
  /** the server answered that it has it */
  | { outcome: 'taken'; code: number }
  /** the server answered that it does not take it */
  | { outcome: 'refused'; code: number; detail: string }
  /** the end of the message was never sent: no server delivers half a message */
  | { outcome: 'not_sent'; detail: string }
  /** all of it was sent and no answer came */
  | { outcome: 'unknown'; detail: string }

/** How a try to call a receiver ended: what it answered, or why it did not. */
export type CallTry = { code: number; detail: string } | { code: null; detail: string }

export interface Verdict {
  state: Exclude<DeliveryState, 'sending'>
  /** of `pending`: how long until the next try */
  waitMs?: number
  code: number | null
  detail: string | null
}

/** As many tries take about three days; then a person is told. */
export const TRIES_MAX = 45
const FIRST_WAIT_MS = 15_000
const LONGEST_WAIT_MS = 2 * HOUR_MS

/**
 * How long after a try the next one comes: twice as long each time, up to two hours.
 * @param tries how many there were, from 1 on
 * @param chance 0 to 1: up to a tenth more, so that what failed together does not come back together
 */
export function waitAfter(tries: number, chance: number): number {
  return Math.round(Math.min(FIRST_WAIT_MS * 2 ** (tries - 1), LONGEST_WAIT_MS) * (1 + chance / 10))
}

/** SMTP: 5xx is for good; but one that is lost in the conversation, or wants us to log in, says so too: that passes. */
function isForGood(code: number): boolean {
  return code >= 500 && code !== 503 && code !== 530 && code !== 535
}

export function afterMail(tried: MailTry, tries: number, chance: number): Verdict {
  if (tried.outcome === 'taken') return { state: 'delivered', code: tried.code, detail: null }
  const { detail } = tried
  if (tried.outcome === 'unknown') return { state: 'in_doubt', code: null, detail }
  const code = tried.outcome === 'refused' ? tried.code : null
  return code !== null && isForGood(code)
    ? { state: 'failed', code, detail }
    : againOrNever(code, detail, tries, chance)
}

export function afterCall({ code, detail }: CallTry, tries: number, chance: number): Verdict {
  return code !== null && code >= 200 && code < 300
    ? { state: 'delivered', code, detail }
    : againOrNever(code, detail, tries, chance)
}

function againOrNever(code: number | null, detail: string, tries: number, chance: number): Verdict {
  return tries >= TRIES_MAX
    ? { state: 'failed', code, detail }
    : { state: 'pending', waitMs: waitAfter(tries, chance), code, detail }
}
