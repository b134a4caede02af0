// Changes to a running subscription: its end date, its trial, its card, its words.
import { cancelDate, scheduleEnd } from './cancel.ts'
import { hasMethod, periodFrom, periodOf, planNext, withPeriod } from './cycle.ts'
import { invalid, notSimulated, refused } from './error.ts'
import { attempt, finalize } from './invoicing.ts'
import { mergeMetadata, type Read } from './param.ts'
import { firstInvoice, planOf } from './subscribing.ts'
import { changedTerms, type termsShape } from './terms.ts'
import { isOver } from './subscription-state.ts'
import type { Feedback, Subscription } from './wire.ts'
import type { World } from './world.ts'

export interface Change extends Partial<Read<typeof termsShape>> {
  cancel_at?: number | 'min_period_end' | 'max_period_end' | null | undefined
  cancel_at_period_end?: boolean | undefined
  default_payment_method?: string | null | undefined
  description?: string | null | undefined
  metadata?: Record<string, string> | null | undefined
  trial_end?: number | 'now' | undefined
  collection_method?: 'charge_automatically' | 'send_invoice' | undefined
  days_until_due?: number | undefined
  proration_behavior?: string | undefined
  trial_settings?:
    | { end_behavior: { missing_payment_method: 'cancel' | 'create_invoice' | 'pause' } }
    | undefined
  payment_settings?: { save_default_payment_method?: string | undefined } | undefined
  cancellation_details?: { comment?: string | null | undefined; feedback?: Feedback | undefined } | undefined
  items?:
    | {
        id?: string | undefined
        price?: string | undefined
        quantity?: number | undefined
        deleted?: boolean | undefined
        metadata?: Record<string, string> | null | undefined
      }[]
    | undefined
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
  const wordsOnly = Object.entries(change).every(
    ([key, v]) => v === undefined || ['metadata', 'cancellation_details', 'expand'].includes(key),
  )
  if (isOver(sub) && !wordsOnly)
    throw refused(
      'A canceled subscription can only update its cancellation_details and metadata.',
      'invalid_canceled_subscription_fields',
    )
  const patch: Partial<Subscription> = {
    ...endPatch(world, sub, change),
    ...changedTerms(world, sub, change),
    metadata: mergeMetadata(sub.metadata, change.metadata),
    ...(change.items ? { items: changedItems(world, sub, change) } : {}),
    ...(change.default_payment_method === undefined
      ? {}
      : { default_payment_method: change.default_payment_method }),
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
  const before = sub
  const after = world.update('subscription', sub.id, patch)
  if (change.trial_end === undefined) world.emitChange('customer.subscription.updated', before, after)
  else changeTrial(world, before, after, change.trial_end)
  scheduleEnd(world, world.need('subscription', sub.id))
  return world.need('subscription', sub.id)
}

function changedItems(world: World, sub: Subscription, change: Change): Subscription['items'] {
  if (change.proration_behavior !== 'none')
    throw notSimulated('prorations yet; pass proration_behavior=none', 'proration_behavior')
  const data = sub.items.data.map((item) => {
    const asked = change.items?.find((entry) => entry.id === item.id)
    if (!asked) return item
    if (asked.deleted) throw notSimulated('removing items', 'items')
    const price = asked.price === undefined ? item.price : world.need('price', asked.price, 'items[0][price]')
    const { recurring } = item.price
    if (
      price.recurring?.interval !== recurring?.interval ||
      price.recurring?.interval_count !== recurring?.interval_count
    )
      throw notSimulated('changes of interval yet', 'items')
    const quantity = asked.quantity ?? item.quantity ?? 1
    return {
      ...item,
      price,
      plan: planOf(price),
      quantity,
      metadata: mergeMetadata(item.metadata, asked.metadata),
    }
  })
  for (const asked of change.items ?? []) {
    if (asked.id === undefined) throw notSimulated('adding items', 'items')
    if (!data.some((item) => item.id === asked.id))
      throw invalid(`No such subscription item: '${asked.id}'`, 'items[0][id]', 'resource_missing')
  }
  return { ...sub.items, data }
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

export function resume(world: World, sub: Subscription): Subscription {
  const { status_details: _gone, ...rest } = sub
  world.store.put('subscription', sub.id, rest)
  startPaidPeriod(world, world.need('subscription', sub.id))
  const resumed = world.need('subscription', sub.id)
  world.emit('customer.subscription.resumed', resumed)
  return resumed
}
