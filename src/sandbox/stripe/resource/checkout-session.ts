// Hosted Checkout sessions: made, read, expired. What the customer does on the page is in `checkout.ts`.
import { expireSession, payPlanned } from '../checkout.ts'
import { createSession } from '../checkout-create.ts'
import { sessionShape } from '../checkout-shape.ts'
import { breakdownOf } from '../checkout-total.ts'
import { refused } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { hash, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { listShape, pageShape, route, type Resource } from '../router.ts'

export const checkoutSession: Resource = {
  routes: [
    route('POST', '/v1/checkout/sessions', sessionShape, ({ world, params, origin }) =>
      createSession(world, params, origin),
    ),
    route(
      'GET',
      '/v1/checkout/sessions',
      {
        ...listShape,
        customer: str,
        subscription: str,
        payment_intent: str,
        status: oneOf('open', 'complete', 'expired'),
        customer_details: hash({ email: required(str) }),
      },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('checkout.session')), params, path, 'checkout.session', (item) => {
          if (params.customer !== undefined && item.customer !== params.customer) return false
          if (params.status !== undefined && item.status !== params.status) return false
          if (params.subscription !== undefined && item.subscription !== params.subscription) return false
          const email = params.customer_details?.email
          if (email !== undefined && item.customer_details?.email !== email) return false
          return params.payment_intent === undefined || item.payment_intent === params.payment_intent
        }),
    ),
    route('GET', '/v1/checkout/sessions/:id', {}, ({ world, ids: [id = ''] }) =>
      world.need('checkout.session', id),
    ),
    route('POST', '/v1/checkout/sessions/:id', { metadata }, ({ world, ids: [id = ''], params }) => {
      const old = world.need('checkout.session', id)
      return world.update('checkout.session', id, { metadata: mergeMetadata(old.metadata, params.metadata) })
    }),
    route(
      'GET',
      '/v1/checkout/sessions/:id/line_items',
      pageShape,
      ({ world, ids: [id = ''], params, path }) =>
        pageOf(world.need('checkout.session', id)._lines, params, path, 'line item'),
    ),
    route('POST', '/v1/checkout/sessions/:id/expire', {}, ({ world, ids: [id = ''] }) => {
      const session = world.need('checkout.session', id)
      if (session.status !== 'open')
        throw refused(
          `Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of ${session.status ?? ''}.`,
        )
      return expireSession(world, id)
    }),
  ],
  deadlines: {
    'session.expire': (world, id) => {
      if (world.store.get('checkout.session', id)?.status === 'open') expireSession(world, id)
    },
    'session.pay': payPlanned,
  },
  includable: {
    'checkout.session.total_details.breakdown': (world, object) =>
      breakdownOf(world.need('checkout.session', String(object['id']))),
    'checkout.session.line_items': (world, object) => {
      const lines = world.store.get('checkout.session', String(object['id']))?._lines ?? []
      const url = `/v1/checkout/sessions/${String(object['id'])}/line_items`
      return { object: 'list', data: lines.slice(0, 10), has_more: lines.length > 10, url }
    },
  },
}
