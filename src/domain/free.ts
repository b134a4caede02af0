/**
 * A free plan: a month's credits for each month in which nothing was paid for, at least for a moment. Pure; runs inside
 * the workflow. What is due follows from the facts alone, so a run that comes late, or again, finds the same.
 */
import { addMonths, type Instant, latest, monthsBetween } from './calendar.ts'
import { postingKey } from './id.ts'
import type { FreeTerms } from './plan.ts'
import { carriedOver, lapsesAt } from './renewal.ts'
import { isPaidFor } from './status.ts'

/** A free plan of an account, from its enrolment on. */
export interface FreeFacts {
  id: string
  account: string
  plan: string
  group: string
  status: 'active' | 'canceled'
  /** the account's first enrolment in the group: every later one counts the same months */
  anchor: Instant
  /** this enrolment */
  created: Instant
  /** the end of the month in which it was cancelled */
  cancelAt: Instant | null
  /** when its workflow was to look again */
  deadline: Instant | null
}

/** A subscription in Stripe of the same account and group, live or not. */
export interface PaidFacts {
  status: string
  created: Instant
  endedAt: Instant | null
}

export interface FreeObservation {
  at: Instant
  subscription: FreeFacts
  /** as they were at the enrolment */
  terms: FreeTerms
  paid: PaidFacts[]
  /** keys of its months that are granted already */
  known: string[]
}

export interface FreeGrant {
  key: string
  amount: string
  periodStart: Instant
  /** null: never */
  expiresAt: Instant | null
  /** as of every grant of a plan */
  carry: string
  source: Record<string, string>
}

export interface FreePlan {
  grants: FreeGrant[]
  status: FreeFacts['status']
  periodStart: Instant
  periodEnd: Instant
  endedAt: Instant | null
  /** the next month's beginning; null: it has ended */
  deadline: Instant | null
  /** what is paid for goes before it now */
  givesWay: boolean
}

export interface Month {
  /** how many months after the anchor it begins */
  index: number
  start: Instant
  end: Instant
}

/** The month that an instant is in; the first one for what is before the anchor. */
export function monthAt(anchor: Instant, at: Instant): Month {
  const near = monthsBetween(anchor, at)
  return monthOf(anchor, Math.max(0, addMonths(anchor, near) > at ? near - 1 : near))
}

/** The keys of every month of an enrolment until now. */
export function freeKeys(subscription: FreeFacts, at: Instant): string[] {
  return monthsOf(subscription, at).map(({ index }) => postingKey.freeMonth(subscription.group, index))
}

/** Decides what is left to do. */
export function decideFree(seen: FreeObservation): FreePlan {
  const { subscription, terms } = seen
  // a wall that is put right by a moment must not cost the first month
  const at = latest(seen.at, subscription.created)
  const known = new Set(seen.known)
  const spans = spansOf(seen.paid, at)
  const grants = monthsOf(subscription, at)
    .filter((month) => isUnpaidIn(latest(month.start, subscription.created), month.end, at, spans))
    .map((month) => grantOf(subscription, terms, month))
    .filter(({ key }) => !known.has(key))
  const over = subscription.status === 'canceled' || isOver(subscription, at)
  const { start, end } = lastMonth(subscription, at)
  return {
    grants,
    status: over ? 'canceled' : 'active',
    periodStart: start,
    periodEnd: end,
    endedAt: over ? subscription.cancelAt : null,
    deadline: over ? null : end,
    givesWay: !over && !isUnpaidIn(at, end, at, spans),
  }
}

function monthOf(anchor: Instant, index: number): Month {
  return { index, start: addMonths(anchor, index), end: addMonths(anchor, index + 1) }
}

function isOver({ cancelAt }: FreeFacts, at: Instant): boolean {
  return cancelAt !== null && at >= cancelAt
}

/** The running month, or the last one of what has ended. */
function lastMonth(subscription: FreeFacts, at: Instant): Month {
  const { anchor, cancelAt } = subscription
  const month = monthAt(anchor, at)
  if (cancelAt === null || month.start < cancelAt) return month
  return monthOf(anchor, Math.max(0, monthAt(anchor, cancelAt).index - 1))
}

function monthsOf(subscription: FreeFacts, at: Instant): Month[] {
  const { anchor, created } = subscription
  const first = monthAt(anchor, created).index
  const last = lastMonth(subscription, latest(at, created)).index
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => monthOf(anchor, first + n))
}

function grantOf(subscription: FreeFacts, terms: FreeTerms, { index, start, end }: Month): FreeGrant {
  return {
    key: postingKey.freeMonth(subscription.group, index),
    amount: terms.credits,
    periodStart: start,
    expiresAt: lapsesAt(terms, end),
    carry: carriedOver(terms.renewal, 1),
    source: { subscription: subscription.id, price: terms.lookupKey, month: String(index + 1) },
  }
}

/** From when to when something was paid for; `until` is no longer part of it, null: it still is. */
interface Span {
  from: Instant
  until: Instant | null
}

/** In the order of their beginning. What never was paid has none. */
function spansOf(paid: PaidFacts[], at: Instant): Span[] {
  return paid
    .filter(({ status }) => status !== 'incomplete' && status !== 'incomplete_expired')
    .map(({ status, created, endedAt }) => ({
      from: created,
      // since when an unpaid or paused one is that, nobody wrote down: until now it counts, so nothing comes afterwards
      until: isPaidFor(status) ? null : (endedAt ?? at),
    }))
    .sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))
}

/** Whether there is an instant from `from` until before `until`, now at the latest, that is in none of the spans. */
function isUnpaidIn(from: Instant, until: Instant, at: Instant, spans: Span[]): boolean {
  let unpaid = from
  for (const span of spans) {
    if (span.from > unpaid) break
    if (span.until === null) return false
    unpaid = latest(unpaid, span.until)
  }
  return unpaid < until && unpaid <= at
}
