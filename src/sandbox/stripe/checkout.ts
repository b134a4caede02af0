// What a customer does on the hosted page: pays, is declined, walks away. The subscription is made only after its
// first payment succeeded, as Stripe has done since 2025-03-31.
import { debitFor, newBankMethod, settleDebit } from './bank-debit.ts'
import { cardNamed, cardError, isTestCard } from './card.ts'
import { discountOf, totalled } from './checkout-total.ts'
import { countRedemption } from './coupon.ts'
import { StripeFault, invalid, missing } from './error.ts'
import { payOnce, paySubscription, type PayInput } from './checkout-payment.ts'
import { confirmSetup, newSetupIntent } from './setup.ts'
import { liveCustomer, newCustomer } from './customer.ts'
import { attach, newMethod } from './payment-method.ts'
import { isLocated } from './tax.ts'
import type { CheckoutSession, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

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
  const asked = openSession(world, id)
  if (asked.customer !== null) liveCustomer(world, asked.customer, 'customer')
  const name = input.payment_method ?? 'pm_card_visa'
  const known = world.store.get('payment_method', name)
  if (!known && !cardNamed(name)) throw missing('payment_method', name, 'payment_method')
  const discount = discountOf(world, asked)
  const owed = asked.automatic_tax.enabled ? totalled(world, asked, true) : asked
  const debit = input.method === 'bank_debit'
  if (!owed.payment_method_types.includes(debit ? (debitFor(owed.currency)?.type ?? '') : 'card'))
    throw invalid('This Checkout Session does not offer that payment method.', 'method')
  const session = world.update('checkout.session', id, owed)
  const customer = customerOf(world, session, input)
  const owner = customer === null ? undefined : world.store.get('customer', customer)
  const billing = { email: owner?.email ?? input.email ?? null, name: input.name ?? owner?.name ?? null }
  const free = session.payment_status === 'no_payment_required'
  const skipsCard =
    free && session.payment_method_collection === 'if_required' && input.payment_method === undefined
  const method =
    skipsCard && session.mode !== 'setup'
      ? undefined
      : debit
        ? newBankMethod(world, debitFor(session.currency)?.type ?? 'us_bank_account', billing)
        : (known ?? newMethod(world, name, billing))
  const filled: Partial<CheckoutSession> = {
    customer,
    customer_details: details(billing.email ?? session.customer_email, billing.name),
  }
  if (session.mode === 'setup')
    return complete(world, id, { ...filled, ...setUp(world, session, customer, method) })
  if (session.mode === 'payment') {
    const paid = payOnce(world, session, customer, method, input)
    if (discount) countRedemption(world, discount)
    return complete(world, id, { ...filled, ...paid })
  }
  const made = paySubscription(world, session, customer, method)
  return complete(world, id, { ...filled, ...made })
}

/** The bank's word on a debit, and what Checkout says of it. docs.stripe.com/checkout/fulfillment */
export function settleSession(world: World, intentId: string): void {
  const intent = settleDebit(world, intentId)
  const session =
    intent && world.store.all('checkout.session').find((item) => item.payment_intent === intentId)
  if (!session) return
  if (intent.status !== 'succeeded') {
    world.emit('checkout.session.async_payment_failed', session)
    return
  }
  const paid = world.update('checkout.session', session.id, { payment_status: 'paid' })
  world.emit('checkout.session.async_payment_succeeded', paid)
}

/** The customer will submit the page by itself at that instant (unix ms), for what happens in the same moment. */
export function planPayment(world: World, id: string, input: PayInput, at: number): CheckoutSession {
  const session = openSession(world, id)
  world.deadlines.set('session.pay', id, at)
  return world.update('checkout.session', id, { _data: { ...session._data, planned: { ...input } } })
}

export function payPlanned(world: World, id: string): void {
  const session = world.store.get('checkout.session', id)
  if (session?.status !== 'open' || !session._data.planned) return
  try {
    paySession(world, id, session._data.planned)
  } catch (error) {
    // a customer whose card is declined stays on the page
    if (!(error instanceof StripeFault)) throw error
  }
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
  const located = session.automatic_tax.enabled && session._data.keep_address !== false
  if (session.customer !== null) {
    const owner = world.need('customer', session.customer)
    if (located && !isLocated(owner))
      world.update('customer', owner.id, { address: sandboxAddress }, 'customer.updated')
    return session.customer
  }
  if (
    session.mode === 'payment' &&
    session.customer_creation !== 'always' &&
    session._data.setup_future_usage === null
  )
    return null
  const customer = newCustomer(world, {
    email: input.email ?? session.customer_email ?? 'customer@example.com',
    name: input.name ?? null,
    ...(located ? { address: sandboxAddress } : {}),
  })
  world.emit('customer.created', customer)
  return customer.id
}

/** What the page's address field is answered with. */
const sandboxAddress = {
  city: 'San Francisco',
  country: 'US',
  line1: '354 Oyster Point Blvd',
  line2: null,
  postal_code: '94080',
  state: 'CA',
}

function complete(world: World, id: string, fields: Partial<CheckoutSession>): CheckoutSession {
  world.deadlines.clear('session.expire', id)
  world.deadlines.clear('session.pay', id)
  const done = world.update('checkout.session', id, { ...fields, status: 'complete', url: null })
  world.emit('checkout.session.completed', done)
  return done
}

/** Nobody paid in time, or the customer walked away. */
export function expireSession(world: World, id: string): CheckoutSession {
  world.deadlines.clear('session.expire', id)
  world.deadlines.clear('session.pay', id)
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
