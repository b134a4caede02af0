// The table of routes: each resource file lists its own; later files add to `resources.ts`.
import { readShape, type Param, type Read, type Shape } from './param.ts'
import { any, either, int, list, oneOf, str } from './param.ts'
import type { FormTree } from './form.ts'
import type { World } from './world.ts'

export interface Call<P> {
  world: World
  /** The ids in the URL, in order. */
  ids: string[]
  params: P
  /** The URL's path, which lists repeat. */
  path: string
  /** Where the simulator answers, for the addresses of its own pages. */
  origin: string
}

export interface Route {
  method: string
  pattern: string[]
  read(form: FormTree): unknown
  act(call: Call<unknown>): unknown
}

export interface Resource {
  routes: Route[]
  /** What happens when a deadline of this purpose is due. */
  deadlines?: Record<string, (world: World, target: string) => void>
  /** Fields that exist only when expanded, by `object.field`. */
  includable?: Record<string, (world: World, object: Record<string, unknown>) => unknown>
}

const expand: Param<string[]> = list(str)

/** `route('POST', '/v1/customers/:id', {…}, (call) => …)`; `expand[]` is accepted everywhere. */
export function route<S extends Shape>(
  method: 'GET' | 'POST' | 'DELETE',
  pattern: string,
  shape: S,
  act: (call: Call<Read<S>>) => unknown,
): Route {
  const full = { ...shape, expand }
  return {
    method,
    pattern: pattern.split('/').slice(1),
    read: (form) => readShape(full, form),
    act: (call) => act(call as Call<Read<S>>),
  }
}

export function matchRoute(
  routes: Route[],
  method: string,
  path: string,
): { route: Route; ids: string[] } | undefined {
  const parts = path.split('/').slice(1)
  for (const candidate of routes) {
    if (candidate.method !== method || candidate.pattern.length !== parts.length) continue
    if (candidate.pattern.every((part, i) => part.startsWith(':') || part === parts[i])) {
      const ids = parts.filter((_, i) => candidate.pattern[i]?.startsWith(':')).map(decodeURIComponent)
      return { route: candidate, ids }
    }
  }
  return undefined
}

const range = {
  read(form: Parameters<typeof int.read>[0], path: string) {
    if (typeof form === 'string') return { gte: int.read(form, path), lte: int.read(form, path) }
    return readShape({ gt: int, gte: int, lt: int, lte: int }, form, path)
  },
}

/** The parameters of every list. */
export const listShape = { limit: int, starting_after: str, ending_before: str, created: range }
export const pageShape = { limit: int, starting_after: str, ending_before: str }

export { any, either, oneOf }
