// The control plane: the clock, what a customer does on the hosted page, how webhooks travel, the oracle.
import { pretty, type Answer } from './api.ts'
import { abandon, decline, pay, settle, typeCode } from './control-checkout.ts'
import { authenticateInvoice, changeDunning, payInvoice, showDunning } from './control-invoice.ts'
import { nobody, type Body, type ControlContext, type Handler } from './control-context.ts'
import { cancelInPortal, cardInPortal, changeInPortal, resumeInPortal } from './control-portal.ts'
import { invalid, StripeFault, errorObject } from './error.ts'
import { addFault, clearFaults, listFaults } from './fault.ts'
import { attempt, invoiceOfIntent } from './invoicing.ts'
import { collect } from './payment.ts'
import { oracle } from './oracle.ts'
import { snapshot } from './snapshot.ts'
import { automaticTax, setAutomaticTax } from './tax.ts'
import { rollSecret } from './resource/webhook-endpoint.ts'
import { changeSettings, counts, queue, settingsOf } from './webhook-queue.ts'

const table: [method: string, pattern: RegExp, handler: Handler][] = [
  ['GET', /^\/_sandbox\/clock$/, (context) => clock(context)],
  ['POST', /^\/_sandbox\/clock\/advance$/, advance],
  ['POST', /^\/_sandbox\/checkout\/([^/]+)\/pay$/, pay],
  ['POST', /^\/_sandbox\/checkout\/([^/]+)\/decline$/, decline],
  ['POST', /^\/_sandbox\/checkout\/([^/]+)\/abandon$/, abandon],
  ['POST', /^\/_sandbox\/checkout\/([^/]+)\/promotion_code$/, typeCode],
  ['POST', /^\/_sandbox\/payment_intents\/([^/]+)\/settle$/, settle],
  ['GET', /^\/_sandbox\/tax$/, (context) => automaticTax(context.world)],
  ['POST', /^\/_sandbox\/tax$/, setTax],
  ['POST', /^\/_sandbox\/payment_intents\/([^/]+)\/authenticate$/, authenticate],
  ['POST', /^\/_sandbox\/invoices\/([^/]+)\/pay$/, payInvoice],
  ['POST', /^\/_sandbox\/invoices\/([^/]+)\/authenticate$/, authenticateInvoice],
  ['POST', /^\/_sandbox\/portal\/([^/]+)\/cancel$/, cancelInPortal],
  ['POST', /^\/_sandbox\/portal\/([^/]+)\/change$/, changeInPortal],
  ['POST', /^\/_sandbox\/portal\/([^/]+)\/resume$/, resumeInPortal],
  ['POST', /^\/_sandbox\/portal\/([^/]+)\/card$/, cardInPortal],
  ['GET', /^\/_sandbox\/dunning$/, showDunning],
  ['POST', /^\/_sandbox\/dunning$/, changeDunning],
  ['GET', /^\/_sandbox\/oracle\/([^/]+)$/, (context, _body, id) => oracle(context.world, id)],
  ['GET', /^\/_sandbox\/faults$/, (context) => listFaults(context.world)],
  ['POST', /^\/_sandbox\/faults$/, (context, body) => addFault(context.world, context.now(), body)],
  [
    'DELETE',
    /^\/_sandbox\/faults(?:\/([^/]+))?$/,
    (context, _, id) => clearFaults(context.world, context.now(), id),
  ],
  ['GET', /^\/_sandbox\/webhooks$/, webhooks],
  ['POST', /^\/_sandbox\/webhooks$/, setWebhooks],
  ['POST', /^\/_sandbox\/webhooks\/resend$/, resend],
  ['POST', /^\/_sandbox\/webhook_endpoints\/([^/]+)\/roll$/, roll],
]

export async function control(
  context: ControlContext,
  method: string,
  path: string,
  text: string,
): Promise<Answer> {
  try {
    for (const [wanted, pattern, handler] of table) {
      const found = wanted === method ? pattern.exec(path) : null
      if (!found) continue
      context.catchUp()
      const result = await handler(context, parse(text), decodeURIComponent(found[1] ?? ''))
      return { status: 200, headers: {}, body: pretty(result) }
    }
    throw new StripeFault(404, {
      type: 'invalid_request_error',
      message: `No such control: ${method} ${path}`,
    })
  } catch (error) {
    const fault =
      error instanceof StripeFault
        ? error
        : new StripeFault(500, { type: 'api_error', message: String(error) })
    return { status: fault.status, headers: {}, body: pretty({ error: errorObject(fault, 'req_control') }) }
  }
}

