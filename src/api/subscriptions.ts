/** /v1/subscriptions: begun by a hosted checkout, read from the mirror, changed by commands to their workflow. */
import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { idFrom, workflowId } from '../domain/id.ts'
import { hasEnded } from '../domain/subscription.ts'
import { requireAccount } from '../store/account.ts'
import { insertCheckout } from '../store/checkout.ts'
import { type Command, insertCommand } from '../store/command.ts'
import { transaction } from '../store/connect.ts'
import { priceOnSale } from '../store/price-list.ts'
import {
  findSubscription,
  listSubscriptions,
  livePrimary,
  type SubscriptionRow,
} from '../store/subscription.ts'
import type { Api, ApiDeps } from './api.ts'
import { carryOut, commandView, sendPending } from './commands.ts'
import { idempotencyHeaders, keyOf, markReplayed } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { sendRefused } from './problem.ts'
import { accountId, answers, instant, metadataInput, metadataOutput, noQuery } from './schema.ts'

const returnUrl = z.url({ protocol: /^https?$/ }).max(2_000)

const subscriptionInput = z.strictObject({
  account: accountId,
  plan: z.string().min(1).max(63).describe('the id of a plan in /v1/catalog'),
  interval: z.enum(['month', 'year']).default('month'),
  success_url: returnUrl.describe('where the customer goes after paying'),
  cancel_url: returnUrl.describe('where the customer goes after giving up'),
  metadata: metadataInput,
})

const checkoutView = z.object({ id: z.string(), url: z.string().nullable(), expires_at: instant.nullable() })

