/** Stripe's subscriptions and their invoices as facts. Decides nothing. */
import type Stripe from 'stripe'
import type { Instant } from '../domain/calendar.ts'
import { isPlanProduct } from '../domain/id.ts'
import type { InvoiceFacts, PendingFacts, SubscriptionFacts } from '../domain/subscription-facts.ts'
import { idOf, instant, METADATA } from './fact.ts'

/** Stripe's subscription with the customer by which its account is found. */
export type StripeSubscription = SubscriptionFacts & { customer: string }

export function subscriptionFacts(subscription: Stripe.Subscription): StripeSubscription {
  const items = subscription.items.data
  // in whatever order Stripe lists them, and whatever else is billed with it
  const item = items.find(({ price }) => isPlanProduct(idOf(price.product) ?? '')) ?? items[0]
  return {
    id: subscription.id,
    account: subscription.metadata[METADATA.account] ?? null,
    order: subscription.metadata[METADATA.order] ?? null,
    customer: idOf(subscription.customer) ?? '',
    status: subscription.status,
    priceId: item?.price.id ?? null,
    quantity: item?.quantity ?? 1,
    periodStart: instant(item?.current_period_start),
    // flexible billing lets items differ: the earliest end is when something next happens
    periodEnd: items.length === 0 ? null : instant(Math.min(...items.map((each) => each.current_period_end))),
    anchor: instant(subscription.billing_cycle_anchor),
    cancelAt: instant(subscription.cancel_at),
    cancelAtPeriodEnd: subscription.cancel_at_period_end,
    endedAt: instant(subscription.ended_at),
    created: instant(subscription.created),
    paused: pausedOf(subscription),
    latestInvoice: idOf(subscription.latest_invoice),
    item: item?.id ?? null,
    pending: pendingOf(subscription, item),
    schedule: idOf(subscription.schedule),
    spent: spentOf(subscription),
  }
}

function pausedOf({
  status,
  pause_collection: pause,
}: Stripe.Subscription): { resumesAt: Instant | null } | null {
  if (pause !== null) return { resumesAt: instant(pause.resumes_at) }
  return status === 'paused' ? { resumesAt: null } : null
}

/** What Stripe will change by itself. A schedule says it only when it was expanded. */
function pendingOf(
  subscription: Stripe.Subscription,
  ours: Stripe.SubscriptionItem | undefined,
): PendingFacts | null {
  const { pending_update: update, schedule } = subscription
  const updated = update?.subscription_items ?? []
  const waiting = updated.find(({ id }) => id === ours?.id) ?? updated[0]
  if (update !== null && waiting !== undefined) {
    return {
      state: 'awaiting_payment',
      priceId: waiting.price.id,
      quantity: waiting.quantity ?? 1,
      effectiveAt: null,
      expiresAt: instant(update.expires_at),
      cause: idOf(subscription.latest_invoice) ?? subscription.id,
    }
  }
  const next = nextPhase(schedule)
  const running = typeof schedule === 'string' ? undefined : schedule?.phases.find(isBefore(next))
  const index = running?.items.findIndex(({ price }) => idOf(price) === ours?.price.id) ?? 0
  const item = next?.items[Math.max(index, 0)] ?? next?.items[0]
  const priceId = idOf(item?.price)
  if (schedule === null || next === undefined || priceId === null) return null
  return {
    state: 'scheduled',
    priceId,
    quantity: item?.quantity ?? 1,
    effectiveAt: instant(next.start_date),
    expiresAt: null,
    cause: idOf(schedule) ?? '',
  }
}

function isBefore(next: Stripe.SubscriptionSchedule.Phase | undefined) {
  return (phase: Stripe.SubscriptionSchedule.Phase) => phase.end_date === next?.start_date
}

/** What a schedule is to do next. It says so only when it was expanded. */
function nextPhase(schedule: Stripe.Subscription['schedule']): Stripe.SubscriptionSchedule.Phase | undefined {
  if (schedule === null || typeof schedule === 'string' || schedule.status !== 'active') return undefined
  const now = schedule.current_phase?.end_date ?? 0
  return schedule.phases.find((phase) => phase.start_date >= now)
}

/** A schedule of ours that has done what it was made for: at its end it would let go, which may be a year from now. */
function spentOf({ schedule }: Stripe.Subscription): string | null {
  if (schedule === null || typeof schedule === 'string' || schedule.status !== 'active') return null
  const isOurs = schedule.metadata?.[METADATA.command] !== undefined
  const isSpent = schedule.end_behavior === 'release' && nextPhase(schedule) === undefined
  return isOurs && isSpent ? schedule.id : null
}

export function invoiceFacts(invoice: Stripe.Invoice, lines: Stripe.InvoiceLineItem[]): InvoiceFacts {
  const paid = invoice.payments?.data.find((payment) => payment.status === 'paid')
  const open = invoice.payments?.data.find((payment) => payment.status === 'open')
  return {
    id: invoice.id,
    status: invoice.status ?? 'draft',
    reason: invoice.billing_reason ?? 'manual',
    currency: invoice.currency,
    amountPaid: String(invoice.amount_paid),
    payment: idOf(paid?.payment.payment_intent) ?? invoice.id,
    paidAt: instant(invoice.status_transitions.paid_at),
    finalizesAt: instant(invoice.automatically_finalizes_at),
    nextAttemptAt: instant(invoice.next_payment_attempt),
    attempts: invoice.attempt_count,
    amountDue: String(invoice.amount_due),
    finalizedAt: instant(invoice.status_transitions.finalized_at),
    url: invoice.hosted_invoice_url ?? null,
    intent: idOf(open?.payment.payment_intent),
    lines: lines.map((line) => {
      // a proration is an invoice item of a subscription; one of none is nothing of ours
      const one = line.parent?.subscription_item_details ?? line.parent?.invoice_item_details
      const item = one?.subscription == null ? null : one
      return {
        id: line.id,
        priceId: item == null ? null : idOf(line.pricing?.price_details?.price),
        proration: item?.proration ?? false,
        quantity: line.quantity,
        amount: String(line.amount),
        discount: String((line.discount_amounts ?? []).reduce((sum, each) => sum + each.amount, 0)),
        periodStart: instant(line.period.start),
        periodEnd: instant(line.period.end),
      }
    }),
  }
}
