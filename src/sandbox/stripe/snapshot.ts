// An object as Stripe shows it at this moment, and what an update event says about how it was.
import type { Store } from './store.ts'

type Json = Record<string, unknown>

/** The wire form: no private fields, embedded prices as they are now, at most ten invoice lines. */
export function snapshot(store: Store, object: unknown): Json {
  return show(store, object) as Json
}

function show(store: Store, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((entry) => show(store, entry))
  if (value === null || typeof value !== 'object') return value
  const source = currentPrice(store, value as Json)
  const out: Json = {}
  for (const [key, field] of Object.entries(source)) {
    if (!key.startsWith('_') && field !== undefined) out[key] = show(store, field)
  }
  if (out['object'] === 'invoice') out['lines'] = firstPage(out['lines'] as Json)
  return out
}

function currentPrice(store: Store, value: Json): Json {
  return value['object'] === 'price'
    ? ((store.get('price', String(value['id'])) as Json | undefined) ?? value)
    : value
}

function firstPage(lines: Json): Json {
  const data = lines['data'] as unknown[]
  return data.length <= 10 ? lines : { ...lines, data: data.slice(0, 10), has_more: true }
}

/** What differs, as it was: hashes field by field, arrays whole; undefined when nothing differs. */
export function previousAttributes(before: Json, after: Json): Json | undefined {
  const out: Json = {}
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[key], after[key]]
    if (JSON.stringify(was) === JSON.stringify(is)) continue
    out[key] = isHash(was) && isHash(is) ? previousAttributes(was, is) : (was ?? null)
  }
  return Object.keys(out).length === 0 ? undefined : out
}

function isHash(value: unknown): value is Json {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}
