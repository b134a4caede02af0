// The customer portal: its configurations and sessions, and what a customer does there.
// docs.stripe.com/customer-management/configure-portal, docs.stripe.com/customer-management/cancellation-page
import { periodOf } from './cycle.ts'
import { invalid, refused } from './error.ts'
import { attach, resolveMethod } from './payment-method.ts'
import { sameTerms } from './phase-terms.ts'
import { askedPhases, newSchedule, type AskedPhase } from './schedule.ts'
import { planPhase, scheduleOf } from './schedule-run.ts'
import { cancelAtOnce, changeSubscription } from './subscription-change.ts'
import { isOver } from './subscription-state.ts'
import type { Feedback, PortalConfiguration, PortalSession, Price, Subscription } from './wire.ts'
import type { World } from './world.ts'

export type Features = PortalConfiguration['features']

/** What is on unless the request says otherwise: the documented defaults. */
export const defaultFeatures: Features = {
  customer_update: { allowed_updates: [], enabled: false },
  invoice_history: { enabled: false },
  payment_method_update: { enabled: false, payment_method_configuration: null },
  subscription_cancel: {
    cancellation_reason: { enabled: false, feedback_options: null, options: [] },
    enabled: false,
    mode: 'at_period_end',
    proration_behavior: 'none',
  },
  subscription_pause: { duration: { interval_options: [], type: 'indefinite' }, enabled: false },
  subscription_update: {
    billing_cycle_anchor: null,
    default_allowed_updates: [],
    enabled: false,
    products: null,
    proration_behavior: 'none',
    schedule_at_period_end: { conditions: [] },
    trial_update_behavior: 'end_trial',
  },
}

export function newConfiguration(
  world: World,
  fields: Pick<PortalConfiguration, 'features'> & Partial<PortalConfiguration>,
): PortalConfiguration {
  const configuration = world.create('billing_portal.configuration', {
    id: world.id('bpc'),
    object: 'billing_portal.configuration',
    active: true,
    application: null,
    business_profile: { headline: null, privacy_policy_url: null, terms_of_service_url: null },
    created: world.at,
    default_return_url: null,
    is_default: false,
    livemode: false,
    login_page: { enabled: false, url: null },
    metadata: {},
    name: null,
    updated: world.at,
    ...fields,
  })
  world.emit('billing_portal.configuration.created', configuration)
  return configuration
}

/** The Dashboard's own configuration, as somebody left it who switched everything on. */
export function defaultConfiguration(world: World): PortalConfiguration {
  const found = world.store.all('billing_portal.configuration').find((item) => item.is_default)
  if (found) return found
  const update = { ...defaultFeatures.subscription_update, enabled: true }
  return newConfiguration(world, {
    is_default: true,
    features: {
      ...defaultFeatures,
      invoice_history: { enabled: true },
      payment_method_update: { ...defaultFeatures.payment_method_update, enabled: true },
      subscription_cancel: { ...defaultFeatures.subscription_cancel, enabled: true },
      subscription_update: { ...update, default_allowed_updates: ['price', 'quantity'] },
    },
  })
}

export function featuresOf(world: World, session: PortalSession): Features {
  return world.need('billing_portal.configuration', session.configuration).features
}

export function liveSubscriptions(world: World, session: PortalSession): Subscription[] {
  return world.store.all('subscription').filter((sub) => sub.customer === session.customer && !isOver(sub))
}

/** The subscription that an action is about: named, the flow's own, or the only one. */
export function subjectOf(world: World, session: PortalSession, named: string | undefined): Subscription {
  const live = liveSubscriptions(world, session)
  const id = named ?? flowSubject(session)
  const found = id === undefined ? (live.length === 1 ? live[0] : undefined) : live.find((s) => s.id === id)
  if (!found) throw invalid('Say which subscription of the customer it is.', 'subscription')
  return found
}

export function flowSubject(session: PortalSession): string | undefined {
  const {
    subscription_cancel: cancel,
    subscription_update: update,
    subscription_update_confirm: confirm,
  } = session.flow ?? {}
  return (cancel ?? update ?? confirm)?.subscription
}

/** The prices a customer may change to. */
export function offered(world: World, session: PortalSession, sub: Subscription): Price[] {
  const { products } = featuresOf(world, session).subscription_update
  const ids = products?.flatMap((product) => product.prices)
  return world.store
    .all('price')
    .filter((price) => price.active && price.recurring !== null && price.currency === sub.currency)
    .filter((price) => ids?.includes(price.id) ?? true)
}

/**
 * In flexible mode the end is a date, `cancel_at`, and `cancel_at_period_end` stays false.
 * docs.stripe.com/billing/subscriptions/billing-mode/compare (cancellations in the customer portal)
 */
