// What a payment, a failed payment or the end does to a subscription's status.
import { returnBalance } from './balance.ts'
import { cancelPayment, paymentOf, subscriptionOf } from './invoicing.ts'
import type { Invoice, Subscription, SubscriptionStatus } from './wire.ts'
import type { World } from './world.ts'
import { recover } from './dunning.ts'
import { applyPending, forgetUpdate } from './update-payment.ts'

export function isOver(sub: Subscription): boolean {
  return sub.status === 'canceled' || sub.status === 'incomplete_expired'
}

export function setStatus(
  world: World,
  sub: Subscription,
  status: SubscriptionStatus,
  more: Partial<Subscription> = {},
): Subscription {
  return world.update('subscription', sub.id, { status, ...more }, 'customer.subscription.updated')
}

export function afterPayment(world: World, invoice: Invoice): void {
  const sub = subscriptionOf(world, invoice)
  if (!sub || isOver(sub)) return
  if (sub._update?.invoice === invoice.id) applyPending(world, sub)
  world.deadlines.clear('subscription.expire', sub.id)
  if (sub.status === 'incomplete') saveMethod(world, sub, invoice)
  const now = world.need('subscription', sub.id)
  if (now.status === 'incomplete') setStatus(world, now, 'active')
  recover(world, sub.id)
  const customer = world.store.get('customer', sub.customer)
  if (customer?.delinquent === true && openInvoices(world, sub.id).length === 0)
    world.update('customer', sub.customer, { delinquent: false }, 'customer.updated')
}

/** `payment_settings[save_default_payment_method]=on_subscription` keeps the card that paid first. */
function saveMethod(world: World, sub: Subscription, invoice: Invoice): void {
  if (sub.payment_settings?.save_default_payment_method !== 'on_subscription') return
  const intentId = paymentOf(world, invoice.id)?.payment.payment_intent
  const intent = intentId === undefined ? undefined : world.store.get('payment_intent', intentId)
  if (intent?.payment_method)
    world.update('subscription', sub.id, { default_payment_method: intent.payment_method })
}

export function openInvoices(world: World, subId: string): Invoice[] {
  return world.store
    .all('invoice')
    .filter((i) => i.status === 'open' && i.parent?.subscription_details?.subscription === subId)
}

export function voidInvoice(world: World, invoice: Invoice): Invoice {
  world.deadlines.clear('invoice.attempt', invoice.id)
  world.deadlines.clear('invoice.finalize', invoice.id)
  const payment = paymentOf(world, invoice.id)
  if (payment) cancelPayment(world, payment, 'void_invoice')
  returnBalance(world, invoice)
  const after = world.update('invoice', invoice.id, {
    status: 'void',
    auto_advance: false,
    next_payment_attempt: null,
    status_transitions: { ...invoice.status_transitions, voided_at: world.at },
  })
  world.emitChange('invoice.updated', invoice, after)
  world.emit('invoice.voided', after)
  const sub = subscriptionOf(world, after)
  if (!sub) return after
  if (sub._update?.invoice === after.id) forgetUpdate(world, sub)
  if (sub.status === 'incomplete') expire(world, sub)
  recover(world, sub.id)
  return after
}

/** docs.stripe.com/billing/subscriptions/overview: an uncollectible invoice leaves its subscription active */
export function markUncollectible(world: World, invoice: Invoice): Invoice {
  world.deadlines.clear('invoice.attempt', invoice.id)
  const after = world.update('invoice', invoice.id, {
    status: 'uncollectible',
    auto_advance: false,
    next_payment_attempt: null,
    status_transitions: { ...invoice.status_transitions, marked_uncollectible_at: world.at },
  })
  world.emitChange('invoice.updated', invoice, after)
  world.emit('invoice.marked_uncollectible', after)
  const sub = subscriptionOf(world, after)
  if (!sub) return after
  // docs.stripe.com/api/subscriptions/resume: the invoice of a resumption may be given up
  if (sub.status === 'paused' && sub._update?.invoice === after.id) applyPending(world, sub)
  recover(world, sub.id)
  return after
}

/** 23 hours without a first payment. */
export function expireIncomplete(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub?.status !== 'incomplete') return
  for (const invoice of openInvoices(world, subId)) voidInvoice(world, invoice)
  const now = world.need('subscription', subId)
  if (now.status === 'incomplete') expire(world, now)
}

function expire(world: World, sub: Subscription): void {
  for (const purpose of ['period', 'cancel', 'expire', 'upcoming'])
    world.deadlines.clear(`subscription.${purpose}`, sub.id)
  setStatus(world, sub, 'incomplete_expired', { ended_at: world.at })
}
