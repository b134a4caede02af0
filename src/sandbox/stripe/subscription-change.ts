// Changes to a running subscription: its end date, its trial, its card, its words.
import { cancelDate, endSubscription, scheduleEnd } from './cancel.ts'
import { finalInvoice, hasMethod, periodFrom, periodOf, planNext, withPeriod } from './cycle.ts'
import { invalid, refused } from './error.ts'
import { dropPending, newInvoiceItem } from './invoice-item.ts'
import { attempt, finalize } from './invoicing.ts'
import { mergeMetadata, type Read } from './param.ts'
import { changedTerms, type termsShape } from './terms.ts'
import { changedItems } from './item-change.ts'
import { planCollection } from './pause.ts'
import { creditsFor, pendingOf } from './proration.ts'
import { followChange, scheduleOf } from './schedule-run.ts'
import { firstInvoice, type PaymentBehavior } from './subscribing.ts'
import { isOver } from './subscription-state.ts'
import { changesBilling, movesEnd, planUpdate, type BillingChange } from './subscription-update.ts'
import { carryOut, discardUpdate } from './update-payment.ts'
import type { Feedback, Subscription } from './wire.ts'
import type { World } from './world.ts'

export interface Change extends BillingChange, Partial<Read<typeof termsShape>> {
  cancel_at?: number | 'min_period_end' | 'max_period_end' | null | undefined
  cancel_at_period_end?: boolean | undefined
  default_payment_method?: string | null | undefined
  pause_collection?:
    | { behavior: 'keep_as_draft' | 'mark_uncollectible' | 'void'; resumes_at?: number | undefined }
    | null
    | undefined
  description?: string | null | undefined
  metadata?: Record<string, string> | null | undefined
  trial_end?: number | 'now' | undefined
  collection_method?: 'charge_automatically' | 'send_invoice' | undefined
  days_until_due?: number | undefined
  payment_behavior?: PaymentBehavior | undefined
  off_session?: boolean | undefined
  trial_settings?:
    | { end_behavior: { missing_payment_method: 'cancel' | 'create_invoice' | 'pause' } }
    | undefined
  payment_settings?: { save_default_payment_method?: string | undefined } | undefined
  cancellation_details?: { comment?: string | null | undefined; feedback?: Feedback | undefined } | undefined
}

/** What `cancel_at` or `cancel_at_period_end` do to the dates of the end. */
export function endPatch(world: World, sub: Subscription, change: Change): Partial<Subscription> {
  const { cancel_at: date, cancel_at_period_end: atEnd } = change
  if (date !== undefined && date !== null && atEnd === true)
    throw invalid(
      'You may only specify one of these parameters: cancel_at, cancel_at_period_end.',
      'cancel_at',
    )
  if (date === undefined && atEnd === undefined) return {}
  const details = {
    comment: change.cancellation_details?.comment ?? sub.cancellation_details?.comment ?? null,
    feedback: change.cancellation_details?.feedback ?? sub.cancellation_details?.feedback ?? null,
    feedback_option: null,
  }
  if ((date === null || date === undefined) && atEnd !== true)
    return {
      cancel_at: null,
      cancel_at_period_end: false,
      canceled_at: null,
      cancellation_details: { ...details, reason: null },
    }
  if (typeof date === 'string' && sub.billing_mode.type !== 'flexible')
    throw invalid(
      '`cancel_at` accepts this value only for subscriptions with `billing_mode=flexible`.',
      'cancel_at',
    )
  const when = atEnd === true ? periodOf(sub).end : cancelDate(sub, date ?? 'max_period_end')
  if (when <= world.at)
    throw invalid('Invalid timestamp: must be an integer Unix timestamp in the future.', 'cancel_at')
  return {
    cancel_at: when,
    cancel_at_period_end: atEnd === true,
    canceled_at: world.at,
    cancellation_details: { ...details, reason: 'cancellation_requested' },
  }
}

export function changeSubscription(world: World, sub: Subscription, change: Change): Subscription {
  checkPending(change)
  const wordsOnly = Object.entries(change).every(
    ([key, v]) => v === undefined || ['metadata', 'cancellation_details', 'expand'].includes(key),
  )
  if (isOver(sub) && !wordsOnly)
    throw refused(
      'A canceled subscription can only update its cancellation_details and metadata.',
      'invalid_canceled_subscription_fields',
    )
  const ends = change.cancel_at !== undefined || change.cancel_at_period_end !== undefined
  if (ends && scheduleOf(world, sub))
    throw invalid(
      `The subscription is managed by the subscription schedule \`${String(sub.schedule)}\`, and updating any cancelation behavior directly is not allowed. Please update the schedule instead.`,
    )
  const patch: Partial<Subscription> = {
    ...endPatch(world, sub, change),
    ...changedTerms(world, sub, change),
    metadata: mergeMetadata(sub.metadata, change.metadata),
    ...(change.default_payment_method === undefined
      ? {}
      : { default_payment_method: change.default_payment_method }),
    ...(change.pause_collection === undefined ? {} : { pause_collection: pausedCollection(change) }),
    ...(change.description === undefined ? {} : { description: change.description }),
    ...(change.collection_method === undefined ? {} : { collection_method: change.collection_method }),
    ...(change.days_until_due === undefined ? {} : { days_until_due: change.days_until_due }),
    ...(change.payment_settings === undefined
      ? {}
      : {
          payment_settings: {
            ...sub.payment_settings,
            ...change.payment_settings,
          } as Subscription['payment_settings'],
        }),
    ...(change.trial_settings === undefined
      ? {}
      : {
          trial_settings: {
            end_behavior: { billing_cycle_anchor: 'now', ...change.trial_settings.end_behavior },
          },
        }),
  }
  makeChange(world, sub, patch, change)
  scheduleEnd(world, world.need('subscription', sub.id))
  if (change.pause_collection !== undefined) planCollection(world, world.need('subscription', sub.id))
  if (change.items) followChange(world, sub.id)
  return world.need('subscription', sub.id)
}