const subscriptionView = z
  .object({
    id: z.string().describe('of the order that began it; Stripe’s when none of ours did. Both find it.'),
    object: z.literal('subscription'),
    status: z.string().describe('opening, abandoned, failed, and then Stripe’s own'),
    account: z.string(),
    plan: z.string().nullable(),
    interval: z.enum(['month', 'year']).nullable(),
    quantity: z.int().nullable(),
    stripe_id: z.string().nullable(),
    checkout: checkoutView.nullable().describe('the hosted page, while it is open'),
    current_period_start: instant.nullable(),
    current_period_end: instant.nullable(),
    cancel_at: instant.nullable(),
    ended_at: instant.nullable(),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({ id: 'Subscription' })

type SubscriptionView = z.infer<typeof subscriptionView>

const params = z.object({ id: z.string().max(100).describe('ord_… or sub_…') })

/** Registers the routes. */
export function subscriptionRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps

  app.post('/v1/subscriptions', {
    config: { scope: 'write' },
    schema: {
      summary: 'Begin a subscription by a hosted checkout',
      description: 'Send the customer to `checkout.url`. Answers 202 with a command when that takes longer.',
      tags: ['subscriptions'],
      headers: idempotencyHeaders,
      querystring: noQuery,
      body: subscriptionInput,
      response: answers({ 201: subscriptionView, 202: commandView }),
    },
    async handler(request, reply) {
      const { body } = request
      const { command, replayed } = await transaction(pool, async (client) => {
        const order = idFrom('ord', randomUUID())
        const claimed = await insertCommand(client, {
          id: idFrom('cmd', randomUUID()),
          scope: body.account,
          operation: 'open',
          key: keyOf(request),
          content: body,
          owner: workflowId.checkout(order),
          input: { subscription: order },
        })
        if (claimed.replayed) return claimed
        await requireAccount(client, body.account)
        const price = await priceOnSale(client, body.plan, body.interval)
        if (price === undefined)
          throw new Refusal('plan_not_found', 'this plan is not on sale at this interval')
        const live = await livePrimary(client, body.account, price.group)
        if (live !== undefined) {
          throw new Refusal('subscription_exists', 'the account has a live subscription of this group', {
            subscription: live.id,
          })
        }
        await insertCheckout(client, {
          id: order,
          accountId: body.account,
          plan: body.plan,
          interval: body.interval,
          planGroup: price.group,
          priceId: price.priceId,
          successUrl: body.success_url,
          cancelUrl: body.cancel_url,
          metadata: body.metadata,
        })
        return claimed
      })
      request.trace['account'] = command.scope
      markReplayed(reply, replayed)
      return answerCommand(request, reply, command, (row, result) => {
        const checkout = checkoutView.safeParse(result['checkout']).data ?? null
        // what was answered first, also when the order has gone on since
        const { plan, interval } = body
        return reply.code(201).send({ ...viewOf(row), ...JUST_OPENED, plan, interval, checkout })
      })
    },
  })

  app.get('/v1/subscriptions', {
    config: { scope: 'read' },
    schema: {
      summary: 'Subscriptions and orders of an account, newest first',
      tags: ['subscriptions'],
      querystring: z.strictObject({ ...pageQuery, account: accountId }),
      response: answers({ 200: listOf(subscriptionView) }),
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
      response: answers({ 200: subscriptionView }),
    },
    handler: async (request) => viewOf(await requireSubscription(request.params.id)),
  })

  app.post('/v1/subscriptions/:id/cancel', {
    config: { scope: 'write' },
    schema: {
      summary: 'Cancel at the end of the paid period',
      tags: ['subscriptions'],
      params,
      headers: idempotencyHeaders,
      querystring: noQuery,
      body: z.strictObject({}).nullish(),
      response: answers({ 200: subscriptionView, 202: commandView }),
    },
    async handler(request, reply) {
      const row = await requireSubscription(request.params.id)
      const { stripe_id: owner, status } = row
      if (owner === null) throw new Refusal('subscription_not_started', 'the checkout was not paid yet')
      const { command, replayed } = await transaction(pool, async (client) => {
        const claimed = await insertCommand(client, {
          id: idFrom('cmd', randomUUID()),
          scope: row.account,
          operation: 'cancel',
          key: keyOf(request),
          content: { subscription: row.id },
          owner: workflowId.subscription(owner),
          input: { subscription: row.id },
        })
        // a replay is answered as it was, also after the end
        if (!claimed.replayed && status !== null && hasEnded(status)) {
          throw new Refusal('subscription_ended', 'the subscription has ended already')
        }
        return claimed
      })
      request.trace['account'] = command.scope
      markReplayed(reply, replayed)
      return answerCommand(request, reply, command, (now) => reply.code(200).send(viewOf(now)))
    },
  })

  async function requireSubscription(id: string): Promise<SubscriptionRow> {
    const row = await findSubscription(pool, id)
    if (row === undefined) throw new Refusal('subscription_not_found', `there is no subscription ${id}`)
    return row
  }

  /** Carries a command out and answers: done, refused, or not finished yet. */
  async function answerCommand(
    request: FastifyRequest,
    reply: FastifyReply,
    command: Command,
    done: (row: SubscriptionRow, result: Record<string, unknown>) => FastifyReply,
  ) {
    const outcome = await carryOut(deps, request, command)
    if (outcome === undefined) return sendPending(reply, command)
    if (outcome.state === 'refused') return sendRefused(outcome, request, reply)
    return done(await requireSubscription(command.input['subscription'] ?? ''), outcome.result)
  }
}

/** How an order looks when its page has just been opened, whatever came of it later. */
const JUST_OPENED = {
  status: 'opening',
  quantity: null,
  stripe_id: null,
  current_period_start: null,
  current_period_end: null,
  cancel_at: null,
  ended_at: null,
} as const

/** An order that was paid has begun, though Stripe's subscription is not in the mirror yet. */
const STATUS_OF_ORDER = {
  opening: 'opening',
  open: 'opening',
  paid: 'opening',
  abandoned: 'abandoned',
  failed: 'failed',
} as const

function viewOf(row: SubscriptionRow): SubscriptionView {
  const { session_id: session, order_state: order } = row
  const checkout =
    session === null || order !== 'open'
      ? null
      : { id: session, url: row.url, expires_at: iso(row.expires_at) }
  return {
    id: row.id,
    object: 'subscription',
    status: row.status ?? STATUS_OF_ORDER[order ?? 'opening'],
    account: row.account,
    plan: row.plan,
    interval: row.interval,
    quantity: row.quantity,
    stripe_id: row.stripe_id,
    checkout,
    current_period_start: iso(row.current_period_start),
    current_period_end: iso(row.current_period_end),
    cancel_at: iso(row.cancel_at),
    ended_at: iso(row.ended_at),
    created_at: row.created_at.toISOString(),
    metadata: row.metadata,
  }
}

function iso(at: Date | null): string | null {
  return at?.toISOString() ?? null
}
