/** /healthz, /readyz and /metrics: whether this process runs, whether it can do its work, and what it does. */
import { z } from 'zod'
import { countOpenAlerts } from '../store/alert.ts'
import { readBreaker } from '../store/breaker.ts'
import { readFleet } from '../store/fleet.ts'
import { countInbox } from '../store/inbox.ts'
import type { Reach } from '../workflows/owner.ts'
import type { Api, ApiDeps } from './api.ts'
import { answers, instant, noQuery } from './schema.ts'

/** How long Temporal may take to say that it is there, in milliseconds. */
const TEMPORAL_MS = 1_000

/** Registers the routes. */
export function healthRoutes(app: Api, { pool, reach, metrics }: ApiDeps): void {
  app.get('/healthz', {
    schema: {
      summary: 'Whether the process runs',
      tags: ['health'],
      querystring: noQuery,
      response: answers({
        200: z.object({ status: z.literal('ok') }).meta({ examples: [{ status: 'ok' }] }),
      }),
    },
    handler: async () => ({ status: 'ok' as const }),
  })

  // for Prometheus, which has no key: it must not be reached from outside, and the compose file's proxy keeps it in
  app.get('/metrics', {
    schema: { hide: true },
    handler: async (_request, reply) =>
      reply.type(metrics.contentType).send(await metrics.render(() => readFleet(pool))),
  })

  app.get('/readyz', {
    schema: {
      summary: 'Whether requests can be served',
      description:
        'Postgres is needed. Without Temporal spends and webhooks are still taken, so it is only reported.',
      tags: ['health'],
      querystring: noQuery,
      response: answers(
        {
          200: z
            .object({
              status: z.literal('ready'),
              postgres: z.literal('up'),
              temporal: z.enum(['up', 'down']),
              stripe: z
                .object({
                  circuit: z
                    .enum(['closed', 'open', 'half_open'])
                    .describe(
                      'open: nobody calls Stripe until it answers a probe; webhooks are taken all the same',
                    ),
                  trips: z.int().describe('how often it opened, ever'),
                  opened_at: instant.nullable(),
                  next_probe_at: instant.nullable(),
                  last_reason: z.string().nullable().describe('the last outage: a code or a status'),
                })
                .describe('the circuit breaker of the calls to Stripe, one for all processes; machine time'),
              inbox: z.object({
                backlog: z.int().describe('events whose owner has still to look'),
                parked: z.int().describe('events that a person must look at'),
              }),
              open_alerts: z.int(),
            })
            .meta({
              examples: [
                {
                  status: 'ready',
                  postgres: 'up',
                  temporal: 'up',
                  stripe: {
                    circuit: 'open',
                    trips: 3,
                    opened_at: '2026-03-01T12:00:00.000Z',
                    next_probe_at: '2026-03-01T12:00:42.000Z',
                    last_reason: 'HTTP 503',
                  },
                  inbox: { backlog: 0, parked: 0 },
                  open_alerts: 0,
                },
              ],
            }),
        },
        ['unavailable'],
      ),
    },
    async handler() {
      const [inbox, alerts, breaker, temporal] = await Promise.all([
        countInbox(pool),
        countOpenAlerts(pool),
        readBreaker(pool),
        isUp(reach),
      ])
      return {
        status: 'ready' as const,
        postgres: 'up' as const,
        temporal: temporal ? ('up' as const) : ('down' as const),
        stripe: {
          circuit: breaker.state,
          trips: Number(breaker.trips),
          opened_at: breaker.openedAt?.toISOString() ?? null,
          next_probe_at: breaker.retryAt?.toISOString() ?? null,
          last_reason: breaker.lastReason,
        },
        inbox,
        open_alerts: alerts,
      }
    },
  })
}

async function isUp(reach: Reach | undefined): Promise<boolean> {
  if (reach === undefined) return false
  const { connection } = reach.client
  try {
    await connection.withDeadline(Date.now() + TEMPORAL_MS, () =>
      connection.workflowService.getSystemInfo({}),
    )
    return true
  } catch {
    return false
  }
}
