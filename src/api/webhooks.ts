/**
 * /webhooks/stripe: a signed event is stored once and answered 2xx; then its owner is woken, if it can be (law 5). No
 * event changes anything here, so duplicated, late and reordered deliveries are all the same.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { raiseAlert } from '../store/alert.ts'
import { transaction } from '../store/connect.ts'
import { type Stored, storeEvent } from '../store/inbox.ts'
import type { InboxEvent } from '../domain/event.ts'
import { EventError, projectEvent, verifyEvent } from '../stripe/event.ts'
import type { Api, ApiDeps } from './api.ts'
import { Problem } from './problem.ts'
import { answers, noQuery } from './schema.ts'
import { createWaker } from './waker.ts'

/** Stripe's events are larger than what callers send, in bytes. */
const EVENT_LIMIT_BYTES = 1024 * 1024

/** Registers the route in a scope of its own: only here the body stays as the bytes that were signed. */
export async function webhookRoutes(scope: FastifyInstance, deps: ApiDeps): Promise<void> {
  const waker = createWaker(deps)
  scope.addHook('onClose', () => waker.close())
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser<Buffer>('*', { parseAs: 'buffer' }, (_request, bytes, done) => done(null, bytes))
  const app: Api = scope.withTypeProvider()
  app.post('/webhooks/stripe', {
    bodyLimit: EVENT_LIMIT_BYTES,
    schema: {
      summary: 'Where Stripe sends its events',
      description:
        'Signed by Stripe; no API key. Every type is stored and answered 200, also those nobody handles.',
      tags: ['webhooks'],
      querystring: noQuery,
      response: answers(
        { 200: z.object({ received: z.literal(true) }).meta({ examples: [{ received: true }] }) },
        [
          'body_too_large',
          'event_malformed',
          'livemode_mismatch',
          'signature_future',
          'signature_invalid',
          'signature_stale',
          'unavailable',
        ],
      ),
    },
    async handler(request) {
      const event = accept(request, deps)
      request.trace['event'] = event.id
      request.trace['event_type'] = event.type
      const stored = await store(event, deps)
      const { id, type, owner } = event
      if (owner !== null) {
        request.trace['workflow'] = owner
        if (stored.wake) waker.soon({ id, type, owner })
      }
      return { received: true as const }
    },
  })
}

/** The event that a request carries. @throws Problem when it is not genuine, not fresh, or of the other mode */
function accept(request: FastifyRequest, { webhookSecrets, livemode, apiVersion }: ApiDeps): InboxEvent {
  const raw = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const header = request.headers['stripe-signature']
  let event: InboxEvent
  try {
    // machine time: a signature's age has nothing to do with the business clock
    event = projectEvent(
      verifyEvent(raw, typeof header === 'string' ? header : undefined, webhookSecrets, Date.now()),
      apiVersion,
    )
  } catch (error) {
    throw error instanceof EventError ? new Problem(error.code, error.message) : error
  }
  if (event.livemode !== livemode) {
    throw new Problem(
      'livemode_mismatch',
      `this installation takes ${livemode ? 'live' : 'test'} events only`,
    )
  }
  return event
}

/** Stores an event once; one of another API version with an alert, because its endpoint is not the one we made. */
async function store(event: InboxEvent, { pool, apiVersion }: ApiDeps): Promise<Stored> {
  if (event.apiVersion === null || event.apiVersion === apiVersion) return storeEvent(pool, event)
  const version = event.apiVersion
  return transaction(pool, async (client) => {
    const stored = await storeEvent(client, event)
    if (stored.fresh) {
      await raiseAlert(
        client,
        'stripe_api_version',
        version,
        `events come as ${version}, expected ${apiVersion}`,
      )
    }
    return stored
  })
}
