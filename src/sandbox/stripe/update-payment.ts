// A change and the payment it asks for: done at once, done and owed, refused, or waiting until it is paid.
// docs.stripe.com/billing/subscriptions/change-price (immediate payment), docs.stripe.com/billing/subscriptions/pending-updates
import { invalid, notSimulated, StripeFault } from './error.ts'
import { newInvoiceItem, returnItems } from './invoice-item.ts'
import { attempt, finalize, methodFor, paymentOf } from './invoicing.ts'
import { withhold, withoutPause } from './pause.ts'
import { declineError } from './payment.ts'
import { planNext } from './cycle.ts'
import { pendingOf } from './proration.ts'
import { followChange } from './schedule-run.ts'
import type { PaymentBehavior } from './subscribing.ts'
import { setStatus, voidInvoice } from './subscription-state.ts'
import { applyUpdate, invoiceUpdate, type UpdatePlan } from './subscription-update.ts'
import type { Invoice, Subscription } from './wire.ts'
import type { World } from './world.ts'

export interface HowToPay {
  behavior: PaymentBehavior
  offSession: boolean
  /** The payment is not attempted, but awaited. */
  waits?: boolean
  /** Nobody asks right now: a missing payment method is a payment that failed, not an error. */
  alone?: true
}

const HOUR = 3600

/** Carries a planned change out. `before`: the subscription as it is. */
export function carryOut(
  world: World,
  before: Subscription,
  plan: UpdatePlan,
  how: HowToPay,
  asked: PendingFields,
): void {
  if (plan.invoices && how.behavior === 'pending_if_incomplete') {
    if (before.pause_collection)
      throw notSimulated('pending updates while payments are not collected', 'payment_behavior')
    payFirst(world, before, plan, how, asked)
    return
  }
  const after = applyUpdate(world, before, plan)
  if (!plan.invoices) {
    world.emitChange('customer.subscription.updated', before, after)
    return
  }
  const draft = invoiceUpdate(world, plan)
  const changed = world.update('subscription', after.id, { latest_invoice: draft.id })
  world.emitChange('customer.subscription.updated', before, changed)
  world.emit('invoice.created', draft)
  if (changed.pause_collection) withhold(world, changed, draft)
  else collect(world, finalize(world, draft.id), how)
}

/** Collects what the change costs; without success the subscription owes it. */
function collect(world: World, open: Invoice, how: HowToPay): void {
  if (open.status !== 'open' || open.collection_method !== 'charge_automatically') return
  const sub = world.need('subscription', open.parent?.subscription_details?.subscription ?? '')
  if (how.behavior === 'default_incomplete') {
    if (sub.status === 'active') setStatus(world, sub, 'past_due')
    return
  }
  const automatic = how.behavior === 'allow_incomplete'
  const method = how.alone ? methodFor(world, open) : needMethod(world, open)
  const { outcome } = attempt(world, open.id, { offSession: how.offSession, automatic, challenge: true })
  if (outcome === 'succeeded' || automatic || !method) return
  const intentId = paymentOf(world, open.id)?.payment.payment_intent ?? ''
  const { status, body } = declineError(method, world.need('payment_intent', intentId))
  throw new StripeFault(status, body)
}

function needMethod(world: World, open: Invoice): NonNullable<ReturnType<typeof methodFor>> {
  const method = methodFor(world, open)
  if (method) return method
  const why =
    'This customer has no attached payment source or default payment method. Please consider adding a default payment method.'
  throw invalid(why, undefined, 'resource_missing')
}

export type PendingFields = Partial<Pick<Subscription, 'metadata' | 'cancel_at_period_end'>>

