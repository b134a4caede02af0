/**
 * What a subscription's facts do to its credits: a pure function from what Postgres and Stripe say to a plan of
 * postings, a mirror row and the next deadline (law 6). Runs inside the workflow.
 */
import {
  addMonths,
  addMs,
  earliest,
  HOUR_MS,
  type Instant,
  latest,
  MINUTE_MS,
  monthsBetween,
} from './calendar.ts'
import { formatCredits } from './credits.ts'
import { creditsForLine } from './grant.ts'
import { postingKey } from './id.ts'
import { type Interval, type KeptTerms, type PriceTerms, readTerms } from './plan.ts'
import { carriedOver, lapsesAt } from './renewal.ts'

/** Stripe's subscription, as far as it decides anything. */
export interface SubscriptionFacts {
  id: string
  /** null: neither its metadata nor its customer names an account of ours */
  account: string | null
  order: string | null
  status: string
  priceId: string | null
  quantity: number
  periodStart: Instant | null
  periodEnd: Instant | null
  anchor: Instant
  cancelAt: Instant | null
  cancelAtPeriodEnd: boolean
  endedAt: Instant | null
  created: Instant
}

export interface LineFacts {
  id: string
  /** null when the line is no subscription item's */
  priceId: string | null
  proration: boolean
  quantity: number | null
  amount: string
  discount: string
  periodStart: Instant
  periodEnd: Instant
}

export interface InvoiceFacts {
  id: string
  status: string
  reason: string
  currency: string
  amountPaid: string
  /** pi_… that settled it, or the invoice itself when none did (customer balance, out of band, nothing due) */
  payment: string
  paidAt: Instant | null
  finalizesAt: Instant | null
  nextAttemptAt: Instant | null
  lines: LineFacts[]
}

/** A month of a paid year that has been written and not yet granted. */
export interface PendingEntitlement {
  key: string
  amount: string
  dueAt: Instant
  periodEnd: Instant
  /** null: never */
  expiresAt: Instant | null
  /** as of a grant; absent in histories that were recorded before there was a choice: nothing */
  carry?: string
  payment: string
  source: Record<string, string>
}

/** Everything a run knows. `at` is business now, read with the rest. */
export interface Observation {
  at: Instant
  subscription: SubscriptionFacts
  /** invoices that are not settled, and paid ones that still have a line without a grant */
  invoices: InvoiceFacts[]
  /** terms of every price on them that is in the catalogue */
  terms: Record<string, KeptTerms>
  /** keys that are granted or written already */
  known: string[]
  pending: PendingEntitlement[]
}

export interface GrantStep {
  key: string
  amount: string
  periodStart: Instant
  /** null: never */
  expiresAt: Instant | null
  /** how many credits of this subscription's earlier periods live on beside these: an amount, or `Infinity` */
  carry: string
  payment: string
  reason: string
  source: Record<string, string>
}

export interface PaymentStep {
  id: string
  invoice: string
  amountMinor: string
  currency: string
  paidAt: Instant
}

export interface Mirror {
  id: string
  account: string
  order: string | null
  plan: string | null
  group: string
  interval: Interval | null
  priceId: string | null
  quantity: number
  status: string
  periodStart: Instant | null
  periodEnd: Instant | null
  anchor: Instant
  cancelAt: Instant | null
  endedAt: Instant | null
  created: Instant
  deadline: Instant | null
  attention: string | null
  observedAt: Instant
}

export interface SubscriptionPlan {
  payments: PaymentStep[]
  entitlements: PendingEntitlement[]
  grants: GrantStep[]
  mirror: Mirror
  /** nothing is left to do and nothing will be: the workflow may close */
  over: boolean
}

const ENDED = new Set(['canceled', 'incomplete_expired'])

/** Stripe needs a moment after its own deadline; ours comes that much later, in milliseconds. */
const AFTER_STRIPE_MS = 2 * MINUTE_MS

/** Whether Stripe will never bill this subscription again. */
export function hasEnded(status: string): boolean {
  return ENDED.has(status)
}

const PAID_FOR = new Set(['active', 'trialing', 'past_due'])

/** Whether a subscription goes before a free plan: paid, tried before paying, or about to be paid. */
export function isPaidFor(status: string): boolean {
  return PAID_FOR.has(status)
}

/** Decides what is left to do. Undefined when the subscription belongs to no account of ours. */
export function decideSubscription(seen: Observation): SubscriptionPlan | undefined {
  const { subscription } = seen
  if (subscription.account === null) return undefined
  const known = new Set(seen.known)
  const payments: PaymentStep[] = []
  const entitlements: PendingEntitlement[] = []
  const grants: GrantStep[] = []
  const attention: string[] = []

  for (const invoice of seen.invoices) {
    if (invoice.status !== 'paid') continue
    payments.push({
      id: invoice.payment,
      invoice: invoice.id,
      amountMinor: invoice.amountPaid,
      currency: invoice.currency,
      paidAt: invoice.paidAt ?? seen.at,
    })
    for (const line of invoice.lines) {
      const verdict = readLine(invoice, line, seen.terms)
      if (verdict === undefined) continue
      if (typeof verdict === 'string') {
        attention.push(verdict)
        continue
      }
      if (verdict.interval === 'month') {
        const step = monthStep(subscription, invoice, line, verdict)
        if (step !== undefined && !known.has(step.key)) grants.push(step)
      } else {
        entitlements.push(
          ...yearSteps(subscription, invoice, line, verdict).filter((one) => !known.has(one.key)),
        )
      }
    }
  }

  const months = [...seen.pending, ...entitlements]
  for (const month of months) {
    if (month.dueAt > seen.at) continue
    grants.push({ carry: '0', ...month, periodStart: month.dueAt, reason: 'entitlement_due' })
  }
  // Oldest first: whoever comes later succeeds whoever came before, as it would have been had nothing been late.
  grants.sort((a, b) => (a.periodStart < b.periodStart ? -1 : a.periodStart > b.periodStart ? 1 : 0))

  const nextMonth = earliest(...months.filter((month) => month.dueAt > seen.at).map((month) => month.dueAt))
  const deadline = earliest(nextMonth, nextFromStripe(seen))
  const mirror = mirrorOf(seen, subscription.account, deadline, attention[0] ?? null)
  return { payments, entitlements, grants, mirror, over: deadline === null }
}

