// Subscription schedules as objects: made from a subscription, their phases replaced by a request.
// docs.stripe.com/billing/subscriptions/subscription-schedules, docs.stripe.com/api/subscription_schedules
import { boundary } from './calendar.ts'
import { resolvePrice } from './catalogue.ts'
import { periodOf } from './cycle.ts'
import { invalid, notSimulated } from './error.ts'
import { askedTerms, type AskedTerms, type PhaseTerms, termsOf } from './phase-terms.ts'
import type { ProrationBehavior } from './subscription-update.ts'
import type { SchedulePhase, Subscription, SubscriptionSchedule } from './wire.ts'
import type { World } from './world.ts'

export interface AskedPhase extends AskedTerms {
  start_date?: number | 'now' | undefined
  end_date?: number | 'now' | undefined
  duration?: { interval: string; interval_count?: number | undefined } | undefined
  items: {
    price: string
    quantity?: number | undefined
    metadata?: Record<string, string> | null | undefined
  }[]
  billing_cycle_anchor?: 'automatic' | 'phase_start' | undefined
  metadata?: Record<string, string> | null | undefined
  proration_behavior?: ProrationBehavior | undefined
  trial_end?: number | undefined
}

/** Its one phase is the subscription as it is, to the end of its period. */
export function newSchedule(world: World, sub: Subscription): SubscriptionSchedule {
  if (sub.schedule !== null)
    throw invalid(
      `You cannot migrate a subscription that is already attached to a schedule: \`${sub.schedule}\`.`,
      'from_subscription',
    )
  if (!['active', 'trialing', 'past_due'].includes(sub.status))
    throw invalid(
      `You cannot migrate a subscription that is in the \`${sub.status}\` status.`,
      'from_subscription',
    )
  const { start, end } = periodOf(sub)
  const phase = phaseOf(sub, { start, end: sub.cancel_at ?? end })
  const schedule = world.create('subscription_schedule', {
    id: world.id('sub_sched'),
    object: 'subscription_schedule',
    application: null,
    billing_mode: sub.billing_mode,
    canceled_at: null,
    completed_at: null,
    created: world.at,
    current_phase: { end_date: phase.end_date, start_date: phase.start_date },
    customer: sub.customer,
    customer_account: null,
    default_settings: {
      application_fee_percent: null,
      automatic_tax: sub.automatic_tax,
      billing_cycle_anchor: 'automatic',
      billing_thresholds: null,
      collection_method: sub.collection_method,
      default_payment_method: sub.default_payment_method,
      description: sub.description,
      invoice_settings: {
        account_tax_ids: null,
        custom_fields: null,
        days_until_due: sub.days_until_due,
        description: null,
        footer: null,
        issuer: { type: 'self' },
      },
      on_behalf_of: null,
      transfer_data: null,
    },
    end_behavior: sub.cancel_at === null ? 'release' : 'cancel',
    livemode: false,
    metadata: {},
    pause_schedules: [],
    phases: [phase],
    released_at: null,
    released_subscription: null,
    status: 'active',
    subscription: sub.id,
    test_clock: null,
  })
  world.emit('subscription_schedule.created', schedule)
  return schedule
}

export function phaseOf(sub: Subscription, dates: { start: number; end: number }): SchedulePhase {
  const items = sub.items.data.map(({ price, quantity, metadata }) =>
    phaseItem(price.id, quantity ?? 1, metadata),
  )
  const trial = sub.status === 'trialing' ? sub.trial_end : null
  return newPhase({
    currency: sub.currency,
    ...dates,
    items,
    metadata: {},
    proration: 'create_prorations',
    anchor: null,
    trial,
    terms: termsOf(sub),
  })
}

function newPhase(fields: {
  currency: string
  start: number
  end: number
  items: SchedulePhase['items']
  metadata: Record<string, string>
  proration: ProrationBehavior
  anchor: SchedulePhase['billing_cycle_anchor']
  trial: number | null
  terms: PhaseTerms
}): SchedulePhase {
  return {
    add_invoice_items: [],
    application_fee_percent: null,
    billing_cycle_anchor: fields.anchor,
    billing_thresholds: null,
    currency: fields.currency,
    end_date: fields.end,
    items: fields.items,
    metadata: fields.metadata,
    on_behalf_of: null,
    proration_behavior: fields.proration,
    start_date: fields.start,
    transfer_data: null,
    trial_end: fields.trial,
    ...fields.terms,
  }
}

