/** /v1/webhook_endpoints: where signed webhooks go (Standard Webhooks), and what became of each. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { idFrom } from '../domain/id.ts'
import { EVENT_TYPES } from '../domain/notice.ts'
import { receiverUrlRefusal } from '../domain/receiver-url.ts'
import { recordAudit } from '../store/audit.ts'
import type { Client, Queryable } from '../store/connect.ts'
import { listDeliveries, requireDelivery, resendDelivery } from '../store/delivery.ts'
import {
  changeEndpoint,
  insertEndpoint,
  listEndpoints,
  makeWebhookSecret,
  readSecret,
  requireEndpoint,
  ROLL_HOURS,
  rotateSecret,
  type WebhookEndpoint,
} from '../store/webhook-endpoint.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf } from './auth.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { DELIVERY_STATES, deliveryOf, deliveryView } from './notices.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import { answers, EXAMPLE, instant, noQuery } from './schema.ts'

const url = z
  .string()
  .max(2048)
  .describe('https, a public name; redirects are not followed')
  .meta({ examples: ['https://product.example/perennial'] })
const events = z
  .array(z.enum(EVENT_TYPES as [string, ...string[]]))
  .min(1)
  .nullable()
  .describe('types of notices; null: all')
const enabled = z
  .boolean()
  .describe('one that is not is told nothing new, and what waits for it goes on waiting')

const endpointInput = z
  .strictObject({ url, events: events.default(null) })
  .meta({ examples: [{ url: 'https://product.example/perennial', events: ['credits.granted'] }] })

const endpointChange = z
  .strictObject({ url: url.optional(), events: events.optional(), enabled: enabled.optional() })
  .meta({ examples: [{ enabled: false }] })

const endpointFields = {
  id: z.string(),
  object: z.literal('webhook_endpoint'),
  url: z.string(),
  events: z.array(z.string()).nullable(),
  enabled: z.boolean(),
  failing_since: instant.nullable().describe('null: the last delivery arrived, or there was none'),
  delivered_at: instant.nullable().describe('the last delivery that arrived'),
  old_secret_until: instant.nullable().describe('until when deliveries have two signatures'),
  created_at: instant,
}
const example = {
  id: EXAMPLE.endpoint,
  object: 'webhook_endpoint' as const,
  url: 'https://product.example/perennial',
  events: ['credits.granted'],
  enabled: true,
  failing_since: null,
  delivered_at: EXAMPLE.at,
  old_secret_until: null,
  created_at: EXAMPLE.at,
}
const endpointView = z.object(endpointFields).meta({ id: 'WebhookEndpoint', examples: [example] })
const secretView = z
  .object({
    ...endpointFields,
    secret: z.string().describe('shown this once: what signatures are checked with'),
  })
  .meta({
    id: 'WebhookEndpointSecret',
    examples: [{ ...example, secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' }],
  })

const nothing = z
  .strictObject({})
  .nullish()
  .meta({ examples: [{}] })
const params = z.object({ endpoint: z.string().meta({ examples: [EXAMPLE.endpoint] }) })
const tags = ['webhooks']

/** Registers the routes. */
export function webhookEndpointRoutes(app: Api, deps: ApiDeps): void {
  const { pool, anywhere } = deps

  app.post('/v1/webhook_endpoints', {
    config: { scope: 'webhooks' },
    schema: {
      summary: 'Register a webhook endpoint',
      description:
        'Its deliveries are signed by the rules of Standard Webhooks, with the secret that this answer shows. A notice is ' +
        'told until it is answered 2xx within ten seconds, for about three days; the `webhook-id` is the same at every try.',
      tags,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: endpointInput,
      response: answers(orPreview({ 201: secretView }), ['endpoint_url_refused', 'idempotency_in_progress']),
    },
    async handler(request, reply) {
      const { body } = request
      requireUrl(body.url, anywhere)
      const id = idFrom('we', randomUUID())
      return answerOnce(deps, request, reply, {
        scope: 'webhook_endpoints',
        operation: 'create',
        content: body,
        owner: null,
        input: { endpoint: id },
        status: 201,
        async begin(client) {
          await insertEndpoint(client, { id, ...body, secret: makeWebhookSecret() })
          await audit(client, actorOf(request), id, 'registered')
        },
        view: (database, { input }) => withSecret(database, input['endpoint'] ?? ''),
      })
    },
  })

  app.get('/v1/webhook_endpoints', {
    config: { scope: 'read' },
    schema: {
      summary: 'Webhook endpoints, newest first',
      tags,
      querystring: z.strictObject(pageQuery),
      response: answers({ 200: listOf(endpointView) }, ['cursor_invalid']),
    },
    async handler({ query }) {
      const after = positionIn('webhook_endpoints', query.cursor)
      const rows = await listEndpoints(pool, { limit: query.limit + 1, after })
      return pageOf('webhook_endpoints', rows, query.limit, viewOf, (row) => [
        row.createdAt.toISOString(),
        row.id,
      ])
    },
  })

  app.get('/v1/webhook_endpoints/:endpoint', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a webhook endpoint',
      tags,
      params,
      querystring: noQuery,
      response: answers({ 200: endpointView }, ['endpoint_not_found']),
    },
    handler: async (request) => viewOf(await requireEndpoint(pool, request.params.endpoint)),
  })

  app.post('/v1/webhook_endpoints/:endpoint', {
    config: { scope: 'webhooks' },
    schema: {
      summary: 'Change a webhook endpoint, or switch it off and on',
      tags,
      params,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: endpointChange,
      response: answers(orPreview({ 200: endpointView }), [
        'endpoint_not_found',
        'endpoint_url_refused',
        'idempotency_in_progress',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const { endpoint } = request.params
      if (body.url !== undefined) requireUrl(body.url, anywhere)
      await requireEndpoint(pool, endpoint)
      return answerOnce(deps, request, reply, {
        scope: endpoint,
        operation: 'update_endpoint',
        content: body,
        owner: null,
        input: {},
        status: 200,
        async begin(client) {
          await changeEndpoint(client, endpoint, body)
          await audit(client, actorOf(request), endpoint, 'changed')
        },
        view: async (database) => viewOf(await requireEndpoint(database, endpoint)),
      })
    },
  })

  app.post('/v1/webhook_endpoints/:endpoint/rotate_secret', {
    config: { scope: 'webhooks' },
    schema: {
      summary: 'Give a webhook endpoint a new secret',
      description: `For ${ROLL_HOURS} hours deliveries are signed with both, so that no receiver misses one.`,
      tags,
      params,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: nothing,
      response: answers(orPreview({ 200: secretView }), ['endpoint_not_found', 'idempotency_in_progress']),
    },
    async handler(request, reply) {
      const { endpoint } = request.params
      await requireEndpoint(pool, endpoint)
      return answerOnce(deps, request, reply, {
        scope: endpoint,
        operation: 'rotate_secret',
        content: {},
        owner: null,
        input: {},
        status: 200,
        async begin(client) {
          await rotateSecret(client, endpoint, makeWebhookSecret())
          await audit(client, actorOf(request), endpoint, 'secret_rotated')
        },
        view: (database) => withSecret(database, endpoint),
      })
    },
  })

  app.get('/v1/webhook_endpoints/:endpoint/deliveries', {
    config: { scope: 'read' },
    schema: {
      summary: 'Deliveries of a webhook endpoint, newest first',
      tags,
      params,
      querystring: z.strictObject({ ...pageQuery, state: z.enum(DELIVERY_STATES).optional() }),
      response: answers({ 200: listOf(deliveryView) }, ['cursor_invalid', 'endpoint_not_found']),
    },
    async handler({ query, params: { endpoint: target } }) {
      const { limit, cursor, state } = query
      const list = `deliveries:${target}:${state ?? ''}`
      const after = positionIn(list, cursor)
      await requireEndpoint(pool, target)
      const rows = await listDeliveries(pool, { limit: limit + 1, after, target, state })
      return pageOf(list, rows, limit, deliveryOf, (row) => [row.askedAt.toISOString(), row.id])
    },
  })

  app.post('/v1/webhook_endpoints/:endpoint/deliveries/:delivery/resend', {
    config: { scope: 'webhooks' },
    schema: {
      summary: 'Have a delivery made once more',
      description:
        'Whatever became of it. Its `webhook-id` stays the same, and it is tried as often as a new one.',
      tags,
      params: params.extend({ delivery: z.string().meta({ examples: [EXAMPLE.delivery] }) }),
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: nothing,
      response: answers(orPreview({ 200: deliveryView }), ['delivery_not_found', 'idempotency_in_progress']),
    },
    async handler(request, reply) {
      const { endpoint, delivery } = request.params
      await requireDelivery(pool, delivery)
      return answerOnce(deps, request, reply, {
        scope: delivery,
        operation: 'resend',
        content: { endpoint },
        owner: null,
        input: {},
        status: 200,
        async begin(client) {
          await resendDelivery(client, delivery, endpoint)
          await audit(client, actorOf(request), delivery, 'resent')
        },
        view: async (database) => deliveryOf(await requireDelivery(database, delivery)),
      })
    },
  })
}

/** @throws Refusal `endpoint_url_refused` */
function requireUrl(text: string, anywhere: boolean): void {
  const why = receiverUrlRefusal(text, anywhere)
  if (why !== undefined) throw new Refusal('endpoint_url_refused', `url: ${why}`)
}

async function audit(client: Client, actor: string, subject: string, reasonCode: string): Promise<void> {
  await recordAudit(client, { account: null, actor, action: 'webhook', subject, reasonCode, detail: {} })
}

async function withSecret(database: Queryable, id: string): Promise<z.infer<typeof secretView>> {
  return { ...viewOf(await requireEndpoint(database, id)), secret: await readSecret(database, id) }
}

function viewOf(endpoint: WebhookEndpoint): z.infer<typeof endpointView> {
  return {
    id: endpoint.id,
    object: 'webhook_endpoint',
    url: endpoint.url,
    events: endpoint.events,
    enabled: endpoint.enabled,
    failing_since: endpoint.failingSince?.toISOString() ?? null,
    delivered_at: endpoint.deliveredAt?.toISOString() ?? null,
    old_secret_until: endpoint.oldSecretUntil?.toISOString() ?? null,
    created_at: endpoint.createdAt.toISOString(),
  }
}
