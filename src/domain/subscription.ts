/**
 * What a subscription's facts do to its credits: a pure function from what Postgres and Stripe say to a plan of
 * postings, a mirror row and the next deadline (law 6). Runs inside the workflow.
 */
import { addMs, earliest, HOUR_MS, type Instant, latest, MINUTE_MS } from './calendar.ts'
import { nextReminder, owedPayment } from './dunning.ts'
import { GivenBack } from './given-back.ts'
import { postingKey } from './id.ts'
import { Months } from './months.ts'
import { type OurLine, periodSteps, readLines } from './period-grant.ts'
import { settlementKey, settleProrations } from './proration.ts'
import { hasEnded } from './status.ts'
import { noticesOf } from './subscription-notice.ts'
import type {
  GrantStep,
  InvoiceFacts,
  Mirror,
  Observation,
  PaymentStep,
  PendingChange,
  SettlementStep,
  SubscriptionPlan,
} from './subscription-facts.ts'

/** Stripe needs a moment after its own deadline; ours comes that much later, in milliseconds. */
const AFTER_STRIPE_MS = 2 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/**
 * For so many days after a subscription's end its unpaid invoices are looked at once a day. Who has not paid by then
 * hardly ever does; if he does, Stripe's event starts the workflow again.
 */
export const LOOK_DAYS = 30

/** Decides what is left to do. Undefined when the subscription belongs to no account of ours. */
export function decideSubscription(seen: Observation): SubscriptionPlan | undefined {
  const { subscription } = seen
  if (subscription.account === null) return undefined
  const known = new Set(seen.known)
  const payments: PaymentStep[] = []
  const grants: GrantStep[] = []
  const settlements: SettlementStep[] = []
  const attention: string[] = []
  const owed = new GivenBack(seen.owed ?? '0')
  const months = new Months(seen.pending)

  for (const invoice of paidInOrder(seen)) {
    payments.push({
      id: invoice.payment,
      invoice: invoice.id,
      amountMinor: invoice.amountPaid,
      currency: invoice.currency,
      paidAt: invoice.paidAt ?? seen.at,
    })
    const bill = { subscription, invoice }
    const { periods, prorations, wrong, wrongProrations } = readLines(invoice, seen.terms)
    attention.push(...wrong, ...wrongProrations)
    const key = settlementKey(bill, prorations)
    if (key !== undefined && wrongProrations.length === 0 && !known.has(key)) {
      const steps = settleProrations(bill, prorations, periods, months.all, owed)
      months.cut(steps.cuts)
      months.add(steps.entitlements)
      grants.push(...steps.grants)
      settlements.push(steps.settlement)
    }
    // another interval begins a period of its own in the middle of one whose rest is given back
    const switched = invoice.reason === 'subscription_update' && prorations.length > 0
    for (const our of periods) {
      if (isKnown(known, our)) continue
      const steps = periodSteps(bill, our, owed, switched)
      months.add(steps.entitlements)
      grants.push(...steps.grants)
      settlements.push(...steps.settlements)
    }
  }

  for (const month of months.all) {
    if (month.dueAt > seen.at) continue
    grants.push({ carry: '0', ...month, periodStart: month.dueAt, reason: 'entitlement_due' })
  }
  // Oldest first: whoever comes later succeeds whoever came before, as it would have been had nothing been late.
  grants.sort((a, b) => (a.periodStart < b.periodStart ? -1 : a.periodStart > b.periodStart ? 1 : 0))

  const nextMonth = earliest(
    ...months.all.filter((month) => month.dueAt > seen.at).map((month) => month.dueAt),
  )
  const deadline = earliest(nextMonth, nextFromStripe(seen), nextReminder(seen))
  const now = mirrorOf(seen, subscription.account, deadline, attention[0] ?? null)
  const { added: entitlements, cuts } = months
  const letGo = subscription.spent ?? null
  const { notices, news } = noticesOf(seen, now, grants)
  const mirror = { ...now, news }
  const seenOwed = seen.owed === undefined ? {} : { owed: seen.owed }
  return {
    payments,
    entitlements,
    grants,
    settlements,
    cuts,
    notices,
    mirror,
    letGo,
    ...seenOwed,
    over: deadline === null,
  }
}

/** Paid invoices as they were paid: what was given back before a payment is made good by it. */
function paidInOrder({ at, invoices }: Observation): InvoiceFacts[] {
  const key = ({ paidAt, id }: InvoiceFacts) => `${paidAt ?? at} ${id}`
  return invoices
    .filter((invoice) => invoice.status === 'paid')
    .toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** Whether a line of a period was granted, written or used up before. */
function isKnown(known: ReadonlySet<string>, { line, terms }: OurLine): boolean {
  if (known.has(postingKey.invoiceLine(line.id))) return true
  return (
    terms.interval === 'year' &&
    Array.from({ length: 12 }, (_, index) => postingKey.entitlement(line.id, index)).some((key) =>
      known.has(key),
    )
  )
}

/** When Stripe will next have something to tell, whether or not it tells. Null when it is done with it. */
function nextFromStripe({ at, subscription, invoices, lookDays }: Observation): Instant | null {
  const soon = addMs(at, AFTER_STRIPE_MS)
  const ended = hasEnded(subscription.status)
  const { endedAt } = subscription
  const isLeft =
    ended && lookDays !== undefined && endedAt !== null && addMs(endedAt, lookDays * DAY_MS) <= at
  const after = (instant: Instant | null, otherwiseMs: number) => {
    if (isLeft && (instant === null || instant <= at)) return null
    return instant === null ? addMs(at, otherwiseMs) : latest(addMs(instant, AFTER_STRIPE_MS), soon)
  }

  const unsettled = invoices.map((invoice) => {
    if (invoice.status === 'draft') return after(invoice.finalizesAt, HOUR_MS)
    // who is not tried again is paid by hand, if ever: an event tells of it, and a look a day if that was lost
    if (invoice.status === 'open') return after(invoice.nextAttemptAt, DAY_MS)
    return null
  })
  if (ended) return earliest(...unsettled)
  // its period is over and no other begins by itself: an event tells when it goes on
  if (subscription.status === 'paused') return earliest(...unsettled, after(subscription.cancelAt, DAY_MS))
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
    // a price of nobody's says nothing of the group: it stays where it was
    group: terms?.group ?? seen.before?.group ?? 'default',
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
    pending: pendingChange(seen),
    paused: subscription.paused != null,
    payment: owedPayment(seen),
  }
}

function pendingChange({ subscription, terms, invoices }: Observation): PendingChange | null {
  const { pending } = subscription
  if (pending == null) return null
  const to = terms[pending.priceId]
  const owed = invoices.find((invoice) => invoice.id === pending.cause)
  return {
    ...pending,
    plan: to?.plan ?? null,
    interval: to?.interval ?? null,
    paymentUrl: owed?.url ?? null,
  }
}
