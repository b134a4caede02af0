// Pauses: of collecting payments only (the subscription goes on), or of the whole subscription; and how it resumes.
// docs.stripe.com/billing/subscriptions/pause-payment, docs.stripe.com/billing/subscriptions/pause
import { planNext, withPeriod } from './cycle.ts'
import { refused } from './error.ts'
import { newInvoiceItem } from './invoice-item.ts'
import { finalize } from './invoicing.ts'
import { creditsFor, wholePeriod } from './proration.ts'
import { markUncollectible, setStatus, voidInvoice } from './subscription-state.ts'
import { invoiceUpdate, planUpdate, type ProrationBehavior } from './subscription-update.ts'
import { carryOut, discardUpdate } from './update-payment.ts'
import type { Invoice, Subscription } from './wire.ts'
import type { World } from './world.ts'

/** What a pause of collection does to an invoice that would be finalised and charged now. */
export function withhold(world: World, sub: Subscription, draft: Invoice): void {
  const { behavior } = sub.pause_collection ?? {}
  if (behavior === 'keep_as_draft') {
    world.deadlines.clear('invoice.finalize', draft.id)
    world.update('invoice', draft.id, {
      auto_advance: false,
      automatically_finalizes_at: null,
      next_payment_attempt: null,
    })
    return
  }
  // the customer's balance is used first; what it pays is paid
  const open = finalize(world, draft.id)
  if (open.status !== 'open') return
  if (behavior === 'void') voidInvoice(world, open)
  else markUncollectible(world, open)
}

/** `resumes_at` has come. */
export function collectAgain(world: World, subId: string): void {
  const sub = world.store.get('subscription', subId)
  if (sub?.pause_collection)
    world.update('subscription', subId, { pause_collection: null }, 'customer.subscription.updated')
}

export function planCollection(world: World, sub: Subscription): void {
  const at = sub.pause_collection?.resumes_at ?? null
  if (at === null) world.deadlines.clear('subscription.collect_again', sub.id)
  else world.deadlines.set('subscription.collect_again', sub.id, at * 1000)
}

type PauseReason = NonNullable<Subscription['status_details']>['paused']['subscription']['type']

/** The whole subscription stands still: no invoices, no new periods. */
export function standStill(
  world: World,
  sub: Subscription,
  reason: PauseReason,
  more: Partial<Subscription> = {},
): Subscription {
  for (const purpose of ['period', 'upcoming', 'trial_will_end'])
    world.deadlines.clear(`subscription.${purpose}`, sub.id)
  const paused = { type: 'subscription' as const, subscription: { type: reason }, transitioned_at: world.at }
  const after = setStatus(world, sub, 'paused', { ...more, status_details: { paused } })
  world.emit('customer.subscription.paused', after)
  return after
}

/** Asked for: the period ends here, and unused time is given back as asked. docs.stripe.com/billing/subscriptions/pause */
export function pauseOnRequest(
  world: World,
  id: string,
  how: { unusedFrom: 'now' | 'item_current_period_start' | 'none'; invoices: boolean },
): Subscription {
  const asked = world.need('subscription', id)
  const why =
    asked.billing_mode.type !== 'flexible'
      ? 'uses the classic billing mode'
      : asked.collection_method !== 'charge_automatically'
        ? 'is not charged automatically'
        : asked.schedule !== null
          ? 'has a schedule'
          : asked.status !== 'active' && asked.status !== 'past_due'
            ? `has a status of ${asked.status}`
            : undefined
  if (why !== undefined) throw refused(`You cannot pause a subscription that ${why}.`)
  discardUpdate(world, id)
  const sub = world.need('subscription', id)
  if (how.unusedFrom !== 'none')
    for (const item of sub.items.data) {
      const from = how.unusedFrom === 'now' ? world.at : item.current_period_start
      for (const credit of creditsFor(world, sub, item, from)) newInvoiceItem(world, sub, credit)
    }
  const data = sub.items.data.map((item) => ({ ...item, current_period_end: world.at }))
  const paused = standStill(world, sub, 'pause_requested', { items: { ...sub.items, data } })
  if (!how.invoices) return paused
  const draft = invoiceUpdate(world, { after: paused, prorations: [], lines: [], invoices: true })
  world.update('subscription', id, { latest_invoice: draft.id })
  world.emit('invoice.created', draft)
  finalize(world, draft.id)
  return world.need('subscription', id)
}

export interface ResumeHow {
  anchor: 'now' | 'unchanged'
  behavior: ProrationBehavior
  payment: 'resume_on_payment_attempt' | 'resume_on_payment_success'
}

/**
 * Goes on: with a period that starts now and is billed, or with the rest of the one around now, prorated. Where an
 * invoice is made the subscription is active when it was attempted, or only when it is paid.
 * docs.stripe.com/api/subscriptions/resume, docs.stripe.com/billing/subscriptions/mixed-interval (pause and resume)
 */
export function resume(world: World, sub: Subscription, how: ResumeHow): Subscription {
  if (sub.status !== 'paused') throw refused('Only paused subscriptions can be resumed.')
  if (sub.collection_method !== 'charge_automatically')
    throw refused('Only subscriptions that are charged automatically can be resumed.')
  discardUpdate(world, sub.id)
  const before = world.need('subscription', sub.id)
  const [item] = before.items.data
  const around = item ? wholePeriod(before, item, world.at) : undefined
  const running: Subscription = {
    ...withoutPause(before),
    status: 'active',
    ...(around && how.anchor === 'unchanged' ? { items: withPeriod(before, around) } : {}),
  }
  const plan = planUpdate(world, running, {
    billing_cycle_anchor: { type: how.anchor },
    // a period that starts now is charged whole and nothing is prorated
    proration_behavior: how.anchor === 'now' ? 'none' : how.behavior,
    restarts: how.anchor === 'unchanged',
  })
  const waits = how.payment === 'resume_on_payment_success'
  carryOut(
    world,
    before,
    plan,
    { behavior: waits ? 'pending_if_incomplete' : 'allow_incomplete', offSession: true, alone: true, waits },
    {},
  )
  const after = world.need('subscription', sub.id)
  if (after.status === 'paused') return after
  planNext(world, after)
  world.emit('customer.subscription.resumed', after)
  return after
}

export function withoutPause(sub: Subscription): Subscription {
  const { status_details: _gone, ...rest } = sub
  return rest
}