function phaseItem(
  price: string,
  quantity: number,
  metadata: Record<string, string>,
): SchedulePhase['items'][number] {
  const none = { billing_thresholds: null, discounts: [], tax_rates: [] }
  return { ...none, metadata, plan: price, price, quantity }
}

/** At most this many phases that are not over. */
const PHASES_MAX = 10

/** The phases of a request, dated; those that are over are kept as they were. */
export function askedPhases(
  world: World,
  schedule: SubscriptionSchedule,
  sub: Subscription,
  asked: AskedPhase[],
): SchedulePhase[] {
  const current = schedule.current_phase
  if (asked.length === 0) throw invalid('A subscription schedule must have at least one phase.', 'phases')
  if (asked.every((phase) => phase.start_date === undefined))
    throw invalid(
      'The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates to.',
      'phases',
    )
  const past = schedule.phases.filter((phase) => phase.end_date <= world.at)
  const known = new Set(past.map((phase) => phase.start_date))
  const live = asked.filter(({ start_date: start }) => typeof start !== 'number' || !known.has(start))
  if (live.length > PHASES_MAX)
    throw invalid(`You can have at most ${PHASES_MAX} current or future phases.`, 'phases')
  const phases: SchedulePhase[] = []
  for (const [i, phase] of live.entries()) {
    const param = `phases[${asked.indexOf(phase)}]`
    const before = phases[i - 1]
    const given = phase.start_date === 'now' ? world.at : phase.start_date
    const start = given ?? before?.end_date ?? current?.start_date ?? world.at
    if (i === 0 && current && start !== current.start_date)
      throw invalid('You can not modify the start date of the current phase.', `${param}[start_date]`)
    if (before && start !== before.end_date)
      throw invalid(
        'The start date of a phase must be the end date of the phase before it.',
        `${param}[start_date]`,
      )
    phases.push(datedPhase(world, schedule, sub, phase, start, param))
    checkInterval(world, before, phases[i], phase, param)
  }
  const last = phases.at(-1)
  if (last && last.end_date <= world.at) throw invalid('The last phase must end in the future.', 'phases')
  return [...past, ...phases]
}

function datedPhase(
  world: World,
  schedule: SubscriptionSchedule,
  sub: Subscription,
  phase: AskedPhase,
  start: number,
  param: string,
): SchedulePhase {
  const held = new Set(sub.items.data.map((item) => item.price.id))
  const prices = phase.items.map((item, i) =>
    held.has(item.price)
      ? world.need('price', item.price, `${param}[items][${i}][price]`)
      : resolvePrice(world, item.price, undefined, `${param}[items][${i}]`),
  )
  const recurring = prices[0]?.recurring
  if (!recurring) throw invalid('A phase must have at least one recurring item.', `${param}[items]`)
  if (phase.end_date !== undefined && phase.duration !== undefined)
    throw invalid('You may only specify one of these parameters: duration, end_date.', param)
  const { interval, interval_count: count = 1 } = phase.duration ?? recurring
  const end = phase.end_date === 'now' ? world.at : (phase.end_date ?? boundary(start, interval, count))
  if (end <= start) throw invalid('A phase must end after it starts.', `${param}[end_date]`)
  const running = sub.status === 'trialing' ? sub.trial_end : null
  if (phase.trial_end !== undefined && phase.trial_end !== running)
    throw notSimulated('trials that a schedule begins', `${param}[trial_end]`)
  return newPhase({
    currency: sub.currency,
    start,
    end,
    items: phase.items.map((item) => phaseItem(item.price, item.quantity ?? 1, item.metadata ?? {})),
    metadata: phase.metadata ?? {},
    proration: phase.proration_behavior ?? 'create_prorations',
    anchor: phase.billing_cycle_anchor ?? null,
    trial: phase.trial_end ?? null,
    terms: askedTerms(world, schedule, sub, phase, param),
  })
}

/** The anchor does not move by itself: what a stub of the new interval costs is not simulated. */
function checkInterval(
  world: World,
  before: SchedulePhase | undefined,
  phase: SchedulePhase | undefined,
  asked: AskedPhase,
  param: string,
): void {
  const of = (one: SchedulePhase | undefined): string => {
    const { interval = '', interval_count: count = 0 } =
      world.store.get('price', String(one?.items[0]?.price))?.recurring ?? {}
    return `${count} ${interval}`
  }
  if (before && of(before) !== of(phase) && asked.billing_cycle_anchor !== 'phase_start')
    throw notSimulated(
      'a phase of another interval that keeps the billing cycle anchor',
      `${param}[billing_cycle_anchor]`,
    )
}
