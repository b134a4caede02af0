// What a customer does on the hosted page: pays, is declined, walks away. The subscription is made only after its
// first payment succeeded, as Stripe has done since 2025-03-31.
import { cardNamed, cardError, isTestCard } from './card.ts'
import { StripeFault, missing } from './error.ts'
import { draftInvoiceOfSession } from './checkout-subscription.ts'
import { collect, declineError, newIntent } from './payment.ts'
import { confirmSetup, newSetupIntent } from './setup.ts'
import { newCustomer } from './customer.ts'
import { attach, newMethod } from './payment-method.ts'
import type { CheckoutSession, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export interface PayInput {
  payment_method?: string | undefined
  email?: string | undefined
  name?: string | undefined
}

export function openSession(world: World, id: string): CheckoutSession {
  const session = world.store.get('checkout.session', id)
  if (!session) throw missing('checkout.session', id)
  if (session.status !== 'open')
    throw new StripeFault(400, {
      type: 'invalid_request_error',
      message: `This Checkout Session has a status of ${session.status ?? ''}.`,
    })
  return session
}

/** The customer submits the page. A declined card leaves the session open and throws the card error. */
export function paySession(world: World, id: string, input: PayInput): CheckoutSession {
  const session = openSession(world, id)
  const name = input.payment_method ?? 'pm_card_visa'
  const known = world.store.get('payment_method', name)
  if (!known && !cardNamed(name)) throw missing('payment_method', name, 'payment_method')
  const customer = customerOf(world, session, input)
  const owner = customer === null ? undefined : world.store.get('customer', customer)
  const billing = { email: owner?.email ?? input.email ?? null, name: input.name ?? owner?.name ?? null }
  const free = session.payment_status === 'no_payment_required'
  const skipsCard =
    free && session.payment_method_collection === 'if_required' && input.payment_method === undefined
  const method =
    skipsCard && session.mode === 'subscription' ? undefined : (known ?? newMethod(world, name, billing))
  const filled: Partial<CheckoutSession> = {
    customer,
    customer_details: details(billing.email ?? session.customer_email, billing.name),
  }
  if (session.mode === 'setup')
    return complete(world, id, { ...filled, ...setUp(world, session, customer, method) })
  if (session.mode === 'payment')
    return complete(world, id, { ...filled, ...payOnce(world, session, customer, method) })
  const intent = free
    ? undefined
    : charge(world, session, customer, method, 'Subscription creation', 'off_session')
  if (customer !== null && method) attach(world, world.need('payment_method', method.id), customer)
  if (free && method) {
    const saved = newSetupIntent(world, { customer, payment_method: method.id })
    if (confirmSetup(world, saved.id, method, true).status !== 'succeeded')
      throw cardError(isTestCard(method))
  }
  const made = draftInvoiceOfSession(world, session, customer ?? '', method?.id ?? null, intent)
  const paid: Partial<CheckoutSession> = free ? {} : { payment_status: 'paid' }
  return complete(world, id, { ...filled, ...made, ...paid })
}

function payOnce(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  method: PaymentMethod | undefined,
): Partial<CheckoutSession> {
  if (!method || session.payment_status === 'no_payment_required') return {}
  const usage = session._data.setup_future_usage
  const intent = charge(world, session, customer, method, session._data.description, usage)
  if (usage !== null && customer !== null) attach(world, world.need('payment_method', method.id), customer)
  return { payment_intent: intent, payment_status: 'paid' }
}

function setUp(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  method: PaymentMethod | undefined,
): Partial<CheckoutSession> {
  if (!method) return {}
  const { metadata, description } = session._data
  const intent = newSetupIntent(world, { customer, payment_method: method.id, metadata, description })
  const done = confirmSetup(world, intent.id, method, true)
  if (done.status !== 'succeeded') throw cardError(isTestCard(method), { setup_intent: done })
  if (customer !== null) attach(world, world.need('payment_method', method.id), customer)
  return { setup_intent: done.id }
}

function customerOf(world: World, session: CheckoutSession, input: PayInput): string | null {
  if (session.customer !== null) return session.customer
  if (
    session.mode === 'payment' &&
    session.customer_creation !== 'always' &&
    session._data.setup_future_usage === null
  )
    return null
  const customer = newCustomer(world, {
    email: input.email ?? session.customer_email ?? 'customer@example.com',
    name: input.name ?? null,
  })
  world.emit('customer.created', customer)
  return customer.id
}

/** One attempt to charge the page's card; the next one reuses the intent. Throws the card error when declined. */
function charge(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  method: PaymentMethod | undefined,
  description: string | null,
  usage: string | null,
): string {
  if (!method) throw missing('payment_method', '', 'payment_method')
  const { payment_intent: earlier, metadata, receipt_email } = session._data
  const intent =
    earlier ??
    newIntent(world, {
      amount: session.amount_total ?? 0,
      currency: session.currency ?? 'usd',
      customer,
      description,
      metadata: session.mode === 'payment' ? metadata : {},
      receipt_email,
      setup_future_usage: usage,
    }).id
  if (!earlier) {
    const data = { ...session._data, payment_intent: intent }
    const shown = session.mode === 'payment' ? { payment_intent: intent } : {}
    world.update('checkout.session', session.id, { _data: data, customer, ...shown })
  }
  const result = collect(world, intent, method, { offSession: false, authenticated: true })
  if (result.outcome !== 'succeeded') throw declineError(method, result.intent)
  return intent
}

function complete(world: World, id: string, fields: Partial<CheckoutSession>): CheckoutSession {
  world.deadlines.clear('session.expire', id)
  const done = world.update('checkout.session', id, { ...fields, status: 'complete', url: null })
  world.emit('checkout.session.completed', done)
  return done
}

/** Nobody paid in time, or the customer walked away. */
export function expireSession(world: World, id: string): CheckoutSession {
  world.deadlines.clear('session.expire', id)
  const session = world.need('checkout.session', id)
  const intentId = session._data.payment_intent
  if (intentId !== null) {
    const intent = world.update('payment_intent', intentId, {
      status: 'canceled',
      canceled_at: world.at,
      cancellation_reason: 'automatic',
    })
    world.emit('payment_intent.canceled', intent)
  }
  const expired = world.update('checkout.session', id, { status: 'expired', url: null })
  world.emit('checkout.session.expired', expired)
  return expired
}

export function details(
  email: string | null,
  name: string | null = null,
): CheckoutSession['customer_details'] {
  return {
    address: null,
    business_name: null,
    email,
    individual_name: null,
    name,
    phone: null,
    tax_exempt: 'none',
    tax_ids: [],
  }
}
