// `expand[]`: ids become objects, fields that only exist when asked for are added.
import { invalid } from './error.ts'
import { snapshot } from './snapshot.ts'
import { kindByPrefix } from './wire.ts'
import type { World } from './world.ts'

type Json = Record<string, unknown>
export type Includable = Record<string, (world: World, object: Json) => unknown>

/** Ids that Stripe gives as text only. */
const plain = new Set(['subscription_item.subscription', 'line_item.invoice', 'charge.payment_method'])

/** A prefix shared by two paths is expanded once: expanding an object that is already there walks into it. */
export function expandAll(world: World, includable: Includable, answer: Json, paths: string[]): void {
  if (paths.length > 20) throw invalid('You cannot expand more than 20 properties at once.', 'expand')
  for (const path of paths) {
    const keys = path.split('.')
    if (keys.length > 4 + (keys[0] === 'data' ? 1 : 0))
      throw invalid(`You cannot expand more than 4 levels of a property (${path}).`, 'expand')
    walk({ world, includable, path }, answer, keys, answer, [])
  }
}

interface Walk {
  world: World
  includable: Includable
  path: string
}

/** `owner`: the nearest object with a type; `trail`: the hashes between it and `node`. */
function walk(on: Walk, node: Json, keys: string[], owner: Json, trail: string[]): void {
  const { world, includable, path } = on
  const [key, ...rest] = keys
  if (key === undefined) return
  const at = [...trail, key]
  const include = includable[`${String(owner['object'])}.${at.join('.')}`]
  if (include && !isNode(node[key])) node[key] = snapshot(world.store, include(world, owner))
  else if (!(key in node)) throw cannot(path)
  const value = node[key]
  if (typeof value === 'string') node[key] = look(world, node, key, value, path)
  else if (Array.isArray(value)) {
    node[key] = value.map((entry) =>
      typeof entry === 'string' ? look(world, node, key, entry, path) : entry,
    )
  }
  const next = node[key]
  for (const child of Array.isArray(next) ? next : [next]) {
    if (!isNode(child)) continue
    if ('object' in child) walk(on, child, rest, child, [])
    else walk(on, child, rest, owner, at)
  }
}

function look(world: World, node: Json, key: string, id: string, path: string): Json {
  // a coupon's id is whatever its maker chose
  const kind = key === 'coupon' ? 'coupon' : kindByPrefix[/^(sub_sched|[a-z]+)_/.exec(id)?.[1] ?? '']
  const found = kind && world.store.get(kind, id)
  const own = key === 'id' || plain.has(`${String(node['object'])}.${key}`)
  if (own || !found) throw cannot(path)
  return snapshot(world.store, found)
}

function isNode(value: unknown): value is Json {
  return value !== null && typeof value === 'object'
}

function cannot(path: string): Error {
  return invalid(`This property cannot be expanded (${path}).`, 'expand')
}
