/**
 * The one door to Stripe: every request of the client asks for admission before it is sent and tells what became of it.
 * What is an outage is said here: a time-out, a broken connection or body, a 5xx that is not the repetition of an old one.
 * A refusal is an answer, and so is a 429, which empties a bucket instead.
 */
import { setTimeout as pause } from 'node:timers/promises'
import Stripe from 'stripe'

/** Stripe is away and nobody calls it. Nothing was sent, unless `sent`: then the outcome of this call is unknown. */
export class StripeUnavailable extends Error {
  override name = 'StripeUnavailable'
  readonly retryAfterMs: number
  readonly sent: boolean
  constructor(retryAfterMs: number, sent: boolean, options?: ErrorOptions) {
    super('Stripe does not answer: calls wait until it does', options)
    this.retryAfterMs = retryAfterMs
    this.sent = sent
  }
}

/** Too many calls for Stripe's rate limits; nothing was sent. */
export class StripeBusy extends Error {
  override name = 'StripeBusy'
  readonly retryAfterMs: number
  constructor(retryAfterMs: number) {
    super('Stripe’s rate limits are used up: calls wait for their turn')
    this.retryAfterMs = retryAfterMs
  }
}

/** Who decides whether a call may go, for the whole fleet. Waits are in milliseconds. */
export interface Admission {
  /** @param answered calls that Stripe answered since this process asked last, and their epoch */
  admit(
    endpoint: string,
    answered: { calls: number; epoch: string },
  ): Promise<{ outcome: 'go' | 'probe' | 'busy' | 'open'; epoch: string; waitMs: number }>
  /** @param outage null: a probe was answered */
  report(
    epoch: string,
    outage: string | null,
    answered: number,
  ): Promise<{ state: string; waitMs: number | null }>
  /** Stripe refused for a rate: of this endpoint, or of the whole account. */
  refused(endpoint: string | undefined): Promise<unknown>
}

/** One call, or one that was not let through, as it is counted. Both labels have few values. */
export interface StripeCall {
  /** method and route without ids */
  endpoint: string
  /** `refused`: a 4xx; `rate_limited`: a 429; `unavailable`, `busy`: not sent */
  outcome: 'answered' | 'refused' | 'rate_limited' | 'outage' | 'unavailable' | 'busy'
  seconds: number
}

export type HttpClient = NonNullable<Stripe.StripeConfig['httpClient']>
type Answer = Awaited<ReturnType<HttpClient['makeRequest']>>

/** How rarely a process tells how many calls were answered: it only shares a row with others for this. */
const TELL_EVERY_MS = 1_000
/** First segments that hold a resource and are none. docs.stripe.com/api */
const NAMESPACES = ['checkout', 'billing_portal', 'billing', 'test_helpers']
/** What stands where an id could, and is none. */
const VERBS = ['search', 'create_preview']

/** Method and route of a request, ids left out: what a rate limit and a metric are kept by. */
export function endpointOf(method: string, path: string): string {
  const [version = '', ...rest] = path.replace(/\?.*/, '').split('/').filter(Boolean)
  const from = NAMESPACES.includes(rest[0] ?? '') ? 1 : 0
  const named = rest.map((part, at) => ((at - from) % 2 === 1 && !VERBS.includes(part) ? ':id' : part))
  return `${method} /${[version, ...named].join('/')}`
}

