// Webhook endpoints. The signing secret is shown once, in the answer that creates the endpoint.
import { invalid } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { bool, emptyable, list, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { pageShape, route, type Resource } from '../router.ts'
import { abandonEndpoint } from '../webhook-queue.ts'
import { API_VERSION, type WebhookEndpoint } from '../wire.ts'
import type { World } from '../world.ts'

const MAX_ENDPOINTS = 16

function withoutSecret(endpoint: WebhookEndpoint): WebhookEndpoint {
  const { secret: _hidden, _rolled, ...rest } = endpoint
  return rest
}

function checkUrl(url: string): void {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw invalid('Invalid URL: An explicit scheme (such as https) must be provided.', 'url', 'url_invalid')
}

const events = list(str)

/** What deliveries to an endpoint are signed with now: the old secret, too, while it is being rolled. */
export function secretsOf({ secret = '', _rolled: old }: WebhookEndpoint, nowMs: number): string[] {
  return old !== undefined && nowMs < old.until ? [secret, old.secret] : [secret]
}

/** Gives an endpoint a new secret, as its page in the dashboard does. docs.stripe.com/webhooks#roll-endpoint-secrets */
export function rollSecret(world: World, id: string, seconds: number): string {
  const { secret: old = '' } = world.need('webhook_endpoint', id)
  const secret = `whsec_${world.random.text(32)}`
  world.update('webhook_endpoint', id, {
    secret,
    _rolled: { secret: old, until: world.atMs + seconds * 1000 },
  })
  return secret
}

export const webhookEndpoint: Resource = {
  routes: [
    route(
      'POST',
      '/v1/webhook_endpoints',
      {
        url: required(str),
        enabled_events: required(events),
        api_version: oneOf(API_VERSION),
        description: emptyable(str),
        metadata,
        connect: bool,
      },
      ({ world, params }) => {
        checkUrl(params.url)
        if (world.store.all('webhook_endpoint').length >= MAX_ENDPOINTS)
          throw invalid(`You have reached the maximum of ${MAX_ENDPOINTS} test webhook endpoints.`)
        return world.create('webhook_endpoint', {
          id: world.id('we'),
          object: 'webhook_endpoint',
          api_version: params.api_version ?? null,
          application: null,
          created: world.at,
          description: params.description ?? null,
          enabled_events: params.enabled_events,
          livemode: false,
          metadata: mergeMetadata({}, params.metadata),
          secret: `whsec_${world.random.text(32)}`,
          status: 'enabled',
          url: params.url,
        })
      },
    ),
    route('GET', '/v1/webhook_endpoints', pageShape, ({ world, params, path }) => {
      const page = pageOf(newestFirst(world.store.all('webhook_endpoint')), params, path, 'webhook endpoint')
      return { ...page, data: page.data.map(withoutSecret) }
    }),
    route('GET', '/v1/webhook_endpoints/:id', {}, ({ world, ids: [id = ''] }) =>
      withoutSecret(world.need('webhook_endpoint', id)),
    ),
    route(
      'POST',
      '/v1/webhook_endpoints/:id',
      { url: str, enabled_events: events, description: emptyable(str), disabled: bool, metadata },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('webhook_endpoint', id)
        if (params.url !== undefined) checkUrl(params.url)
        if (params.disabled) abandonEndpoint(world, id)
        return withoutSecret(
          world.update('webhook_endpoint', id, {
            url: params.url ?? old.url,
            enabled_events: params.enabled_events ?? old.enabled_events,
            description: params.description === undefined ? old.description : params.description,
            status: params.disabled === undefined ? old.status : params.disabled ? 'disabled' : 'enabled',
            metadata: mergeMetadata(old.metadata, params.metadata),
          }),
        )
      },
    ),
    route('DELETE', '/v1/webhook_endpoints/:id', {}, ({ world, ids: [id = ''] }) => {
      world.need('webhook_endpoint', id)
      world.store.delete('webhook_endpoint', id)
      abandonEndpoint(world, id)
      return { id, object: 'webhook_endpoint', deleted: true }
    }),
  ],
}
