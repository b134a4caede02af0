/**
 * /v1/subscriptions: begun by a hosted checkout, or at once when the plan is free; read from the mirror, changed by
 * commands to their workflow.
 */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { idFrom, workflowId } from '../domain/id.ts'
import { hasEnded } from '../domain/status.ts'
import { requireAccount } from '../store/account.ts'
import { freePlanOnSale } from '../store/price-list.ts'
import { listSubscriptions } from '../store/subscription.ts'
import type { Api, ApiDeps } from './api.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import { accountId, answers, checkoutView, noQuery } from './schema.ts'
import { enrol, order, subscriptionInput } from './subscription-begin.ts'
import {
  JUST_OPENED,
  requireSubscription,
  subscriptionParams as params,
  subscriptionView,
  viewOf,
} from './subscription-view.ts'

/** Registers the routes. */
export function subscriptionRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps

  app.post('/v1/subscriptions', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Begin a subscription: by a hosted checkout, or at once when the plan is free',
      description:
        'Send the customer to `checkout.url`. Answers 202 with a command when that takes longer. A free plan has no ' +
        'checkout and begins at once: it grants its credits for each month in which no subscription of its group is ' +
        'paid for, and it stays when one is bought.',
      tags: ['subscriptions'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: subscriptionInput,
      response: answers(orPreview({ 201: subscriptionView, 202: commandView }), [
        'account_not_found',
        'checkout_expired',
        'checkout_open',
        'idempotency_in_progress',
        'plan_not_found',
        'stripe_refused',
        'subscription_exists',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      // what the key stands for already is what it stays, whatever this plan is by now
      const free = (await freePlanOnSale(pool, body.plan)) !== undefined
      const id = idFrom(free ? 'free' : 'ord', randomUUID())
      return answerOnce(deps, request, reply, {
        scope: body.account,
        operation: 'open',
        content: body,
        owner: free ? workflowId.subscription(id) : workflowId.checkout(id),
        input: { subscription: id },
        foresee: {
          account: body.account,
          plan: body.plan,
          interval: body.interval,
          ...(body.currency === undefined ? {} : { currency: body.currency }),
        },
        status: 201,
        begin: (client) => (free ? enrol(client, id, body) : order(client, id, body)),
        async view(database, { input }, result) {
          const row = await requireSubscription(database, input['subscription'] ?? '')
          if (row.role === 'fallback') return viewOf(row)
          const checkout = checkoutView.safeParse(result['checkout']).data ?? null
          // as the page was when it opened, also when nobody could be told before the order went on
          const { plan, interval } = body
          return { ...viewOf(row), ...JUST_OPENED, plan, interval, checkout }
        },
      })
    },
  })

  app.get('/v1/subscriptions', {
    config: { scope: 'read' },
    schema: {
      summary: 'Subscriptions and orders of an account, newest first',
      tags: ['subscriptions'],
      querystring: z.strictObject({ ...pageQuery, account: accountId }),
      response: answers({ 200: listOf(subscriptionView) }, ['account_not_found', 'cursor_invalid']),
    },
    async handler({ query }) {
      const kind = `subscriptions:${query.account}`
      const after = positionIn(kind, query.cursor)
      await requireAccount(pool, query.account)
      const rows = await listSubscriptions(pool, query.account, { limit: query.limit + 1, after })
      return pageOf(kind, rows, query.limit, viewOf, (row) => [row.created_at.toISOString(), row.id])
    },
  })

  app.get('/v1/subscriptions/:id', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a subscription',
      tags: ['subscriptions'],
      params,
      querystring: noQuery,
      response: answers({ 200: subscriptionView }, ['subscription_not_found']),
    },
    handler: async (request) => viewOf(await requireSubscription(pool, request.params.id)),
  })

  app.post('/v1/subscriptions/:id/cancel', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Cancel at the end of the period that runs',
      description: 'Withdraws what was to change.',
      tags: ['subscriptions'],
      params,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: z
        .strictObject({})
        .nullish()
        .meta({ examples: [{}] }),
      response: answers(orPreview({ 200: subscriptionView, 202: commandView }), [
        'idempotency_in_progress',
        'stripe_refused',
        'subscription_ended',
        'subscription_not_found',
        'subscription_not_started',
      ]),
    },
    async handler(request, reply) {
      const row = await requireSubscription(pool, request.params.id)
      const { stripe_id, status } = row
      const owner = row.role === 'fallback' ? row.id : stripe_id
      if (owner === null) throw new Refusal('subscription_not_started', 'the checkout was not paid yet')
      return answerOnce(deps, request, reply, {
        scope: row.account,
        operation: 'cancel',
        content: { subscription: row.id },
        owner: workflowId.subscription(owner),
        input: { subscription: row.id },
        status: 200,
        async begin() {
          if (status !== null && hasEnded(status))
            throw new Refusal('subscription_ended', 'the subscription has ended already')
        },
        view: async (database, { input }) =>
          viewOf(await requireSubscription(database, input['subscription'] ?? '')),
      })
    },
  })
}