function pausedCollection({ pause_collection: asked }: Change): Subscription['pause_collection'] {
  return asked ? { behavior: asked.behavior, resumes_at: asked.resumes_at ?? null } : null
}

function makeChange(world: World, sub: Subscription, patch: Partial<Subscription>, change: Change): void {
  const moves = patch.cancel_at !== undefined && movesEnd(world, { ...sub, ...patch })
  const bills = changesBilling(change) || change.trial_end !== undefined || moves
  // another change takes the place of one that still waits for its payment, whose invoice is voided
  if (bills) discardUpdate(world, sub.id)
  const before = world.need('subscription', sub.id)
  const patched: Subscription = { ...before, ...patch }
  if (change.trial_end !== undefined) {
    const items = change.items ? changedItems(world, patched, change.items) : patched.items.data
    const list = { ...patched.items, data: items, total_count: items.length }
    world.store.put('subscription', before.id, { ...patched, items: list })
    changeTrial(world, before, { ...patched, items: list }, change.trial_end)
  } else if (bills) {
    const how = {
      behavior: change.payment_behavior ?? 'allow_incomplete',
      offSession: change.off_session ?? false,
    }
    const { cancel_at_period_end: atEnd, metadata } = change
    carryOut(world, before, planUpdate(world, patched, change), how, {
      ...(atEnd === undefined ? {} : { cancel_at_period_end: atEnd }),
      ...(metadata === undefined ? {} : { metadata: patched.metadata }),
    })
  } else {
    world.store.put('subscription', before.id, patched)
    world.emitChange('customer.subscription.updated', before, patched)
  }
}

/** The parameters a waiting change may have. docs.stripe.com/billing/pending-updates-reference (supported attributes) */
const supported = new Set([
  'billing_cycle_anchor',
  'cancel_at_period_end',
  'expand',
  'items',
  'metadata',
  'payment_behavior',
  'proration_behavior',
  'proration_date',
])

function checkPending(change: Change): void {
  if (change.payment_behavior !== 'pending_if_incomplete') return
  const odd = Object.entries(change).find(([key, value]) => value !== undefined && !supported.has(key))
  if (odd)
    throw invalid(
      `You cannot pass \`${odd[0]}\` when \`payment_behavior\` is \`pending_if_incomplete\`.`,
      odd[0],
    )
}

/** A new end of the trial: now (the first paid period starts and is charged at once) or another date. */
function changeTrial(world: World, before: Subscription, sub: Subscription, end: number | 'now'): void {
  if (end === 'now') {
    if (sub.status !== 'trialing') {
      world.emitChange('customer.subscription.updated', before, sub)
      return
    }
    const ended = world.update('subscription', sub.id, { trial_end: world.at })
    world.emit('customer.subscription.trial_will_end', ended)
    startPaidPeriod(world, ended)
    return
  }
  if (end <= world.at)
    throw invalid('Invalid timestamp: must be an integer Unix timestamp in the future.', 'trial_end')
  const changed = world.update('subscription', sub.id, {
    status: 'trialing',
    trial_end: end,
    trial_start: sub.status === 'trialing' ? sub.trial_start : world.at,
    billing_cycle_anchor: end,
    items: withPeriod(sub, { start: world.at, end }),
  })
  planNext(world, changed)
  world.emitChange('customer.subscription.updated', before, changed)
}

/** The anchor becomes this instant and the first period is charged without an hour's wait. */
function startPaidPeriod(world: World, sub: Subscription): void {
  const anchored = { ...sub, billing_cycle_anchor: world.at }
  const period = periodFrom(anchored, world.at)
  const active = world.update('subscription', sub.id, {
    status: 'active',
    billing_cycle_anchor: world.at,
    items: withPeriod(anchored, period),
  })
  world.deadlines.clear('subscription.trial_will_end', sub.id)
  planNext(world, active)
  const draft = firstInvoice(world, sub.id, 'subscription_update')
  const open = finalize(world, draft.id)
  if (open.status === 'open' && hasMethod(world, active))
    attempt(world, open.id, { offSession: true, automatic: true })
}

/**
 * The end at this instant. `prorate` gives unused time back as a pending item, `invoice_now` bills what is pending;
 * without either, pending prorations are removed. docs.stripe.com/api/subscriptions/cancel
 */
export function cancelAtOnce(
  world: World,
  id: string,
  how: { prorate?: boolean | undefined; invoice_now?: boolean | undefined },
): Subscription {
  discardUpdate(world, id)
  const sub = world.need('subscription', id)
  if (how.prorate)
    for (const item of sub.items.data)
      for (const credit of creditsFor(world, sub, item, world.at)) newInvoiceItem(world, sub, credit)
  if (how.invoice_now && pendingOf(world, id).length > 0) {
    const open = finalize(world, finalInvoice(world, sub, 0).id)
    if (open.status === 'open' && hasMethod(world, sub))
      attempt(world, open.id, { offSession: true, automatic: true })
  }
  if (!how.prorate && !how.invoice_now) dropPending(world, id)
  return endSubscription(world, id, 'cancellation_requested')
}
