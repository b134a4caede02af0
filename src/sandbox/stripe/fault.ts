// The fault plane: what goes wrong between a client and Stripe, by rules that are added one by one. A rule names the
// requests it is for, how often, and with what probability; its chance is seeded, so that a run can be repeated.
import { invalid, StripeFault, type FaultBody } from './error.ts'
import { nobody } from './control-context.ts'
import { Random } from './random.ts'
import type { FaultRule } from './wire.ts'
import type { World } from './world.ts'

/** Refused before anything is done: not saved under the idempotency key. docs.stripe.com/api/errors, /rate-limits */
const BEFORE: Record<string, { status: number; body: FaultBody; headers?: Record<string, string> }> = {
  '500': { status: 500, body: { type: 'api_error', message: 'An error occurred with our API.' } },
  '503': { status: 503, body: { type: 'api_error', message: 'The service is unavailable.' } },
  '429_global': limited('global-rate'),
  '429_endpoint': limited('endpoint-rate'),
  '429_concurrency': limited('global-concurrency'),
  '429_endpoint_concurrency': limited('endpoint-concurrency'),
  lock_timeout: {
    status: 429,
    body: {
      type: 'invalid_request_error',
      code: 'lock_timeout',
      message:
        'This object cannot be accessed right now because another API request or Stripe process is currently accessing it.',
    },
  },
}

/** Done to the connection instead of an answer, or around it. */
const AROUND = [
  'refused',
  'reset',
  'latency',
  'timeout',
  'timeout_after_commit',
  'truncated_after_commit',
  '500_after_commit',
] as const

/** Every fault that there is. */
export const FAULTS: readonly string[] = [...Object.keys(BEFORE), ...AROUND]

function limited(reason: string): { status: number; body: FaultBody; headers: Record<string, string> } {
  return {
    status: 429,
    body: {
      type: 'invalid_request_error',
      code: 'rate_limit',
      message:
        'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.',
    },
    headers: { 'stripe-rate-limited-reason': reason },
  }
}

/** What a request that meets this fault is answered before anything is done; undefined when it is let through first. */
export function answeredBefore(
  rule: FaultRule,
): { fault: StripeFault; headers: Record<string, string> } | undefined {
  const found = BEFORE[rule.fault]
  return found && { fault: new StripeFault(found.status, found.body), headers: found.headers ?? {} }
}

/** The first rule that is for this request and not used up; it counts as met. */
export function meetFault(
  world: World,
  nowMs: number,
  request: { method: string; path: string; key: string | undefined },
): FaultRule | undefined {
  for (const rule of world.store.all('_fault')) {
    if (rule.count !== null && rule.hits >= rule.count) continue
    if (rule.method !== null && rule.method !== request.method) continue
    if (rule.path !== null && !isAt(rule.path, request.path)) continue
    if (rule.key !== null && !(request.key ?? '').includes(rule.key)) continue
    const asked = rule.asked + 1
    // a draw of its own for each request, whatever else the simulator draws
    const hit = rule.probability >= 1 || new Random(rule.seed, asked).next() < rule.probability
    const met = { ...rule, asked, hits: rule.hits + (hit ? 1 : 0) }
    world.step(nowMs, nobody, () => world.store.put('_fault', rule.id, met))
    if (hit) return met
  }
  return undefined
}

/** `/v1/customers/:id` is one segment for `:id`; a `*` at the end is everything below. */
function isAt(pattern: string, path: string): boolean {
  if (pattern.endsWith('*')) return path.startsWith(pattern.slice(0, -1))
  const [wanted, parts] = [pattern.split('/'), path.split('/')]
  return (
    wanted.length === parts.length && wanted.every((part, i) => part.startsWith(':') || part === parts[i])
  )
}

const FIELDS = ['fault', 'method', 'path', 'key', 'count', 'probability', 'seed', 'latency_ms']

/** Adds a rule; it is the last to be asked. */
export function addFault(world: World, nowMs: number, body: Record<string, unknown>): FaultRule {
  for (const name of Object.keys(body))
    if (!FIELDS.includes(name)) throw invalid(`Unknown field of a fault: ${name}`, name)
  const { fault } = body
  if (typeof fault !== 'string' || !FAULTS.includes(fault))
    throw invalid(`fault must be one of ${FAULTS.join(', ')}`, 'fault')
  const text = (name: string): string | null => {
    const value = body[name] ?? null
    if (value !== null && typeof value !== 'string') throw invalid(`${name} must be a string`, name)
    return value
  }
  const number = <T>(name: string, otherwise: T, least: number, most: number): number | T => {
    const value = body[name]
    if (value === undefined) return otherwise
    if (typeof value !== 'number' || !(value >= least && value <= most))
      throw invalid(`${name} must be a number from ${least} to ${most}`, name)
    return value
  }
  const rule: FaultRule = {
    id: world.id('fault'),
    fault,
    method: text('method')?.toUpperCase() ?? null,
    path: text('path'),
    key: text('key'),
    count: number('count', null, 1, 1e9),
    probability: number('probability', 1, 0, 1),
    seed: number('seed', 1, 0, 2 ** 31),
    latency_ms: number('latency_ms', 1_000, 0, 600_000),
    asked: 0,
    hits: 0,
  }
  return world.step(nowMs, nobody, () => world.create('_fault', rule))
}

export function listFaults(world: World): unknown {
  return { data: world.store.all('_fault'), faults: FAULTS }
}

/** Ends one rule, or all of them. */
export function clearFaults(world: World, nowMs: number, id: string): unknown {
  return world.step(nowMs, nobody, () => {
    const ended = world.store.all('_fault').filter((rule) => id === '' || rule.id === id)
    if (id !== '' && ended.length === 0) throw new StripeFault(404, missingRule(id))
    for (const rule of ended) world.store.delete('_fault', rule.id)
    return { ended: ended.length }
  })
}

function missingRule(id: string): FaultBody {
  return { type: 'invalid_request_error', code: 'resource_missing', message: `No such fault: '${id}'` }
}