export function cancelThere(
  world: World,
  session: PortalSession,
  sub: Subscription,
  why: { feedback: Feedback | undefined; comment: string | undefined },
): Subscription {
  const { enabled, mode, proration_behavior: behavior } = featuresOf(world, session).subscription_cancel
  if (!enabled) throw refused('Cancelling is not enabled in the configuration of this portal.')
  const cancellation_details = {
    comment: why.comment ?? null,
    ...(why.feedback === undefined ? {} : { feedback: why.feedback }),
  }
  if (mode === 'immediately') {
    changeSubscription(world, sub, { cancellation_details })
    const how = { prorate: behavior !== 'none', invoice_now: behavior === 'always_invoice' }
    return cancelAtOnce(world, sub.id, how)
  }
  return changeSubscription(world, sub, {
    cancellation_details,
    ...(sub.billing_mode.type === 'flexible'
      ? { cancel_at: 'max_period_end' as const }
      : { cancel_at_period_end: true }),
  })
}

/** The customer keeps the plan after all. */
export function resumeThere(world: World, sub: Subscription): Subscription {
  if (sub.cancel_at === null) throw refused('This subscription is not being cancelled.')
  return changeSubscription(world, sub, { cancel_at: null })
}

/** Another price or quantity; a decline changes nothing. Downgrades wait for the period's end where so configured. */
export function changeThere(
  world: World,
  session: PortalSession,
  sub: Subscription,
  asked: { price: string | undefined; quantity: number | undefined },
): Subscription {
  const features = featuresOf(world, session).subscription_update
  const [item] = sub.items.data
  if (!features.enabled || !item)
    throw refused('Changing is not enabled in the configuration of this portal.')
  if (scheduleOf(world, sub)) throw refused('This subscription is managed by a schedule.')
  const allowed = new Set(features.default_allowed_updates)
  for (const what of ['price', 'quantity'] as const)
    if (asked[what] !== undefined && !allowed.has(what)) throw refused(`The ${what} cannot be changed here.`)
  const price = asked.price === undefined ? item.price : world.need('price', asked.price, 'price')
  if (price.id !== item.price.id && !offered(world, session, sub).some(({ id }) => id === price.id))
    throw refused('This price is not offered here.')
  const quantity = asked.quantity ?? item.quantity ?? 1
  const reduced = features.schedule_at_period_end.conditions.some(({ type }) =>
    reduces(type, item, price, quantity),
  )
  if (reduced) return scheduleThere(world, sub, price, quantity)
  return changeSubscription(world, sub, {
    items: [{ id: item.id, price: price.id, quantity }],
    billing_cycle_anchor: { type: features.billing_cycle_anchor === 'now' ? 'now' : 'unchanged' },
    proration_behavior: features.proration_behavior,
    payment_behavior: 'error_if_incomplete',
  })
}

const lengths: Record<string, number> = { day: 1, week: 7, month: 30, year: 365 }

function reduces(
  condition: string,
  item: Subscription['items']['data'][number],
  price: Price,
  quantity: number,
): boolean {
  const days = (one: Price): number =>
    (lengths[one.recurring?.interval ?? ''] ?? 0) * (one.recurring?.interval_count ?? 1)
  const amount = (one: Price, count: number): number => Number(one.unit_amount_decimal ?? 0) * count
  if (condition === 'shortening_interval') return days(price) < days(item.price)
  return days(price) === days(item.price) && amount(price, quantity) < amount(item.price, item.quantity ?? 1)
}

/** The portal makes a schedule for a change at the period's end. configure-portal (manage downgrades) */
function scheduleThere(world: World, sub: Subscription, price: Price, quantity: number): Subscription {
  const schedule = newSchedule(world, sub)
  const held = world.update('subscription', sub.id, { schedule: schedule.id })
  const { start, end } = periodOf(sub)
  const [item] = sub.items.data
  const same = item?.price.recurring?.interval === price.recurring?.interval
  const now = { price: item?.price.id ?? '', quantity: item?.quantity ?? 1 }
  const phases: AskedPhase[] = [
    { ...sameTerms(sub), start_date: start, end_date: end, items: [now] },
    {
      ...sameTerms(sub),
      items: [{ price: price.id, quantity }],
      proration_behavior: 'none',
      ...(same ? {} : { billing_cycle_anchor: 'phase_start' }),
    },
  ]
  const planned = world.update(
    'subscription_schedule',
    schedule.id,
    { phases: askedPhases(world, schedule, sub, phases) },
    'subscription_schedule.updated',
  )
  world.emitChange('customer.subscription.updated', sub, held)
  planPhase(world, planned)
  return held
}

/** A new card for the customer, or for the one subscription that has its own. */
export function cardThere(
  world: World,
  session: PortalSession,
  named: string,
  sub: Subscription | undefined,
): void {
  if (!featuresOf(world, session).payment_method_update.enabled)
    throw refused('Payment methods cannot be changed here.')
  const method = attach(world, resolveMethod(world, named, 'payment_method'), session.customer)
  if (sub) {
    world.update(
      'subscription',
      sub.id,
      { default_payment_method: method.id },
      'customer.subscription.updated',
    )
    return
  }
  const { invoice_settings: old } = world.need('customer', session.customer)
  const invoice_settings = { ...old, default_payment_method: method.id }
  world.update('customer', session.customer, { invoice_settings }, 'customer.updated')
}
