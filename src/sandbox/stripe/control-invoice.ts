// What a customer does about an invoice on its hosted page, and how the account handles failed payments.
import { nobody, type Body, type ControlContext } from './control-context.ts'
import { dunningOf, setDunning } from './dunning.ts'
import { invalid, refused, StripeFault } from './error.ts'
import { attempt, paymentOf, subscriptionOf } from './invoicing.ts'
import { attach, resolveMethod } from './payment-method.ts'
import { declineError } from './payment.ts'
import { snapshot } from './snapshot.ts'
import type { Invoice, PaymentIntent } from './wire.ts'
import type { World } from './world.ts'

const declined = { keeps: (error: unknown): boolean => error instanceof StripeFault && error.executed }

function act(context: ControlContext, id: string, does: (world: World, open: Invoice) => void): Body {
  const { world } = context
  return world.step(
    context.now(),
    nobody,
    () => {
      const invoice = world.need('invoice', id)
      if (invoice.status !== 'open' && invoice.status !== 'uncollectible')
        throw refused(`This invoice has a status of ${invoice.status ?? ''}.`)
      does(world, invoice)
      const after = world.need('invoice', id)
      const { status } = intentOf(world, after) ?? {}
      return { invoice: snapshot(world.store, after), payment_intent_status: status ?? null }
    },
    declined,
  )
}

function intentOf(world: World, invoice: Invoice): PaymentIntent | undefined {
  const id = paymentOf(world, invoice.id)?.payment.payment_intent
  return id === undefined ? undefined : world.store.get('payment_intent', id)
}

/**
 * The customer pays with a card, which the subscription is charged with from then on. A card whose bank asks leaves
 * the payment waiting for `authenticate`. docs.stripe.com/invoicing/hosted-invoice-page
 */
export function payInvoice(context: ControlContext, body: Body, id: string): Body {
  const named = typeof body['payment_method'] === 'string' ? body['payment_method'] : 'pm_card_visa'
  return act(context, id, (world, open) => {
    const method = resolveMethod(world, named, 'payment_method')
    const { outcome } = attempt(world, id, { method, offSession: false, automatic: false })
    const intent = intentOf(world, world.need('invoice', id))
    if (outcome === 'declined' && intent) throw declineError(method, intent)
    if (outcome === 'succeeded') keepMethod(world, open, method.id)
  })
}

function keepMethod(world: World, invoice: Invoice, id: string): void {
  const method = world.need('payment_method', id)
  if (invoice.customer !== null) attach(world, method, invoice.customer)
  const sub = subscriptionOf(world, invoice)
  if (sub && sub.status !== 'canceled')
    world.update('subscription', sub.id, { default_payment_method: id }, 'customer.subscription.updated')
}

/** The customer passes the bank's check of the payment that asked for it, or (`passes: false`) does not. */
export function authenticateInvoice(context: ControlContext, body: Body, id: string): Body {
  return act(context, id, (world, open) => {
    const intent = waiting(world, open)
    if (body['passes'] === false) {
      failCheck(world, open, intent)
      return
    }
    const method = world.need('payment_method', intent.payment_method ?? '')
    attempt(world, id, { method, offSession: false, authenticated: true, automatic: false })
    keepMethod(world, open, method.id)
  })
}

/** The payment needs another method. docs.stripe.com/payments/paymentintents/lifecycle */
function failCheck(world: World, open: Invoice, intent: PaymentIntent): void {
  const error = {
    type: 'invalid_request_error',
    code: 'payment_intent_authentication_failure',
    message:
      'The provided payment method has failed authentication. You can provide payment_method_data or a new payment method to attempt to fulfill this payment again.',
  }
  const failed = world.update('payment_intent', intent.id, {
    status: 'requires_payment_method',
    payment_method: null,
    next_action: null,
    last_payment_error: error as unknown as PaymentIntent['last_payment_error'],
  })
  world.emit('payment_intent.payment_failed', failed)
  world.emit('invoice.payment_failed', open)
}

function waiting(world: World, invoice: Invoice): PaymentIntent {
  const intent = intentOf(world, invoice)
  if (intent?.status !== 'requires_action')
    throw invalid(`The payment of this invoice has a status of ${intent?.status ?? 'none'}.`)
  return intent
}

export function showDunning(context: ControlContext): unknown {
  return dunningOf(context.world)
}

export function changeDunning(context: ControlContext, body: Body): unknown {
  return context.world.step(context.now(), nobody, () => setDunning(context.world, body))
}