/** A client for `new Stripe(…, { httpClient })`. Its errors come as the `detail` of a StripeConnectionError. */
export function stripeDoor(admission: Admission, observe: (call: StripeCall) => void = () => {}): HttpClient {
  const line = Stripe.createNodeHttpClient()
  let answered = { calls: 0, epoch: '0' }
  let toldAt = performance.now()

  /** The calls that nobody was told of yet. They are told once: what is lost on the way is a moment's count. */
  function untold(): typeof answered {
    const told = answered
    answered = { calls: 0, epoch: told.epoch }
    toldAt = performance.now()
    return told
  }

  async function enter(endpoint: string): Promise<{ epoch: string; probe: boolean }> {
    const isTime = answered.calls > 0 && performance.now() - toldAt >= TELL_EVERY_MS
    const { outcome, epoch, waitMs } = await admission.admit(
      endpoint,
      isTime ? untold() : { calls: 0, epoch: answered.epoch },
    )
    if (outcome === 'open' || outcome === 'busy') {
      observe({ endpoint, outcome: outcome === 'open' ? 'unavailable' : 'busy', seconds: 0 })
      throw outcome === 'open' ? new StripeUnavailable(waitMs, false) : new StripeBusy(waitMs)
    }
    if (waitMs > 0) await pause(waitMs)
    return { epoch, probe: outcome === 'probe' }
  }

  return {
    getClientName: () => line.getClientName(),
    async makeRequest(host, port, path, method, headers, data, protocol, timeout) {
      const endpoint = endpointOf(method, path)
      const { epoch, probe } = await enter(endpoint)
      const began = performance.now()
      const seen = (outcome: StripeCall['outcome']) =>
        observe({ endpoint, outcome, seconds: (performance.now() - began) / 1_000 })

      /** @returns what is thrown instead of the fault, when nobody calls Stripe any more */
      async function failed(reason: string, fault?: unknown): Promise<StripeUnavailable | undefined> {
        seen('outage')
        const told = untold()
        // who cannot be told learns it from the next one; a probe's lease ends by itself
        const now = await admission
          .report(epoch, reason, told.epoch === epoch ? told.calls : 0)
          .catch(() => undefined)
        if (now === undefined || now.state === 'closed') return undefined
        return new StripeUnavailable(now.waitMs ?? 0, true, { cause: fault })
      }
      async function came(outcome: StripeCall['outcome']): Promise<void> {
        seen(outcome)
        if (probe) return void (await admission.report(epoch, null, 0).catch(() => undefined))
        answered = { calls: (answered.epoch === epoch ? answered.calls : 0) + 1, epoch }
      }

      const answer = await line
        .makeRequest(host, port, path, method, headers, data, protocol, timeout)
        .catch(async (fault: unknown) => {
          throw (await failed(reasonOf(fault), fault)) ?? fault
        })
      const status = answer.getStatusCode()
      const counted = status >= 500 && answer.getHeaders()['idempotent-replayed'] !== 'true'
      if (counted) {
        const away = await failed(`HTTP ${status}`)
        if (away !== undefined) {
          discard(answer)
          throw away
        }
      }
      return {
        getStatusCode: () => status,
        getHeaders: () => answer.getHeaders(),
        getRawResponse: () => answer.getRawResponse(),
        toStream: (done) => answer.toStream(done),
        dispose: () => discard(answer),
        async toJSON() {
          let body: unknown
          try {
            body = await answer.toJSON()
          } catch (fault) {
            throw (counted ? undefined : await failed(`a broken answer: ${reasonOf(fault)}`, fault)) ?? fault
          }
          // the client takes a failure without this for an answer; what stands between us and Stripe may send one
          if (status >= 400 && !isFailure(body))
            body = { error: { type: 'api_error', message: `HTTP ${status}` } }
          if (counted) return body
          if (status === 429) await refused(admission, endpoint, answer, body)
          await came(status === 429 ? 'rate_limited' : status >= 400 ? 'refused' : 'answered')
          return body
        },
      }
    },
  }
}

/** Whose limit a 429 is about. docs.stripe.com/rate-limits */
async function refused(admission: Admission, endpoint: string, answer: Answer, body: unknown): Promise<void> {
  const reason = String(answer.getHeaders()['stripe-rate-limited-reason'] ?? '')
  // an object that somebody else holds is nobody's rate
  if (reason === 'resource-specific' || (reason === '' && codeOf(body) === 'lock_timeout')) return
  await admission.refused(reason.startsWith('endpoint-') ? endpoint : undefined).catch(() => undefined)
}

function isFailure(body: unknown): body is { error: object } {
  return (
    typeof body === 'object' &&
    body !== null &&
    'error' in body &&
    typeof body.error === 'object' &&
    body.error !== null
  )
}

function codeOf(body: unknown): unknown {
  return isFailure(body) && 'code' in body.error ? body.error.code : undefined
}

/** Reads nobody's body to its end, so that its connection is free again. */
function discard(answer: Answer): void {
  answer.toJSON().catch(() => undefined)
}

/** ECONNREFUSED, ETIMEDOUT …: a code and nothing else, for a message may quote a request. */
function reasonOf(fault: unknown): string {
  return fault instanceof Error && 'code' in fault && typeof fault.code === 'string'
    ? fault.code
    : 'connection'
}