function parse(text: string): Body {
  if (text.trim() === '') return {}
  try {
    const value: unknown = JSON.parse(text)
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Body
  } catch {
    // Told below.
  }
  throw invalid('The control plane takes a JSON object.')
}

function clock(context: ControlContext): Body {
  const ms = context.now()
  return { now: new Date(ms).toISOString(), unix_ms: ms }
}

/** The furthest one step may go: there is no way back. */
const ADVANCE_MAX_MS = 10 * 366 * 86_400_000

async function advance(context: ControlContext, body: Body): Promise<Body> {
  const from = context.now()
  const to = target(body, from)
  if (to - from > ADVANCE_MAX_MS) throw invalid('The clock advances ten years at a time at most.')
  await context.advance(to)
  return clock(context)
}

function target({ seconds, to }: Body, from: number): number {
  if (typeof seconds === 'number' && Number.isFinite(seconds) && to === undefined) {
    if (seconds < 0) throw invalid('The clock does not go back.', 'seconds')
    return from + seconds * 1000
  }
  const ms = typeof to === 'number' ? to * 1000 : typeof to === 'string' ? Date.parse(to) : Number.NaN
  if (seconds !== undefined || Number.isNaN(ms))
    throw invalid('Give one of {"seconds": number} or {"to": ISO date or unix seconds}.')
  if (ms < from) throw invalid('The clock does not go back.', 'to')
  return ms
}

/** The customer passes the bank's check of a payment that asked for it. */
function authenticate(context: ControlContext, _body: Body, id: string): Body {
  const { world } = context
  return world.step(context.now(), nobody, () => {
    const intent = world.need('payment_intent', id)
    if (intent.status !== 'requires_action') throw invalid(`This payment has a status of ${intent.status}.`)
    const method = world.need('payment_method', intent.payment_method ?? '')
    const invoice = invoiceOfIntent(world, id)
    const passed = { offSession: false, authenticated: true }
    if (invoice) attempt(world, invoice.id, { ...passed, method, automatic: false })
    else collect(world, id, method, passed)
    return snapshot(world.store, world.need('payment_intent', id))
  })
}

function setTax(context: ControlContext, body: Body): unknown {
  return context.world.step(context.now(), nobody, () => setAutomaticTax(context.world, body))
}

function webhooks(context: ControlContext): Body {
  return { ...settingsOf(context.world), queue: counts(context.world), in_flight: context.inFlight() }
}

function setWebhooks(context: ControlContext, body: Body): Body {
  context.world.step(context.now(), nobody, () => changeSettings(context.world, body))
  context.pump()
  return webhooks(context)
}

/** Gives an endpoint a new secret; deliveries are signed with the old one, too, until it ends. At most a day. */
function roll(context: ControlContext, body: Body, id: string): Body {
  const { expires_in: seconds = 86_400 } = body
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= 86_400))
    throw invalid('expires_in must be from 0 to 86400 seconds.', 'expires_in')
  const { world } = context
  return world.step(context.now(), nobody, () => ({ secret: rollSecret(world, id, seconds) }))
}

/** Sends one event once more, or a second event object about the same fact. */
function resend(context: ControlContext, body: Body): Body {
  const { world } = context
  const original = world.need('event', typeof body['event'] === 'string' ? body['event'] : '', 'event')
  const endpoints = world.store.all('webhook_endpoint').filter((endpoint) => endpoint.status === 'enabled')
  const sent = world.step(context.now(), nobody, () => {
    const again = body['as_new_event'] === true
    const type = typeof body['type'] === 'string' ? body['type'] : original.type
    const event = again ? { ...original, id: world.id('evt'), type } : original
    if (again) world.create('event', event)
    for (const endpoint of endpoints) queue(world, event, endpoint.id, 'pending', 0)
    return event.id
  })
  return { event: sent, endpoints: endpoints.length }
}
