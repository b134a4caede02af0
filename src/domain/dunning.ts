/**
 * What is done about an invoice that could not be collected: nothing is granted until it is paid; its customer is told,
 * and reminded on the days that the catalogue names. Pure.
 */
import { addMs, earliest, HOUR_MS, type Instant } from './calendar.ts'
import { noticeKey } from './id.ts'
import type { PlannedNotice } from './notice.ts'
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
    // the attempt that succeeded is counted, too
    return invoice.status === 'paid' && (invoice.attempts ?? 0) > 1 ? [recovery(seen, account, invoice)] : []
  })
}

/** When the next reminder is due; null: none is. */
export function nextReminder(seen: Observation): Instant | null {
  return earliest(
    ...seen.invoices
      .filter(isFailing)
      .flatMap((invoice) => remindersOf(seen, invoice).filter((at) => at > seen.at)),
  )
}

function remindersOf({ reminderDays = [] }: Observation, { finalizedAt }: InvoiceFacts): Instant[] {
  return finalizedAt == null ? [] : reminderDays.map((day) => addMs(finalizedAt, day * 24 * HOUR_MS))
}

function failure({ subscription }: Observation, account: string, invoice: InvoiceFacts): PlannedNotice {
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
      // how long a plan outlives its payment is a setting of Stripe's that no object tells
      graceEndsAt: null,
      payUrl: url ?? null,
    },
  }
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
