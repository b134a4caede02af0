/**
 * Stripe's signed events: whether one is genuine and fresh, and the little of it that is kept. What is kept is listed
 * by name and by shape, so that an e-mail, a name or an address cannot slip in with a new field (law 13).
 */
// oxlint-disable-next-line import/no-named-as-default -- Stripe's CommonJS build has only the default
import type { InboxEvent } from '../domain/event.ts'
import Stripe from 'stripe'
import { orderOf, workflowId } from '../domain/id.ts'

/** Why an event was not accepted. */
export type EventFault = 'signature_invalid' | 'signature_stale' | 'signature_future' | 'event_malformed'

export class EventError extends Error {
  readonly code: EventFault

  constructor(code: EventFault, detail: string) {
    super(detail)
    this.name = 'EventError'
    this.code = code
  }
}

/** How far a signature's time may be from ours, into the past and into the future, in seconds. */
const TOLERANCE_S = 300

/**
 * Verifies the signature over the bytes as they came.
 * @param header Stripe-Signature
 * @param secrets all that are valid now; one fitting is enough
 * @param nowMs machine time
 * @returns the payload, parsed
 * @throws EventError
 */
export function verifyEvent(
  raw: Buffer,
  header: string | undefined,
  secrets: string[],
  nowMs: number,
): unknown {
  const signedAt = timeOf(header)
  if (header === undefined || signedAt === undefined) {
    throw new EventError('signature_invalid', 'the Stripe-Signature header cannot be read')
  }
  // Stripe's own check looks at the past only
  const age = Math.floor(nowMs / 1000) - signedAt
  if (age > TOLERANCE_S)
    throw new EventError('signature_stale', 'the signature is more than five minutes old')
  if (age < -TOLERANCE_S) throw new EventError('signature_future', 'the signature is from the future')
  if (!secrets.some((secret) => isSignedWith(secret, raw, header, nowMs))) {
    throw new EventError('signature_invalid', 'no signature fits the body')
  }
  try {
    return JSON.parse(raw.toString('utf8'))
  } catch {
    throw new EventError('event_malformed', 'the body is not JSON')
  }
}

/** The one time that a header names; undefined when there is none, or more than one to choose from. */
function timeOf(header: string | undefined): number | undefined {
  const times = (header ?? '').split(',').filter((part) => part.startsWith('t='))
  const [only] = times
  return times.length === 1 && only !== undefined && /^t=\d{1,12}$/.test(only)
    ? Number(only.slice(2))
    : undefined
}

function isSignedWith(secret: string, raw: Buffer, header: string, nowMs: number): boolean {
  try {
    return (
      Stripe.webhooks.signature?.verifyHeader(raw, header, secret, TOLERANCE_S, undefined, nowMs) === true
    )
  } catch (error) {
    if (error instanceof Stripe.errors.StripeSignatureVerificationError) return false
    throw error
  }
}

type Fields = Record<string, unknown>

/**
 * Narrows an event to what is kept. Thin events are kept, too, without an owner. Of one in another API version only the
 * ids are: its fields may mean something else, or stand elsewhere.
 * @param version the API version that this code was written against
 * @throws EventError `event_malformed` when it is no event of Stripe
 */
export function projectEvent(event: unknown, version: string): InboxEvent {
  const fields = asFields(event)
  const id = asId(fields['id'])
  const type = asWord(fields['type'])
  const created = asInstant(fields['created'])
  const { livemode } = fields
  if (id === undefined || type === undefined || created === undefined || typeof livemode !== 'boolean') {
    throw new EventError('event_malformed', 'an event has an id, a type, a time and a mode')
  }
  const object = asFields(asFields(fields['data'])['object'])
  const related = asFields(fields['related_object'])
  const apiVersion = asWord(fields['api_version']) ?? null
  const snapshot = fields['object'] === 'event'
  const foreign = snapshot && apiVersion !== version
  return {
    id,
    type,
    created,
    livemode,
    apiVersion,
    objectId: asId(object['id']) ?? asId(related['id']) ?? null,
    owner: snapshot && !foreign ? ownerOf(type, object) : null,
    unread: foreign && nounOf(type) !== undefined,
    payload: foreign ? {} : project(object),
  }
}

/** What the events that we handle tell of, by how their types begin. */
const NOUNS = [
  'checkout.session',
  'customer.subscription',
  'customer.deleted',
  'invoice',
  'payment_intent',
  'subscription_schedule',
] as const

/** What an event tells of; undefined when nobody handles its type. */
export function nounOf(type: string): (typeof NOUNS)[number] | undefined {
  return NOUNS.find((noun) => type === noun || type.startsWith(`${noun}.`))
}

