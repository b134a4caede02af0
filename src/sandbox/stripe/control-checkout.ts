// The control plane's part of Checkout: what a customer does on the hosted page, and what the customer's bank says.
import { expireSession, openSession, paySession, planPayment, settleSession } from './checkout.ts'
import type { PayInput } from './checkout-payment.ts'
import { billOf, checkMinimum, discounted } from './checkout-total.ts'
import { nobody, type Body, type ControlContext } from './control-context.ts'
import { typedCode } from './coupon.ts'
import { invalid, StripeFault } from './error.ts'
import { snapshot } from './snapshot.ts'
import type { CheckoutSession } from './wire.ts'

function shown({ world }: ControlContext, session: CheckoutSession): Body {
  const redirect = session.status === 'complete' ? session.success_url : session.cancel_url
  const url = redirect?.replaceAll('{CHECKOUT_SESSION_ID}', session.id) ?? null
  return { session: snapshot(world.store, session), redirect_url: url }
}

function text(body: Body, key: string): string | undefined {
  return typeof body[key] === 'string' ? body[key] : undefined
}

function choice<const V extends string>(body: Body, key: string, values: V[]): V | undefined {
  const value = body[key]
  if (value === undefined) return undefined
  const found = values.find((entry) => entry === value)
  if (found === undefined) throw invalid(`Invalid ${key}: must be one of ${values.join(', ')}`, key)
  return found
}

function inputOf(body: Body): PayInput {
  const { after_seconds: after } = body
  if (after !== undefined && (typeof after !== 'number' || !Number.isSafeInteger(after) || after < 0))
    throw invalid('Invalid after_seconds: must be a whole number of seconds.', 'after_seconds')
  return {
    payment_method: text(body, 'payment_method'),
    email: text(body, 'email'),
    name: text(body, 'name'),
    method: choice(body, 'method', ['card', 'bank_debit']),
    outcome: choice(body, 'outcome', ['succeeds', 'fails']),
    after_seconds: after,
  }
}

function submit(context: ControlContext, id: string, input: PayInput): Body {
  const declined = { keeps: (error: unknown): boolean => error instanceof StripeFault && error.executed }
  return shown(
    context,
    context.world.step(context.now(), nobody, () => paySession(context.world, id, input), declined),
  )
}

/**
 * The customer submits the page: at once, or with `submit: "at_expiry"` in the last millisecond before the session
 * expires, so that a payment and the end of its order meet.
 */
export function pay(context: ControlContext, body: Body, id: string): Body {
  const { world } = context
  const input = inputOf(body)
  const code = text(body, 'promotion_code')
  if (code !== undefined) typeCode(context, { code }, id)
  if (choice(body, 'submit', ['now', 'at_expiry']) !== 'at_expiry') return submit(context, id, input)
  const at = openSession(world, id).expires_at * 1000 - 1
  const session = world.step(context.now(), nobody, () => planPayment(world, id, input, at))
  return {
    session: snapshot(world.store, session),
    redirect_url: null,
    submits_at: new Date(at).toISOString(),
  }
}

/** The customer tries a card that the bank declines; the session stays open. */
export function decline(context: ControlContext, body: Body, id: string): Body {
  try {
    const input = inputOf(body)
    return submit(context, id, { ...input, payment_method: input.payment_method ?? 'pm_card_chargeDeclined' })
  } catch (error) {
    if (!(error instanceof StripeFault) || error.status !== 402) throw error
    return { ...shown(context, context.world.need('checkout.session', id)), error: error.body }
  }
}

export function abandon(context: ControlContext, _body: Body, id: string): Body {
  openSession(context.world, id)
  return shown(
    context,
    context.world.step(context.now(), nobody, () => expireSession(context.world, id)),
  )
}

/** `{ code }` as typed into the page's field; `{ code: null }` takes it away again. */
export function typeCode(context: ControlContext, body: Body, id: string): Body {
  const { world } = context
  const session = openSession(world, id)
  if (session.allow_promotion_codes !== true)
    throw invalid('This Checkout Session does not take promotion codes.', 'code')
  const code = body['code'] === null ? null : text(body, 'code')
  if (code === undefined) throw invalid('Missing required param: code.', 'code', 'parameter_missing')
  return shown(
    context,
    world.step(context.now(), nobody, () => {
      const found = code === null ? undefined : typedCode(world, code, billOf(world, session))
      const changed = discounted(world, session, found)
      checkMinimum(changed)
      return world.update('checkout.session', id, changed)
    }),
  )
}

/** The bank gives its word on a debit now; `outcome` changes what it was going to say. */
export function settle(context: ControlContext, body: Body, id: string): Body {
  const { world } = context
  const outcome = choice(body, 'outcome', ['succeeds', 'fails'])
  return world.step(context.now(), nobody, () => {
    const intent = world.need('payment_intent', id)
    if (intent.status !== 'processing') throw invalid(`This payment has a status of ${intent.status}.`)
    if (outcome !== undefined) world.update('payment_intent', id, { _debit: outcome })
    world.deadlines.clear('payment.settle', id)
    settleSession(world, id)
    return snapshot(world.store, world.need('payment_intent', id))
  })
}
