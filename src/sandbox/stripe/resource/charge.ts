// Charges: read only; payment intents make them.
import { newestFirst, pageOf } from '../list.ts'
import { mergeMetadata, metadata, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'

export const charge: Resource = {
  routes: [
    route(
      'GET',
      '/v1/charges',
      { ...listShape, customer: str, payment_intent: str },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('charge')), params, path, 'charge', (item) => {
          if (params.customer !== undefined && item.customer !== params.customer) return false
          return params.payment_intent === undefined || item.payment_intent === params.payment_intent
        }),
    ),
    route('GET', '/v1/charges/:id', {}, ({ world, ids: [id = ''] }) => world.need('charge', id)),
    route('POST', '/v1/charges/:id', { metadata, description: str }, ({ world, ids: [id = ''], params }) => {
      const old = world.need('charge', id)
      return world.update(
        'charge',
        id,
        {
          metadata: mergeMetadata(old.metadata, params.metadata),
          description: params.description ?? old.description,
        },
        'charge.updated',
      )
    }),
  ],
}
