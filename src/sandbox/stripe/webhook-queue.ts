// Which event still has to reach which endpoint, and when. Kept in the store; the settings of the control plane
// decide here what is held, dropped, doubled, delayed or shuffled.
import { invalid } from './error.ts'
import type { Delivery, StoredEvent, WebhookEndpoint } from './wire.ts'
import type { World } from './world.ts'

/** All events, none, or those of some types and so many of them. */
export type Some = boolean | { types?: string[]; count?: number }

export interface WebhookSettings {
  deliver: boolean
  drop: Some
  double: boolean
  delay: number
  reorder: boolean
  /** a second event object about the same fact. docs.stripe.com/webhooks#handle-duplicate-events */
  two_events: Some
  /** signed with another secret */
  bad_signature: Some
  /** as an endpoint of an older release of the API is told */
  old_version: Some
}

const initial: WebhookSettings = {
  deliver: true,
  drop: false,
  double: false,
  delay: 0,
  reorder: false,
  two_events: false,
  bad_signature: false,
  old_version: false,
}
const SOME = ['drop', 'two_events', 'bad_signature', 'old_version'] as const

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const KEEP_TRYING = 72 * HOUR
/** The waits between attempts; the last one repeats until three days are over. */
const waits = [5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 12 * HOUR]

export function settingsOf(world: World): WebhookSettings {
  return { ...initial, ...(world.store.get('_setting', 'webhooks') as Partial<WebhookSettings> | undefined) }
}

export function changeSettings(world: World, asked: unknown): WebhookSettings {
  const now = settingsOf(world)
  const given = (asked ?? {}) as Record<string, unknown>
  for (const [key, value] of Object.entries(given)) {
    if (!(key in initial)) throw invalid(`Unknown webhook setting: ${key}`, key)
    const some = SOME.some((name) => name === key)
    const right = some ? isSome(value) : typeof value === typeof initial[key as keyof WebhookSettings]
    if (!right) throw invalid(`Invalid value for ${key}`, key)
  }
  const next = { ...now, ...(given as Partial<WebhookSettings>) }
  world.store.put('_setting', 'webhooks', { ...next })
  return next
}

function isSome(value: unknown): boolean {
  if (typeof value === 'boolean') return true
  if (typeof value !== 'object' || value === null) return false
  const { types, count, ...more } = value as Record<string, unknown>
  const named =
    types === undefined || (Array.isArray(types) && types.every((type) => typeof type === 'string'))
  return named && (count === undefined || typeof count === 'number') && Object.keys(more).length === 0
}

function listens(endpoint: WebhookEndpoint, type: string): boolean {
  return (
    endpoint.status === 'enabled' && endpoint.enabled_events.some((name) => name === '*' || name === type)
  )
}

/** Queues the events of one step, within that step. */
export function enqueue(world: World, events: StoredEvent[]): void {
  const settings = settingsOf(world)
  const ordered = settings.reorder ? world.random.shuffle(events) : events
  const endpoints = world.store.all('webhook_endpoint')
  for (const event of ordered) {
    const wanted = endpoints.filter((endpoint) => listens(endpoint, event.type))
    if (wanted.length === 0) continue
    const dropped = takeOne(world, 'drop', event.type)
    const told = [event]
    if (takeOne(world, 'two_events', event.type))
      told.push(world.create('event', { ...event, id: world.id('evt') }))
    for (const endpoint of wanted) {
      const copies = settings.double && !dropped ? 2 : 1
      for (let copy = 0; copy < copies; copy += 1)
        for (const one of told)
          queue(world, one, endpoint.id, dropped ? 'dropped' : 'pending', settings.delay)
    }
  }
}

export function queue(
  world: World,
  event: StoredEvent,
  endpoint: string,
  state: Delivery['state'],
  delay: number,
): void {
  const id = world.id('del')
  const next = world.atMs + delay * 1000
  const until = event.created * 1000 + KEEP_TRYING + delay * 1000
  world.store.put('_delivery', id, { id, event: event.id, endpoint, state, attempts: 0, next, until })
}

/** Whether this is done to an event of this type; uses up one of so many. */
export function takeOne(world: World, name: (typeof SOME)[number], type: string): boolean {
  const settings = settingsOf(world)
  const some = settings[name]
  if (typeof some === 'boolean') return some
  if (some.types !== undefined && !some.types.includes(type)) return false
  if (some.count === undefined) return true
  const left = some.count - 1
  world.store.put('_setting', 'webhooks', {
    ...settings,
    [name]: left > 0 ? { ...some, count: left } : false,
  })
  return some.count > 0
}

/** How many endpoints this event has not reached and still will be tried on. */
export function waiting(world: World, eventId: string): number {
  return new Set(world.undelivered.get(eventId)?.values()).size
}

/** An endpoint that is gone or disabled is not tried any more. */
export function abandonEndpoint(world: World, endpoint: string): void {
  for (const delivery of world.store.all('_delivery')) {
    if (delivery.endpoint === endpoint && delivery.state === 'pending')
      world.store.put('_delivery', delivery.id, { ...delivery, state: 'failed' })
  }
}

/** Notes an attempt's outcome and plans the next one. */
export function settleAttempt(world: World, id: string, delivered: boolean): void {
  const delivery = world.store.get('_delivery', id)
  if (!delivery || delivery.state !== 'pending') return
  const attempts = delivery.attempts + 1
  const wait = waits[Math.min(attempts, waits.length) - 1] ?? 12 * HOUR
  const next = world.atMs + wait
  const state = delivered ? 'sent' : next > delivery.until ? 'failed' : 'pending'
  world.store.put('_delivery', id, { ...delivery, attempts, next, state })
  const event = world.store.get('event', delivery.event)
  if (delivered && event?.type === 'invoice.created') noteDelivered(world, event)
}

/** Invoices say when their creation was told. */
function noteDelivered(world: World, event: StoredEvent): void {
  const invoice = world.store.get('invoice', String(event.data.object['id']))
  if (invoice && invoice.webhooks_delivered_at === null)
    world.update('invoice', invoice.id, { webhooks_delivered_at: world.at })
}

export function counts(world: World): Record<Delivery['state'], number> {
  const out = { pending: 0, sent: 0, failed: 0, dropped: 0 }
  for (const delivery of world.store.all('_delivery')) out[delivery.state] += 1
  return out
}

/** Forgets deliveries of events that nobody may ask for any more. */
export function pruneDeliveries(world: World): void {
  for (const delivery of world.store.all('_delivery'))
    if (!world.store.get('event', delivery.event)) world.store.delete('_delivery', delivery.id)
}
