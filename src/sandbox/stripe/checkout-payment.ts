// What the submitted page collects: a one-time payment by card or debit, or the first payment of a subscription.
import { settlesAt, startDebit } from './bank-debit.ts'
import { applyBalance, owedWith } from './balance.ts'
import { cardError, isTestCard } from './card.ts'
import { draftInvoiceOfSession } from './checkout-subscription.ts'
import { missing } from './error.ts'
import { attach } from './payment-method.ts'
import { collect, declineError, newIntent } from './payment.ts'
import { confirmSetup, newSetupIntent } from './setup.ts'
import type { CheckoutSession, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export interface PayInput {
  /** A card, by its test name or its id. */
  payment_method?: string | undefined
  email?: string | undefined
  name?: string | undefined
  /** `bank_debit`: the bank tells days later whether it pays. */
  method?: 'card' | 'bank_debit' | undefined
  outcome?: 'succeeds' | 'fails' | undefined
  /** Seconds until the bank's word, instead of its banking days. */
  after_seconds?: number | undefined
}

/** docs.stripe.com/payments/checkout/no-cost-orders: nothing to pay makes no payment intent. */
export function payOnce(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  method: PaymentMethod | undefined,
  input: PayInput,
): Partial<CheckoutSession> {
  if (!method || session.payment_status === 'no_payment_required') return {}
  const { description, setup_future_usage: usage } = session._data
  const amount = session.amount_total ?? 0
  const keep = (): void => {
    if (usage !== null && customer !== null) attach(world, world.need('payment_method', method.id), customer)
  }
  if (method.type === 'card') {
    const intent = charge(world, session, customer, method, description, usage, amount)
    keep()
    return { payment_intent: intent, payment_status: 'paid' }
  }
  const intent = intentOf(world, session, customer, description, usage, amount)
  const settles = settlesAt(world, session.currency ?? '', input.after_seconds)
  startDebit(world, intent, method, input.outcome ?? 'succeeds', settles)
  keep()
  return { payment_intent: intent, payment_status: 'unpaid' }
}

/**
 * The first payment comes before the subscription, less the customer's balance: what it takes is written for the invoice
 * that is going to be made. docs.stripe.com/billing/customer/balance#types (checkout_session_subscription_payment)
 */
export function paySubscription(
  world: World,
  session: CheckoutSession,
  customerId: string | null,
  method: PaymentMethod | undefined,
): Partial<CheckoutSession> {
  const customer = world.need('customer', customerId ?? '')
  const [total, currency] = [session.amount_total ?? 0, session.currency ?? '']
  const { due } = owedWith(customer, total, currency)
  const intent =
    due === 0
      ? undefined
      : charge(world, session, customer.id, method, 'Subscription creation', 'off_session', due)
  if (method) attach(world, world.need('payment_method', method.id), customer.id)
  if (due === 0 && method) {
    const saved = newSetupIntent(world, { customer: customer.id, payment_method: method.id })
    if (confirmSetup(world, saved.id, method, true).status !== 'succeeded')
      throw cardError(isTestCard(method))
  }
  const owner = world.need('customer', customer.id)
  const applied = applyBalance(world, owner, total, currency, { checkout_session: session.id })
  const made = draftInvoiceOfSession(world, session, customer.id, method?.id ?? null, { intent, applied })
  return total === 0 ? made : { ...made, payment_status: 'paid' }
}

/** The session's payment intent: one, whatever the number of attempts. */
function intentOf(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  description: string | null,
  usage: string | null,
  amount: number,
): string {
  const { payment_intent: earlier, metadata, receipt_email } = session._data
  if (earlier !== null) {
    world.update('payment_intent', earlier, { amount })
    return earlier
  }
  const intent = newIntent(world, {
    amount,
    currency: session.currency ?? 'usd',
    customer,
    description,
    metadata: session.mode === 'payment' ? metadata : {},
    receipt_email,
    setup_future_usage: usage,
  }).id
  const data = { ...session._data, payment_intent: intent }
  const shown = session.mode === 'payment' ? { payment_intent: intent } : {}
  world.update('checkout.session', session.id, { _data: data, customer, ...shown })
  return intent
}

/** One attempt to charge the page's card; the next one reuses the intent. Throws the card error when declined. */
function charge(
  world: World,
  session: CheckoutSession,
  customer: string | null,
  method: PaymentMethod | undefined,
  description: string | null,
  usage: string | null,
  amount: number,
): string {
  if (!method) throw missing('payment_method', '', 'payment_method')
  const intent = intentOf(world, session, customer, description, usage, amount)
  const result = collect(world, intent, method, { offSession: false, authenticated: true })
  if (result.outcome !== 'succeeded') throw declineError(method, result.intent)
  return intent
}
