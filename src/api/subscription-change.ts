/** /v1/subscriptions/:id/change, /resume and /pending_change: commands to the subscription's workflow. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { workflowId } from '../domain/id.ts'
import { hasEnded } from '../domain/status.ts'
import { requireRate } from '../store/change-rate.ts'
import { attemptKey } from '../store/command.ts'
import type { Client } from '../store/connect.ts'
import type { SubscriptionRow } from '../store/subscription.ts'
import type { Api, ApiDeps } from './api.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import type { Code } from './problem.ts'
import { answers, noQuery } from './schema.ts'
import {
  pendingChangeView,
  pendingView,
  requireSubscription,
  subscriptionParams as params,
  subscriptionView,
  viewOf,
} from './subscription-view.ts'

const changeInput = z
  .strictObject({
    plan: z
      .string()
      .min(1)
      .max(63)
      .describe('the id of a plan in /v1/catalog; the one it has, to change the rest'),
    interval: z.enum(['month', 'year']).optional().describe('as it is, unless told otherwise'),
    quantity: z
      .int()
      .min(1)
      .max(100_000)
      .optional()
      .describe('seats; as many as it has, unless told otherwise'),
  })
  .meta({ examples: [{ plan: 'tier_6_50' }, { plan: 'tier_2_20', interval: 'year', quantity: 3 }] })

const noBody = z
  .strictObject({})
  .nullish()
  .meta({ examples: [{}] })

/** What every command to a subscription may be answered with. */
const COMMON: Code[] = [
  'idempotency_in_progress',
  'stripe_refused',
  'subscription_not_found',
  'subscription_not_started',
]

/** Registers the routes. */
export function subscriptionChangeRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps
  const good = orPreview({ 200: subscriptionView, 202: commandView })

  /** Has the workflow of a subscription that Stripe knows carry a command out. */
  async function command(
    request: FastifyRequest<{ Params: { id: string } }>,
    reply: FastifyReply,
    asked: {
      operation: 'change' | 'resume' | 'withdraw'
      content?: Record<string, string | number | undefined>
      begin(client: Client, row: SubscriptionRow): Promise<void>
      key?(row: SubscriptionRow): Promise<string>
    },
  ): Promise<FastifyReply> {
    const row = await requireSubscription(pool, request.params.id)
    if (row.role === 'fallback')
      throw new Refusal('plan_is_free', 'a free plan is begun and cancelled, and nothing else')
    if (row.stripe_id === null) throw new Refusal('subscription_not_started', 'the checkout was not paid yet')
    const given = Object.entries(asked.content ?? {}).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] as const],
    )
    return answerOnce(deps, request, reply, {
      scope: row.account,
      operation: asked.operation,
      content: { subscription: row.id, ...asked.content },
      owner: workflowId.subscription(row.stripe_id),
      input: { subscription: row.id, ...Object.fromEntries(given) },
      status: 200,
      ...(asked.key === undefined ? {} : { key: await asked.key(row) }),
      begin: (client) => asked.begin(client, row),
      view: async (database, { input }) =>
        viewOf(await requireSubscription(database, input['subscription'] ?? '')),
    })
  }

  app.post('/v1/subscriptions/:id/change', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Change the plan, the interval or the seats',
      description:
        'More of something, and less of nothing, is changed at once: its prorated invoice is paid first, and what was ' +
        'paid is granted. When the payment fails or needs the customer, the answer has `pending_change` with the page ' +
        'to pay at. Less is changed at the end of the period. A change takes the place of one that is pending; to ' +
        'ask for what it is withdraws that.',
      tags: ['subscriptions'],
      params,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: changeInput,
      response: answers(good, [
        ...COMMON,
        'change_overtaken',
        'change_rate',
        'commitment_not_sold',
        'payment_overdue',
        'plan_group_differs',
        'plan_is_free',
        'plan_not_found',
        'subscription_cancelling',
        'subscription_duplicate',
        'subscription_ended',
        'subscription_paused',
        'subscription_trialing',
      ]),
    },
    async handler(request, reply) {
      return command(request, reply, {
        operation: 'change',
        content: request.body,
        async begin(client, row) {
          requireLive(row)
          await requireRate(client, row.stripe_id ?? '')
        },
      })
    },
  })

  app.post('/v1/subscriptions/:id/resume', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Go on: withdraw a cancellation while the period runs, or end a pause',
      tags: ['subscriptions'],
      params,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: noBody,
      response: answers(good, [...COMMON, 'plan_is_free', 'subscription_duplicate', 'subscription_ended']),
    },
    async handler(request, reply) {
      return command(request, reply, {
        operation: 'resume',
        async begin(_client, row) {
          requireLive(row)
        },
      })
    },
  })

  app.get('/v1/subscriptions/:id/pending_change', {
    config: { scope: 'read' },
    schema: {
      summary: 'What changes by itself',
      tags: ['subscriptions'],
      params,
      querystring: noQuery,
      response: answers({ 200: pendingChangeView }, ['pending_change_not_found', 'subscription_not_found']),
    },
    handler: async (request) => pendingView(pendingOf(await requireSubscription(pool, request.params.id))),
  })

  app.delete('/v1/subscriptions/:id/pending_change', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Withdraw what changes by itself',
      description: 'Needs no Idempotency-Key: a change is withdrawn once.',
      tags: ['subscriptions'],
      params,
      querystring: dryRunQuery,
      response: answers(good, [...COMMON, 'pending_change_not_found', 'plan_is_free']),
    },
    async handler(request, reply) {
      return command(request, reply, {
        operation: 'withdraw',
        async begin() {},
        // the schedule or the invoice that is given up stands for it, until that is refused
        key: (row) =>
          attemptKey(pool, { scope: row.account, operation: 'withdraw', key: pendingOf(row).cause }),
      })
    },
  })
}

function requireLive({ status }: SubscriptionRow): void {
  if (status !== null && hasEnded(status))
    throw new Refusal('subscription_ended', 'the subscription has ended already')
}

function pendingOf({ pending_change: pending }: SubscriptionRow) {
  if (pending === null) throw new Refusal('pending_change_not_found', 'nothing is to change')
  return pending
}
