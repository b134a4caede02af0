/**
 * What is done about an invoice that could not be collected: nothing is granted until it is paid; its customer is told,
 * and reminded on the days that the catalogue names while the subscription lives. When it has ended Stripe collects
 * nothing more for it, and the customer was told so: he may pay what is open, and is not asked to again. Pure.
 */
import { addMs, earliest, HOUR_MS, type Instant } from './calendar.ts'
import { noticeKey } from './id.ts'
import type { PlannedNotice } from './notice.ts'
import { hasEnded } from './status.ts'
import type { InvoiceFacts, Observation, OwedPayment } from './subscription-facts.ts'

/** An invoice that Stripe tried to collect and could not. */
function isFailing(invoice: InvoiceFacts): boolean {
  return invoice.status === 'open' && (invoice.actionRequired === true || (invoice.attempts ?? 0) > 0)
}

/** What is owed for the periods of a subscription; null: nothing. What a pending change waits for is not owed. */
export function owedPayment({ invoices, subscription }: Observation): OwedPayment | null {
  const { pending } = subscription
  const waitsFor = pending?.state === 'awaiting_payment' ? pending.cause : undefined
  const owed = invoices.find((invoice) => isFailing(invoice) && invoice.id !== waitsFor)
  if (owed === undefined) return null
  return {
    status: owed.actionRequired === true ? 'action_required' : 'failed',
    invoice: owed.id,
    amountMinor: owed.amountDue ?? '0',
    currency: owed.currency,
    url: owed.url ?? null,
    attempts: owed.attempts ?? 0,
    nextAttemptAt: owed.nextAttemptAt,
  }
}

/** What customers are told of payments that failed, are still to be made, and arrived. */
export function paymentNotices(seen: Observation, account: string): PlannedNotice[] {
  return seen.invoices.flatMap((invoice) => {
    if (isFailing(invoice)) return [failure(seen, account, invoice), ...reminder(seen, account, invoice)]
    // how often it was tried does not tell: Stripe counts no payment on its page after a first attempt that failed
    return invoice.status === 'paid' && invoice.failureTold === true ? [recovery(seen, account, invoice)] : []
  })
}

/** Keys of what its customer may have been told of an invoice that could not be collected. */
export function failureKeys({ id, attempts = 0 }: InvoiceFacts): string[] {
  const failed = Array.from({ length: attempts }, (_, index) =>
    noticeKey.paymentFailed(id, String(index + 1)),
  )
  return [noticeKey.actionRequired(id), ...failed]
}

/** When the next reminder is due; null: none is. */
export function nextReminder(seen: Observation): Instant | null {
  return earliest(
    ...seen.invoices
      .filter(isFailing)
      .flatMap((invoice) => remindersOf(seen, invoice).filter((at) => at > seen.at)),
  )
}

function remindersOf(
  { reminderDays = [], subscription }: Observation,
  { finalizedAt }: InvoiceFacts,
): Instant[] {
  return finalizedAt == null || hasEnded(subscription.status)
    ? []
    : reminderDays.map((day) => addMs(finalizedAt, day * 24 * HOUR_MS))
}

function failure(seen: Observation, account: string, invoice: InvoiceFacts): PlannedNotice {
  const { subscription } = seen
  const { id, url, nextAttemptAt, actionRequired } = invoice
  const cause = { invoice: id, subscription: subscription.id }
  if (actionRequired === true) {
    const data = { ...moneyOf(invoice), payment: id, subscription: subscription.id, payUrl: url ?? null }
    return { account, kind: 'payment_action_required', key: noticeKey.actionRequired(id), cause, data }
  }
  const attempt = String(invoice.attempts ?? 0)
  return {
    account,
    kind: 'payment_failed',
    key: noticeKey.paymentFailed(id, attempt),
    cause,
    data: {
      ...moneyOf(invoice),
      invoice: id,
      subscription: subscription.id,
      attempt,
      nextAttemptAt,
      graceEndsAt: graceOf(seen, invoice),
      payUrl: url ?? null,
    },
  }
}

/** A renewal that is not paid leaves what was granted before it until its grace is over; no other invoice ends anything. */
function graceOf({ at, creditsUntil = null }: Observation, { reason }: InvoiceFacts): Instant | null {
  return reason === 'subscription_cycle' && creditsUntil !== null && creditsUntil > at ? creditsUntil : null
}

/** The last reminder that is due: who was away for several of them sends one. */
function reminder(seen: Observation, account: string, invoice: InvoiceFacts): PlannedNotice[] {
  const index = remindersOf(seen, invoice).filter((at) => at <= seen.at).length - 1
  if (index < 0) return []
  const { id, url, nextAttemptAt } = invoice
  const subscription = seen.subscription.id
  return [
    {
      account,
      kind: 'payment_reminder',
      key: noticeKey.paymentReminder(id, index),
      cause: { invoice: id, subscription },
      data: {
        ...moneyOf(invoice),
        invoice: id,
        subscription,
        reminder: String(index + 1),
        nextAttemptAt,
        payUrl: url ?? null,
      },
    },
  ]
}

function recovery({ subscription }: Observation, account: string, invoice: InvoiceFacts): PlannedNotice {
  const { id, amountPaid, currency } = invoice
  return {
    account,
    kind: 'payment_recovered',
    key: noticeKey.paymentRecovered(id),
    cause: { invoice: id, subscription: subscription.id },
    data: { invoice: id, subscription: subscription.id, amountMinor: amountPaid, currency },
  }
}

function moneyOf({ amountDue = '0', currency }: InvoiceFacts) {
  return { amountMinor: amountDue, currency }
}