/** The workflow that owns what an event tells of. @param about the object, as our API version shows it */
export function ownerOf(type: string, about: unknown): string | null {
  const object = asFields(about)
  if (type.startsWith('payment_intent.')) {
    const { perennial_top_up: attempt, perennial_account: account } = asFields(object['metadata'])
    if (attempt !== undefined)
      return typeof account === 'string' && /^acc_[A-Za-z0-9]{1,64}$/.test(account)
        ? workflowId.topUp(account)
        : null
  }
  // a payment intent of a pack has its order's id, those of invoices have none
  if (type.startsWith('checkout.session.') || type.startsWith('payment_intent.')) {
    const order = asFields(object['metadata'])['perennial_order']
    return typeof order === 'string' && /^ord_[A-Za-z0-9]{1,64}$/.test(order)
      ? workflowId.checkout(order)
      : null
  }
  if (type === 'customer.deleted') {
    const customer = asId(object['id'])
    return customer?.startsWith('cus_') === true ? workflowId.customer(customer) : null
  }
  if (type.startsWith('customer.subscription.')) return subscriptionOwner(object['id'])
  if (type.startsWith('subscription_schedule.'))
    return subscriptionOwner(object['subscription'] ?? object['released_subscription'])
  if (type.startsWith('invoice.')) {
    return subscriptionOwner(asFields(asFields(object['parent'])['subscription_details'])['subscription'])
  }
  return null
}

function subscriptionOwner(reference: unknown): string | null {
  const id = asId(reference)
  return id?.startsWith('sub_') === true && orderOf(id) === undefined ? workflowId.subscription(id) : null
}

/** What is kept of an object: the field's name and how its value must look. Everything else is dropped. */
const KEPT: Record<string, (value: unknown) => unknown> = {
  id: asId,
  object: asWord,
  status: asWord,
  payment_status: asWord,
  mode: asWord,
  billing_reason: asWord,
  collection_method: asWord,
  currency: asWord,
  customer: asId,
  subscription: asId,
  invoice: asId,
  charge: asId,
  payment_intent: asId,
  latest_invoice: asId,
  amount: asAmount,
  amount_due: asAmount,
  amount_paid: asAmount,
  amount_refunded: asAmount,
  amount_remaining: asAmount,
  amount_total: asAmount,
  subtotal: asAmount,
  total: asAmount,
  attempt_count: asAmount,
  cancel_at_period_end: asFlag,
  billing_cycle_anchor: asInstant,
  cancel_at: asInstant,
  canceled_at: asInstant,
  ended_at: asInstant,
  expires_at: asInstant,
  next_payment_attempt: asInstant,
  period_start: asInstant,
  period_end: asInstant,
  trial_end: asInstant,
}

function project(object: Fields): Record<string, unknown> {
  const kept: Record<string, unknown> = {}
  for (const [name, read] of Object.entries(KEPT)) {
    const value = Object.hasOwn(object, name) ? read(object[name]) : undefined
    if (value !== undefined) kept[name] = value
  }
  const items = asFields(object['items'])['data']
  const ends = (Array.isArray(items) ? items : []).flatMap(
    (item) => asInstant(asFields(item)['current_period_end']) ?? [],
  )
  if (ends.length > 0) kept['item_period_ends'] = ends.slice(0, 20)
  const subscription = asId(asFields(asFields(object['parent'])['subscription_details'])['subscription'])
  if (subscription !== undefined) kept['subscription'] = subscription
  return kept
}

function asFields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

/** An id that Stripe minted, also when the object was expanded. Ids that people choose have no such prefix. */
function asId(value: unknown): string | undefined {
  const id = typeof value === 'string' ? value : asFields(value)['id']
  return typeof id === 'string' && /^[a-z][a-z0-9]{1,15}_[A-Za-z0-9_]{1,200}$/.test(id) ? id : undefined
}

/** A word of Stripe's vocabulary: a type, a status, a currency, a version. */
function asWord(value: unknown): string | undefined {
  return typeof value === 'string' && /^[a-z0-9][a-z0-9_.-]{0,99}$/.test(value) ? value : undefined
}

function asAmount(value: unknown): string | undefined {
  return Number.isSafeInteger(value) ? String(value) : undefined
}

function asFlag(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined
}

const YEAR_9999_S = 253_402_300_799

/** Seconds since 1970 of a snapshot event, or the ISO instant of a thin one. */
function asInstant(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= YEAR_9999_S) {
    return new Date(value * 1000).toISOString()
  }
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return undefined
  const at = new Date(value)
  return Number.isNaN(at.getTime()) || at.getTime() < 0 ? undefined : at.toISOString()
}