/** The invoice first: the change is applied when it is paid, which may be now, later or never. */
function payFirst(
  world: World,
  before: Subscription,
  plan: UpdatePlan,
  how: HowToPay,
  asked: PendingFields,
): void {
  const swept = pendingOf(world, before.id).map((item) => item.id)
  for (const proration of plan.prorations) newInvoiceItem(world, plan.after, proration)
  const draft = invoiceUpdate(world, plan)
  const held = world.update('subscription', before.id, {
    latest_invoice: draft.id,
    _update: { invoice: draft.id, patch: patchOf(before, plan.after), swept },
  })
  world.emit('invoice.created', draft)
  const open = finalize(world, draft.id)
  if (open.status === 'open' && open.collection_method === 'charge_automatically' && !how.waits) {
    needMethod(world, open)
    attempt(world, open.id, { offSession: how.offSession, automatic: false, challenge: true })
  }
  if (!world.need('subscription', before.id)._update) return
  const expires = expiry(world, held)
  const after = world.update('subscription', before.id, {
    pending_update: {
      billing_cycle_anchor:
        plan.after.billing_cycle_anchor === before.billing_cycle_anchor
          ? null
          : plan.after.billing_cycle_anchor,
      cancel_at_period_end: asked.cancel_at_period_end ?? null,
      discount: null,
      discounts: null,
      expires_at: expires,
      metadata: asked.metadata ?? null,
      subscription_items: plan.after.items.data,
      trial_end: null,
      trial_from_plan: null,
    },
  })
  world.deadlines.set('subscription.update_expires', before.id, expires * 1000)
  world.emitChange('customer.subscription.updated', before, after)
}

/** What the change will put on the subscription: only what it changes, for other things may change meanwhile. */
function patchOf(before: Subscription, after: Subscription): Partial<Subscription> {
  return Object.fromEntries(
    Object.entries(after).filter(
      ([key, value]) =>
        JSON.stringify(value) !== JSON.stringify(before[key as keyof Subscription]) &&
        key !== 'latest_invoice',
    ),
  )
}

/** 23 hours, or the end of the trial or of the earliest period if that comes first. */
function expiry(world: World, sub: Subscription): number {
  const paused = sub.status === 'paused'
  const ends = paused ? [] : sub.items.data.map((item) => item.current_period_end)
  const trial = sub.status === 'trialing' && sub.trial_end !== null ? [sub.trial_end] : []
  return Math.min(world.at + 23 * HOUR, ...ends, ...trial)
}

/** The invoice of a waiting change was paid. */
export function applyPending(world: World, sub: Subscription): void {
  const { _update: update, ...held } = sub
  if (!update) return
  world.deadlines.clear('subscription.update_expires', sub.id)
  const resumes = sub.status === 'paused' && update.patch.status === 'active'
  const rest = resumes ? withoutPause(held) : held
  const after: Subscription = { ...rest, ...update.patch, pending_update: null }
  world.store.put('subscription', sub.id, after)
  planNext(world, after)
  world.emitChange('customer.subscription.updated', sub, after)
  if (sub.pending_update) world.emit('customer.subscription.pending_update_applied', after)
  if (sub.pending_update && resumes) world.emit('customer.subscription.resumed', after)
  followChange(world, sub.id)
}

/** The change is given up: its invoice is voided, nothing of it happened. */
export function discardUpdate(world: World, subId: string): void {
  const invoiceId = world.store.get('subscription', subId)?._update?.invoice
  const invoice = invoiceId === undefined ? undefined : world.store.get('invoice', invoiceId)
  if (invoice?.status === 'open') voidInvoice(world, invoice)
}

/** The invoice of a waiting change was voided, by time or by somebody. */
export function forgetUpdate(world: World, sub: Subscription): void {
  const { _update: update, ...rest } = sub
  if (!update) return
  world.deadlines.clear('subscription.update_expires', sub.id)
  returnItems(world, update.swept)
  const after: Subscription = { ...rest, pending_update: null }
  world.store.put('subscription', sub.id, after)
  world.emitChange('customer.subscription.updated', sub, after)
  world.emit('customer.subscription.pending_update_expired', after)
}