/** The terms a line is granted under; a reason for a person to look; or undefined: nothing of ours. */
function readLine(
  invoice: InvoiceFacts,
  line: LineFacts,
  terms: Record<string, KeptTerms>,
): PriceTerms | string | undefined {
  if (line.priceId === null) return undefined
  const found = terms[line.priceId]
  if (found === undefined) return 'unknown_price'
  if (line.proration) return 'proration_unsettled'
  if (found.currency !== invoice.currency) return 'currency_mismatch'
  if (line.quantity === null) return 'quantity_missing'
  return readTerms(found)
}

function amountOf(line: LineFacts, terms: PriceTerms): string {
  return formatCredits(
    creditsForLine({
      credits: terms.credits,
      quantity: line.quantity ?? 0,
      unitAmount: terms.unitAmount,
      amount: line.amount,
      discount: line.discount,
      rule: terms.discountRule,
    }),
  )
}

function sourceOf(
  subscription: SubscriptionFacts,
  invoice: InvoiceFacts,
  line: LineFacts,
  terms: PriceTerms,
) {
  return { subscription: subscription.id, invoice: invoice.id, line: line.id, price: terms.lookupKey }
}

function monthStep(
  subscription: SubscriptionFacts,
  invoice: InvoiceFacts,
  line: LineFacts,
  terms: PriceTerms,
): GrantStep | undefined {
  const amount = amountOf(line, terms)
  if (amount === '0') return undefined
  return {
    key: postingKey.invoiceLine(line.id),
    amount,
    periodStart: line.periodStart,
    expiresAt: lapsesAt(terms, line.periodEnd),
    carry: carriedOver(terms.renewal, line.quantity ?? 0),
    payment: invoice.payment,
    reason: invoice.reason === 'subscription_create' ? 'first_payment' : 'renewal',
    source: sourceOf(subscription, invoice, line, terms),
  }
}

/** The twelve months of a paid year, dated from the subscription's anchor. */
function yearSteps(
  subscription: SubscriptionFacts,
  invoice: InvoiceFacts,
  line: LineFacts,
  terms: PriceTerms,
): PendingEntitlement[] {
  const amount = amountOf(line, terms)
  if (amount === '0') return []
  const first = monthsBetween(subscription.anchor, line.periodStart)
  return Array.from({ length: 12 }, (_, index) => {
    const periodEnd = index === 11 ? line.periodEnd : addMonths(subscription.anchor, first + index + 1)
    return {
      key: postingKey.entitlement(line.id, index),
      amount,
      dueAt: index === 0 ? line.periodStart : addMonths(subscription.anchor, first + index),
      periodEnd,
      expiresAt: lapsesAt(terms, periodEnd),
      carry: carriedOver(terms.renewal, line.quantity ?? 0),
      payment: invoice.payment,
      source: { ...sourceOf(subscription, invoice, line, terms), month: String(index + 1) },
    }
  })
}

/** When Stripe will next have something to tell, whether or not it tells. Null when it is done with it. */
function nextFromStripe({ at, subscription, invoices }: Observation): Instant | null {
  const soon = addMs(at, AFTER_STRIPE_MS)
  const after = (instant: Instant | null, otherwiseMs: number) =>
    instant === null ? addMs(at, otherwiseMs) : latest(addMs(instant, AFTER_STRIPE_MS), soon)

  const unsettled = invoices.map((invoice) => {
    if (invoice.status === 'draft') return after(invoice.finalizesAt, HOUR_MS)
    if (invoice.status === 'open') return after(invoice.nextAttemptAt, 6 * HOUR_MS)
    return null
  })
  if (hasEnded(subscription.status)) return earliest(...unsettled)
  const turn = earliest(subscription.periodEnd, subscription.cancelAt)
  // an incomplete first payment expires after 23 hours
  const start = subscription.status === 'incomplete' ? addMs(subscription.created, 23 * HOUR_MS) : turn
  return earliest(...unsettled, after(start, HOUR_MS))
}

function mirrorOf(
  seen: Observation,
  account: string,
  deadline: Instant | null,
  attention: string | null,
): Mirror {
  const { subscription } = seen
  const terms = subscription.priceId === null ? undefined : seen.terms[subscription.priceId]
  return {
    id: subscription.id,
    account,
    order: subscription.order,
    plan: terms?.plan ?? null,
    group: terms?.group ?? 'default',
    interval: terms?.interval ?? null,
    priceId: subscription.priceId,
    quantity: subscription.quantity,
    status: subscription.status,
    periodStart: subscription.periodStart,
    periodEnd: subscription.periodEnd,
    anchor: subscription.anchor,
    cancelAt: subscription.cancelAt ?? (subscription.cancelAtPeriodEnd ? subscription.periodEnd : null),
    endedAt: subscription.endedAt,
    created: subscription.created,
    deadline,
    attention: attention ?? (terms === undefined ? 'unknown_price' : null),
    observedAt: seen.at,
  }
}
