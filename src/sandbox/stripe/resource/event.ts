// Events: thirty days of what happened, in the pinned version.
import { invalid, missing } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { bool, list, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import { waiting } from '../webhook-queue.ts'
import type { StoredEvent } from '../wire.ts'
import type { World } from '../world.ts'

const RETENTION = 30 * 86_400

export function shownEvent(world: World, event: StoredEvent): StoredEvent {
  return { ...event, pending_webhooks: waiting(world, event.id) }
}

/** `invoice.*` names all of a family. */
function matches(pattern: string, type: string): boolean {
  return pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : pattern === type
}

export const event: Resource = {
  routes: [
    route(
      'GET',
      '/v1/events',
      { ...listShape, type: str, types: list(str), delivery_success: bool },
      ({ world, params, path }) => {
        const { type, types, delivery_success: success } = params
        if (type !== undefined && types !== undefined)
          throw invalid('You may only specify one of these parameters: type, types.', 'type')
        if (types !== undefined && types.length > 20)
          throw invalid('You may pass up to 20 event types.', 'types')
        const wanted = types ?? (type === undefined ? undefined : [type])
        const undelivered = success === undefined ? undefined : undeliveredEvents(world)
        const page = pageOf(newestFirst(world.store.all('event')), params, path, 'event', (item) => {
          if (item.created <= world.at - RETENTION) return false
          if (undelivered && undelivered.has(item.id) === success) return false
          return wanted === undefined || wanted.some((pattern) => matches(pattern, item.type))
        })
        return { ...page, data: page.data.map((item) => shownEvent(world, item)) }
      },
    ),
    route('GET', '/v1/events/:id', {}, ({ world, ids: [id = ''] }) => {
      const found = world.need('event', id)
      if (found.created <= world.at - RETENTION) throw missing('event', id)
      return shownEvent(world, found)
    }),
  ],
}

function undeliveredEvents(world: World): Set<string> {
  const unsent = world.store.all('_delivery').filter((delivery) => delivery.state !== 'sent')
  return new Set(unsent.map((delivery) => delivery.event))
}

/** Forgets what is older than anybody may ask for. */
export function pruneEvents(world: World): void {
  for (const item of world.store.all('event')) {
    if (item.created > world.at - RETENTION) return
    world.store.delete('event', item.id)
  }
}
