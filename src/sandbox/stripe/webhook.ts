// Delivery of webhooks: real signatures (machine time, fresh at each attempt), a few at a time, redelivered with
// growing waits of business time until the endpoint answers 2xx.
import { createHmac } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import { shownEvent } from './resource/event.ts'
import { inOldVersion } from './old-version.ts'
import { secretsOf } from './resource/webhook-endpoint.ts'
import { settingsOf, settleAttempt, takeOne } from './webhook-queue.ts'
import type { Delivery } from './wire.ts'
import type { World } from './world.ts'

const AT_ONCE = 8
const TIMEOUT_MS = 10_000

export class Webhooks {
  readonly #world: World
  readonly #now: () => number
  readonly #catchUp: () => number
  readonly #log: (line: string) => void
  readonly #pending = new Map<string, Delivery>()
  readonly #flying = new Set<string>()
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: AT_ONCE }),
    'https:': new https.Agent({ keepAlive: true, maxSockets: AT_ONCE }),
  }
  #waiters: (() => void)[] = []
  #attempts = 0
  #closed = false

  constructor(world: World, now: () => number, catchUp: () => number, log: (line: string) => void) {
    this.#world = world
    this.#now = now
    this.#catchUp = catchUp
    this.#log = log
    for (const delivery of world.store.all('_delivery')) this.follow(delivery.id, delivery)
  }

  /** Follows the store. */
  follow(id: string, delivery: Delivery | undefined): void {
    if (delivery?.state === 'pending') this.#pending.set(id, delivery)
    else this.#pending.delete(id)
  }

  inFlight(): number {
    return this.#flying.size
  }

  /** How many deliveries were begun so far, each try of one. */
  begun(): number {
    return this.#attempts
  }

  /** When the earliest delivery is due; held ones do not count. */
  nextDeadline(): number | undefined {
    if (!settingsOf(this.#world).deliver) return undefined
    let first: number | undefined
    for (const [id, { next }] of this.#pending) {
      if (!this.#flying.has(id) && (first === undefined || next < first)) first = next
    }
    return first
  }

  /** Starts what is due, as far as the limit allows. */
  pump(): void {
    if (this.#closed || this.#flying.size >= AT_ONCE || !settingsOf(this.#world).deliver) return
    const now = Math.max(this.#now(), this.#world.atMs)
    for (const [id, delivery] of this.#pending) {
      if (this.#flying.size >= AT_ONCE) return
      if (!this.#flying.has(id) && delivery.next <= now) void this.#attempt(id, delivery)
    }
  }

  /** Delivers everything due now and waits for each answer. */
  async deliverDue(): Promise<number> {
    const before = this.#attempts
    for (;;) {
      this.pump()
      if (this.#flying.size === 0) return this.#attempts - before
      await new Promise<void>((resolve) => this.#waiters.push(resolve))
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const agent of Object.values(this.#agents)) agent.destroy()
    while (this.#flying.size > 0) await new Promise<void>((resolve) => this.#waiters.push(resolve))
  }

  async #attempt(id: string, delivery: Delivery): Promise<void> {
    this.#flying.add(id)
    this.#attempts += 1
    const delivered = await this.#send(delivery).catch(() => false)
    this.#flying.delete(id)
    if (!this.#closed) {
      const mark = { id: null, idempotency_key: null }
      this.#world.step(this.#catchUp(), mark, () => settleAttempt(this.#world, id, delivered))
      if (!delivered)
        this.#log(`webhook ${delivery.event} not accepted by ${delivery.endpoint}, will be retried`)
    }
    const waiters = this.#waiters
    this.#waiters = []
    for (const resolve of waiters) resolve()
    this.pump()
  }

  async #send({ event: eventId, endpoint: endpointId }: Delivery): Promise<boolean> {
    const event = this.#world.store.get('event', eventId)
    const endpoint = this.#world.store.get('webhook_endpoint', endpointId)
    if (!event || !endpoint || endpoint.status !== 'enabled') return false
    const shown = shownEvent(this.#world, event)
    const [old, bad] = this.#world.step(this.#world.atMs, { id: null, idempotency_key: null }, () => [
      takeOne(this.#world, 'old_version', event.type),
      takeOne(this.#world, 'bad_signature', event.type),
    ])
    const told = { ...shown, api_version: endpoint.api_version ?? shown.api_version }
    const body = JSON.stringify(old ? inOldVersion(told) : told, null, 2)
    const secrets = bad ? ['whsec_of_somebody_else'] : secretsOf(endpoint, this.#now())
    const url = new URL(endpoint.url)
    const secure = url.protocol === 'https:'
    const request = (secure ? https : http).request(url, {
      method: 'POST',
      agent: this.#agents[secure ? 'https:' : 'http:'],
      headers: {
        'content-type': 'application/json; charset=utf-8',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)',
        accept: '*/*; q=0.5, application/xml',
        'stripe-signature': signature(body, ...secrets),
      },
      timeout: TIMEOUT_MS,
    })
    return new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => request.destroy(new Error('timed out')), TIMEOUT_MS)
      const settle = (ok: boolean): void => {
        clearTimeout(timer)
        resolve(ok)
      }
      request.on('response', (response) => {
        const status = response.statusCode ?? 0
        response.resume()
        response.on('end', () => settle(status >= 200 && status < 300))
        response.on('error', () => settle(false))
      })
      request.on('error', () => settle(false))
      request.on('close', () => settle(false))
      request.end(body)
    })
  }
}

/** The header Stripe sends: the machine's time now, and the body signed with it, once a secret while one is rolled. */
export function signature(body: string, ...secrets: string[]): string {
  const t = Math.floor(Date.now() / 1000)
  const sign = (secret: string) => createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')
  return [`t=${t}`, ...secrets.map((secret) => `v1=${sign(secret)}`)].join(',')
}
