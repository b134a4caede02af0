// The life of an invoice after its draft: finalised, attempted, paid. Calls back into the subscription when money decides.
import { attach } from './payment-method.ts'
import { applyBalance, type Applied } from './balance.ts'
import { refused } from './error.ts'
import { collect, newIntent, type Outcome } from './payment.ts'
import { afterFailure, nextAttempt } from './dunning.ts'
import { afterPayment } from './subscription-state.ts'
import { spendDiscounts } from './terms.ts'
import { isTestCard } from './card.ts'
import type { Invoice, InvoicePayment, PaymentMethod, Subscription } from './wire.ts'
import type { World } from './world.ts'

export function subscriptionOf(world: World, invoice: Invoice): Subscription | undefined {
  const id = invoice.parent?.subscription_details?.subscription
  return id === undefined ? undefined : world.store.get('subscription', id)
}

/** Draft to open (or straight to paid when nothing is due). `prepaid`: Checkout collected it before. */
export function finalize(
  world: World,
  id: string,
  prepaid?: { intent: string | undefined; applied: Applied },
): Invoice {
  const draft = world.need('invoice', id)
  if (draft.status !== 'draft')
    throw refused("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
  world.deadlines.clear('invoice.finalize', id)
  const customer = world.need('customer', draft.customer ?? '')
  const sequence = customer.next_invoice_sequence ?? 1
  const { due, starting, ending } =
    prepaid?.applied ?? applyBalance(world, customer, draft.total, draft.currency, { invoice: id })
  const open = world.update('invoice', id, {
    status: 'open',
    number: `${customer.invoice_prefix ?? ''}-${String(sequence).padStart(4, '0')}`,
    amount_due: due,
    amount_remaining: due,
    starting_balance: starting,
    ending_balance: ending,
    automatically_finalizes_at: null,
    effective_at: world.at,
    hosted_invoice_url: `${world.origin()}/i/${id}`,
    invoice_pdf: `https://pay.stripe.com/invoice/${id}/pdf`,
    status_transitions: { ...draft.status_transitions, finalized_at: world.at },
  })
  const { currency } = world.need('customer', customer.id)
  world.update('customer', customer.id, { currency: currency ?? draft.currency }, 'customer.updated')
  world.update('customer', customer.id, { next_invoice_sequence: sequence + 1 })
  if (draft.automatically_finalizes_at !== null) world.emitChange('invoice.updated', draft, open)
  world.emit('invoice.finalized', open)
  spendDiscounts(world, open)
  if (due === 0) return settle(world, id)
  const intent =
    prepaid?.intent ??
    newIntent(world, {
      amount: due,
      currency: open.currency,
      customer: customer.id,
      description:
        open.billing_reason === 'subscription_create' ? 'Subscription creation' : 'Subscription update',
      setup_future_usage: open.billing_reason === 'subscription_create' ? 'off_session' : null,
    }).id
  const payment: InvoicePayment = {
    id: world.id('inpay'),
    object: 'invoice_payment',
    amount_paid: null,
    amount_requested: due,
    created: world.at,
    currency: open.currency,
    invoice: id,
    is_default: true,
    livemode: false,
    payment: { payment_intent: intent, type: 'payment_intent' },
    status: 'open',
    status_transitions: { canceled_at: null, paid_at: null },
  }
  world.create('invoice_payment', payment)
  world.update('payment_intent', intent, { _invoice: id })
  return world.update('invoice', id, { _payment: payment.id })
}

/** The invoice's payment that can still be, or was, collected. */
export function paymentOf(world: World, invoiceId: string): InvoicePayment | undefined {
  const id = world.store.get('invoice', invoiceId)?._payment
  return id === undefined ? undefined : world.store.get('invoice_payment', id)
}

export function invoiceOfIntent(world: World, intentId: string): Invoice | undefined {
  const id = world.store.get('payment_intent', intentId)?._invoice
  return id === undefined ? undefined : world.store.get('invoice', id)
}

/**
 * How often an invoice was tried, after one more attempt: the first one counts whoever makes it, and then only automatic
 * retries. stripe-node's types, Invoice.attempt_count
 */
function countAttempt({ attempt_count: before }: Invoice, automatic: boolean): number {
  return automatic || before === 0 ? before + 1 : before
}

/** Open to paid, with all that Stripe says about it. `outOfBand`: no money moved through Stripe. */
export function settle(
  world: World,
  id: string,
  { outOfBand = false, automatic = false }: { outOfBand?: boolean; automatic?: boolean } = {},
): Invoice {
  const open = world.need('invoice', id)
  world.deadlines.clear('invoice.attempt', id)
  const payment = paymentOf(world, id)
  const collected = payment !== undefined && !outOfBand
  const paid = world.update('invoice', id, {
    status: 'paid',
    amount_paid: open.amount_due,
    amount_paid_off_stripe: outOfBand ? open.amount_due : 0,
    amount_remaining: 0,
    attempted: true,
    attempt_count: collected ? countAttempt(open, automatic) : open.attempt_count,
    auto_advance: false,
    next_payment_attempt: null,
    status_transitions: { ...open.status_transitions, paid_at: world.at },
  })
  world.emitChange('invoice.updated', open, paid)
  world.emit('invoice.paid', paid)
  if (!outOfBand) world.emit('invoice.payment_succeeded', paid)
  if (payment && collected) {
    const done = world.update('invoice_payment', payment.id, {
      status: 'paid',
      amount_paid: open.amount_due,
      status_transitions: { ...payment.status_transitions, paid_at: world.at },
    })
    world.emit('invoice_payment.paid', done)
  } else if (payment) cancelPayment(world, payment, 'automatic')
  afterPayment(world, paid)
  return world.need('invoice', id)
}

export function cancelPayment(
  world: World,
  payment: InvoicePayment,
  reason: 'automatic' | 'void_invoice',
): void {
  world.update('invoice_payment', payment.id, {
    status: 'canceled',
    status_transitions: { ...payment.status_transitions, canceled_at: world.at },
  })
  const intentId = payment.payment.payment_intent
  if (intentId === undefined) return
  const intent = world.update('payment_intent', intentId, {
    status: 'canceled',
    canceled_at: world.at,
    cancellation_reason: reason,
  })
  world.emit('payment_intent.canceled', intent)
}

/** The card an invoice is charged to: its own, the subscription's, the customer's. */
export function methodFor(world: World, invoice: Invoice): PaymentMethod | undefined {
  const sub = subscriptionOf(world, invoice)
  const customer = invoice.customer === null ? undefined : world.store.get('customer', invoice.customer)
  const id =
    invoice.default_payment_method ??
    sub?.default_payment_method ??
    customer?.invoice_settings?.default_payment_method
  return id === null || id === undefined ? undefined : world.store.get('payment_method', id)
}

/** One attempt to collect an open invoice. */
export function attempt(
  world: World,
  id: string,
  how: {
    method?: PaymentMethod | undefined
    offSession: boolean
    automatic: boolean
    challenge?: boolean
    authenticated?: boolean
  },
): { outcome: Outcome | 'no_method'; invoice: Invoice } {
  const open = world.need('invoice', id)
  const intentId = paymentOf(world, id)?.payment.payment_intent
  const method = how.method ?? methodFor(world, open)
  if (intentId === undefined) throw refused('This invoice has no payment to collect.')
  if (!method) return { outcome: 'no_method', invoice: missed(world, open, how.automatic, 'no_method') }
  if (method.customer === null && open.customer !== null && !isTestCard(method).decline)
    attach(world, method, open.customer)
  const { outcome } = collect(world, intentId, method, {
    offSession: how.offSession,
    authenticated: how.authenticated ?? false,
    challenge: how.challenge ?? how.automatic,
  })
  if (outcome === 'succeeded') return { outcome, invoice: settle(world, id, { automatic: how.automatic }) }
  return { outcome, invoice: missed(world, open, how.automatic, outcome) }
}

function missed(world: World, open: Invoice, automatic: boolean, outcome: Outcome | 'no_method'): Invoice {
  const count = countAttempt(open, automatic)
  const next = automatic ? nextAttempt(world, open, count) : open.next_payment_attempt
  if (automatic && next !== null) world.deadlines.set('invoice.attempt', open.id, next * 1000)
  const after = world.update('invoice', open.id, {
    attempted: true,
    attempt_count: count,
    next_payment_attempt: next,
  })
  world.emitChange('invoice.updated', open, after)
  if (outcome === 'requires_action') world.emit('invoice.payment_action_required', after)
  world.emit('invoice.payment_failed', after)
  afterFailure(world, after, automatic && next === null)
  return world.need('invoice', open.id)
}
