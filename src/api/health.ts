/** /healthz and /readyz: whether this process runs, and whether it can do its work. */
import { z } from 'zod'
import { countOpenAlerts } from '../store/alert.ts'
import { countInbox } from '../store/inbox.ts'
import type { Reach } from '../workflows/owner.ts'
import type { Api, ApiDeps } from './api.ts'
import { answers, noQuery } from './schema.ts'

/** How long Temporal may take to say that it is there, in milliseconds. */
const TEMPORAL_MS = 1_000

/** Registers the routes. */
export function healthRoutes(app: Api, { pool, reach }: ApiDeps): void {
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
      const [inbox, alerts, temporal] = await Promise.all([
        countInbox(pool),
        countOpenAlerts(pool),
        isUp(reach),
      ])
      return {
        status: 'ready' as const,
        postgres: 'up' as const,
        temporal: temporal ? ('up' as const) : ('down' as const),
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
