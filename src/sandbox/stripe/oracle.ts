// The money truth of one customer, read from charges, invoices and sessions; never from counters that an update keeps.
import { subscriptionFacts, type SubscriptionFact } from './oracle-subscription.ts'
import { sum } from './reckon.ts'
import type { BalanceTransaction, Charge, CheckoutSession, Invoice } from './wire.ts'
import type { World } from './world.ts'

interface Line {
  id: string
  price: string | null
  quantity: number | null
  /** Before discounts and exclusive tax. */
  amount: number
  discount: number
  tax: number
  period: { start: number; end: number }
}

/** What was bought, whichever object says so: an invoice, a session, or a payment intent alone. */
interface Bought {
  invoice: string | null
  checkout_session: string | null
  currency: string
  /** What the discounts took, and the tax in the price or on top of it. */
  discount: number
  tax: number
  billing_reason: string | null
  subscription: string | null
  metadata: Record<string, string>
  lines: Line[]
}

/** Money of a charge. `settled` is false while the customer's bank has not given its word. */
interface PaidFact extends Bought {
  payment_intent: string
  charge: string
  amount: number
  settled: boolean
  paid_at: number
}

/** Bought without a charge: wholly discounted, from the balance, or paid out of band. */
interface UnchargedFact extends Bought {
  how: 'nothing_due' | 'balance' | 'out_of_band'
  total: number
  at: number
}

/** What a bill took of the balance (positive), or gave back to it. */
type Taken = Pick<BalanceTransaction, 'invoice' | 'checkout_session' | 'amount'>

export interface Oracle {
  customer: string
  deleted: boolean
  paid: PaidFact[]
  pending: PaidFact[]
  uncharged: UnchargedFact[]
  /** Negative is credit. */
  balance: { currency: string | null; amount: number; taken: Taken[] }
  subscriptions: SubscriptionFact[]
  refunded: unknown[]
  totals: Record<string, { paid: number; refunded: number; net: number }>
}

export function oracle(world: World, id: string): Oracle {
  const customer = world.need('customer', id)
  const deleted = (customer as { deleted?: unknown }).deleted === true
  const charges = world.store.all('charge').filter((charge) => charge.customer === id)
  const facts = charges.map((charge) => chargeFact(world, charge))
  const paid = facts.filter((_, i) => charges[i]?.status === 'succeeded')
  const totals: Oracle['totals'] = {}
  for (const { currency, amount } of paid) {
    const total = (totals[currency] ??= { paid: 0, refunded: 0, net: 0 })
    total.paid += amount
    total.net += amount
  }
  return {
    customer: id,
    deleted,
    paid,
    pending: facts.filter((_, i) => charges[i]?.status === 'pending'),
    uncharged: uncharged(world, id),
    balance: {
      currency: deleted ? null : (customer.currency ?? null),
      amount: deleted ? 0 : customer.balance,
      taken: world.store
        .all('customer_balance_transaction')
        .filter((entry) => entry.customer === id && (entry.invoice ?? entry.checkout_session) !== null)
        .map(({ invoice, checkout_session, amount }) => ({ invoice, checkout_session, amount })),
    },
    subscriptions: subscriptionFacts(world, id),
    refunded: [],
    totals,
  }
}

function chargeFact(world: World, charge: Charge): PaidFact {
  const intent = world.store.get('payment_intent', charge.payment_intent ?? '')
  const invoice = world.store.get('invoice', intent?._invoice ?? '')
  const session = sessionOf(world, (item) => item.payment_intent === charge.payment_intent)
  const bought = invoice
    ? ofInvoice(world, invoice)
    : session
      ? ofSession(session)
      : { ...nothing, currency: charge.currency, metadata: intent?.metadata ?? {} }
  return {
    ...bought,
    payment_intent: charge.payment_intent ?? '',
    charge: charge.id,
    amount: charge.amount,
    settled: charge.status === 'succeeded',
    paid_at: charge._settled ?? charge.created,
  }
}

function uncharged(world: World, customer: string): UnchargedFact[] {
  const invoices = world.store
    .all('invoice')
    .filter((item) => item.customer === customer && item.status === 'paid')
    .filter((item) => item.amount_due === 0 || (item.amount_paid_off_stripe ?? 0) > 0)
    .map((item): UnchargedFact => {
      const how =
        (item.amount_paid_off_stripe ?? 0) > 0 ? 'out_of_band' : item.total === 0 ? 'nothing_due' : 'balance'
      const at = item.status_transitions.paid_at ?? item.created
      return { ...ofInvoice(world, item), how, total: item.total, at }
    })
  const sessions = world.store
    .all('checkout.session')
    .filter((item) => item.customer === customer && item.status === 'complete' && item.mode === 'payment')
    .filter((item) => item.payment_status === 'no_payment_required')
    .map((item): UnchargedFact => ({ ...ofSession(item), how: 'nothing_due', total: 0, at: item.created }))
  return [...invoices, ...sessions]
}

const nothing: Omit<Bought, 'currency' | 'metadata'> = {
  invoice: null,
  checkout_session: null,
  discount: 0,
  tax: 0,
  billing_reason: null,
  subscription: null,
  lines: [],
}

function sessionOf(world: World, is: (session: CheckoutSession) => boolean): CheckoutSession | undefined {
  return world.store.all('checkout.session').find((item) => item.status === 'complete' && is(item))
}

function ofInvoice(world: World, invoice: Invoice): Bought {
  const details = invoice.parent?.subscription_details
  return {
    invoice: invoice.id,
    checkout_session: sessionOf(world, (item) => item.invoice === invoice.id)?.id ?? null,
    currency: invoice.currency,
    discount: sum((invoice.total_discount_amounts ?? []).map(({ amount }) => amount)),
    tax: sum((invoice.total_taxes ?? []).map(({ amount }) => amount)),
    billing_reason: invoice.billing_reason,
    subscription: details?.subscription ?? null,
    metadata: details?.metadata ?? {},
    lines: invoice.lines.data.map((line) => ({
      id: line.id,
      price: line.pricing?.price_details?.price ?? null,
      quantity: line.quantity,
      amount: line.amount,
      discount: sum((line.discount_amounts ?? []).map(({ amount }) => amount)),
      tax: sum((line.taxes ?? []).map(({ amount }) => amount)),
      period: { start: line.period.start, end: line.period.end },
    })),
  }
}

function ofSession(session: CheckoutSession): Bought {
  return {
    invoice: null,
    checkout_session: session.id,
    currency: session.currency ?? '',
    discount: session.total_details?.amount_discount ?? 0,
    tax: session.total_details?.amount_tax ?? 0,
    billing_reason: null,
    subscription: null,
    metadata: session.metadata ?? {},
    lines: session._lines.map((line) => ({
      id: line.id,
      price: line.price?.id ?? null,
      quantity: line.quantity,
      amount: line.amount_subtotal,
      discount: line.amount_discount,
      tax: line.amount_tax,
      period: { start: session.created, end: session.created },
    })),
  }
}
