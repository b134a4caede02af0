// The truth about one customer's subscriptions: what each has now, and what every invoice of it billed, line by line,
// and whether that was paid.
import type { Invoice, InvoiceLine, Subscription } from './wire.ts'
import type { World } from './world.ts'

export interface SubscriptionFact {
  id: string
  status: string
  /** It goes on by itself: neither over nor unpaid, paused or never begun. */
  live: boolean
  cancel_at: number | null
  ended_at: number | null
  collects: boolean
  schedule: string | null
  /** What a change that still waits for its payment would make of it. */
  pending: { invoice: string; expires_at: number; items: { price: string; quantity: number }[] } | null
  items: { price: string; quantity: number; current_period_start: number; current_period_end: number }[]
  invoices: InvoiceFact[]
}

export interface InvoiceFact {
  id: string
  status: string | null
  billing_reason: string | null
  total: number
  due: number
  paid: boolean
  paid_at: number | null
  attempts: number
  next_attempt: number | null
  lines: LineFact[]
}

export interface LineFact {
  id: string
  price: string | null
  quantity: number | null
  /** After discounts, without exclusive tax; negative for a credit. */
  net: number
  period: { start: number; end: number }
  proration: boolean
  /** The lines whose unused time it gives back. */
  credits: string[]
}

const LIVE = new Set(['active', 'trialing', 'past_due'])

export function subscriptionFacts(world: World, customer: string): SubscriptionFact[] {
  return world.store
    .all('subscription')
    .filter((sub) => sub.customer === customer)
    .map((sub) => factOf(world, sub))
}

function factOf(world: World, sub: Subscription): SubscriptionFact {
  const { pending_update: pending, _update: update } = sub
  return {
    id: sub.id,
    status: sub.status,
    live: LIVE.has(sub.status),
    cancel_at: sub.cancel_at,
    ended_at: sub.ended_at,
    collects: sub.pause_collection === null,
    schedule: sub.schedule,
    pending:
      pending && update
        ? {
            invoice: update.invoice,
            expires_at: pending.expires_at,
            items: (pending.subscription_items ?? []).map(plain),
          }
        : null,
    items: sub.items.data.map((item) => ({
      ...plain(item),
      current_period_start: item.current_period_start,
      current_period_end: item.current_period_end,
    })),
    invoices: world.store
      .all('invoice')
      .filter((invoice) => invoice.parent?.subscription_details?.subscription === sub.id)
      .map(invoiceFact),
  }
}

function plain(item: { price: { id: string }; quantity?: number }): { price: string; quantity: number } {
  return { price: item.price.id, quantity: item.quantity ?? 1 }
}

function invoiceFact(invoice: Invoice): InvoiceFact {
  return {
    id: invoice.id,
    status: invoice.status,
    billing_reason: invoice.billing_reason,
    total: invoice.total,
    due: invoice.amount_due,
    paid: invoice.status === 'paid',
    paid_at: invoice.status_transitions.paid_at,
    attempts: invoice.attempt_count,
    next_attempt: invoice.next_payment_attempt,
    lines: invoice.lines.data.map(lineFact),
  }
}

function lineFact(line: InvoiceLine): LineFact {
  const { proration = false, proration_details: details } = line.parent?.subscription_item_details ?? {}
  const off = (line.discount_amounts ?? []).reduce((sum, { amount }) => sum + amount, 0)
  return {
    id: line.id,
    price: line.pricing?.price_details?.price ?? null,
    quantity: line.quantity,
    net: line.amount - off,
    period: { start: line.period.start, end: line.period.end },
    proration,
    credits: details?.credited_items?.invoice_line_items ?? [],
  }
}
