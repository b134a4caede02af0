// One request to Stripe's own API, from its headers to its answer: key, version, idempotency, parameters, expansion.
import { errorObject, invalid, StripeFault } from './error.ts'
import { expandAll } from './expand.ts'
import { parseForm } from './form.ts'
import type { IdempotencyKeys } from './idempotency.ts'
import { includable, routes } from './resources.ts'
import { matchRoute } from './router.ts'
import { snapshot } from './snapshot.ts'
import { API_VERSION } from './wire.ts'
import type { World } from './world.ts'

export interface ApiRequest {
  method: string
  path: string
  query: string
  body: string
  headers: Record<string, string | string[] | undefined>
  origin: string
  id: string
}

export interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

function headerOf(request: Pick<ApiRequest, 'headers'>, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

function unauthorized(message: string): StripeFault {
  return new StripeFault(401, { type: 'invalid_request_error', message })
}

/** Only test keys open this door; a live key is refused like a wrong one. */
export function authenticate(headers: ApiRequest['headers']): void {
  const header = headerOf({ headers }, 'authorization') ?? ''
  const [scheme = '', value = ''] = header.split(' ')
  const key = /^basic$/i.test(scheme) ? (Buffer.from(value, 'base64').toString().split(':')[0] ?? '') : value
  if (!/^(bearer|basic)$/i.test(scheme) || key === '')
    throw unauthorized(
      "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/.",
    )
  if (!/^(sk|rk)_test_\w+$/.test(key)) throw unauthorized(`Invalid API Key provided: ${masked(key)}`)
}

function masked(key: string): string {
  return key.length <= 12
    ? '*'.repeat(key.length)
    : `${key.slice(0, 8)}${'*'.repeat(key.length - 12)}${key.slice(-4)}`
}

export function checkVersion(headers: ApiRequest['headers']): void {
  const version = headerOf({ headers }, 'stripe-version')
  if (version !== undefined && version !== API_VERSION)
    throw invalid(`Invalid Stripe API version: ${version}. The Stripe sandbox speaks ${API_VERSION}.`)
}

export function idempotencyKeyOf(headers: ApiRequest['headers'], method: string): string | undefined {
  return method === 'POST' ? headerOf({ headers }, 'idempotency-key') : undefined
}

/** Answers a request whose idempotency key, if any, is already claimed. Never throws. */
export function answer(world: World, keys: IdempotencyKeys, request: ApiRequest, nowMs: number): Answer {
  const key = idempotencyKeyOf(request.headers, request.method)
  const headers = { 'request-id': request.id, ...(key === undefined ? {} : { 'idempotency-key': key }) }
  try {
    authenticate(request.headers)
    checkVersion(request.headers)
    const sent = request.method === 'POST' ? request.body : request.query
    if (key !== undefined) {
      const saved = keys.find(key, request.method, request.path, sent, nowMs)
      if (saved) {
        const replay = { 'idempotent-replayed': 'true', 'original-request': saved.request }
        return { status: saved.status, headers: { ...headers, ...replay }, body: saved.body }
      }
    }
    return { status: 200, headers, body: execute(world, keys, request, key, sent, nowMs) }
  } catch (error) {
    return { ...failure(error, request.id), headers }
  }
}

export function failure(error: unknown, requestId: string): { status: number; body: string } {
  const fault =
    error instanceof StripeFault
      ? error
      : new StripeFault(500, { type: 'api_error', message: `The Stripe sandbox failed: ${String(error)}` })
  return { status: fault.status, body: pretty({ error: errorObject(fault, requestId) }) }
}

function execute(
  world: World,
  keys: IdempotencyKeys,
  request: ApiRequest,
  key: string | undefined,
  sent: string,
  nowMs: number,
): string {
  const { method, path, id } = request
  const keep = (status: number, body: string): void => {
    if (key !== undefined) keys.keep({ key, method, path, status, body, request: id, at: nowMs }, sent)
  }
  const found = matchRoute(routes, method, path)
  if (!found) throw unrecognized(method, path)
  const params = found.route.read(
    parseForm(method === 'POST' || request.body !== '' ? request.body : request.query),
  )
  const mark = { id, idempotency_key: key ?? null }
  const act = (): string => {
    const result = found.route.act({ world, ids: found.ids, params, path, origin: request.origin })
    const shown = snapshot(world.store, result)
    expandAll(world, includable, shown, (params as { expand?: string[] }).expand ?? [])
    const body = pretty(shown)
    keep(200, body)
    return body
  }
  return world.step(nowMs, mark, act, {
    keeps: (error) => error instanceof StripeFault && error.executed,
    note: (error) => {
      if (error instanceof StripeFault && (error.executed || error.status === 402))
        keep(error.status, failure(error, id).body)
    },
  })
}

function unrecognized(method: string, path: string): StripeFault {
  return new StripeFault(404, {
    type: 'invalid_request_error',
    message: `Unrecognized request URL (${method}: ${path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.`,
  })
}

export function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2)
}
