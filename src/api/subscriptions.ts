/**
 * /v1/subscriptions: begun by a hosted checkout, or at once when the plan is free; read from the mirror, changed by
 * commands to their workflow.
 */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { businessNow } from '../clock.ts'
import { Refusal } from '../domain/error.ts'
import { monthAt } from '../domain/free.ts'
import { idFrom, workflowId } from '../domain/id.ts'
import { hasEnded } from '../domain/subscription.ts'
import { requireAccount } from '../store/account.ts'
import { insertCheckout } from '../store/checkout.ts'
import type { Client, Queryable } from '../store/connect.ts'
import { firstEnrolment, insertFree } from '../store/free.ts'
import { freePlanOnSale, priceOnSale } from '../store/price-list.ts'
import {
  findSubscription,
  listSubscriptions,
  livePrimary,
  type SubscriptionRow,
} from '../store/subscription.ts'
import type { Api, ApiDeps } from './api.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { invalidFields } from './problem.ts'
import { accountId, answers, instant, metadataInput, metadataOutput, noQuery } from './schema.ts'

const returnUrl = z.url({ protocol: /^https?$/ }).max(2_000)

const subscriptionInput = z.strictObject({
  account: accountId,
  plan: z.string().min(1).max(63).describe('the id of a plan in /v1/catalog'),
  interval: z.enum(['month', 'year']).default('month'),
  success_url: returnUrl
    .optional()
    .describe('where the customer goes after paying; required, unless the plan is free'),
  cancel_url: returnUrl
    .optional()
    .describe('where the customer goes after giving up; required, unless the plan is free'),
  metadata: metadataInput,
})

type SubscriptionInput = z.infer<typeof subscriptionInput>

const checkoutView = z.object({ id: z.string(), url: z.string().nullable(), expires_at: instant.nullable() })

const subscriptionView = z
  .object({
    id: z
      .string()
      .describe(
        'of the order that began it; Stripe’s when none of ours did; both find it. A free plan has one of its own',
      ),
    object: z.literal('subscription'),
    status: z
      .string()
      .describe('opening, abandoned, failed, and then Stripe’s own; of a free plan, active or canceled'),
    account: z.string(),
    plan: z.string().nullable(),
    interval: z.enum(['month', 'year']).nullable(),
    quantity: z.int().nullable(),
    stripe_id: z.string().nullable().describe('null until it is paid, and for a free plan'),
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

const params = z.object({ id: z.string().max(100).describe('ord_…, sub_… or free_…') })

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
      querystring: noQuery,
      body: subscriptionInput,
      response: answers({ 201: subscriptionView, 202: commandView }),
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
    handler: async (request) => viewOf(await requireSubscription(pool, request.params.id)),
  })

  app.post('/v1/subscriptions/:id/cancel', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Cancel at the end of the period that runs',
      tags: ['subscriptions'],
      params,
      headers: idempotencyHeaders,
      querystring: noQuery,
      body: z.strictObject({}).nullish(),
      response: answers({ 200: subscriptionView, 202: commandView }),
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

const NOT_ON_SALE = 'this plan is not on sale at this interval'

/** Writes an order; its workflow opens the page. */
async function order(client: Client, id: string, input: SubscriptionInput): Promise<void> {
  const { account, plan, interval, success_url: successUrl, cancel_url: cancelUrl, metadata } = input
  await requireAccount(client, account)
  const price = await priceOnSale(client, plan, interval)
  if (price === undefined) throw new Refusal('plan_not_found', NOT_ON_SALE)
  if (successUrl === undefined || cancelUrl === undefined) {
    const missing = URLS.filter((url) => input[url] === undefined)
    throw invalidFields(missing, 'required for a plan that is paid for')
  }
  const live = await livePrimary(client, account, price.group)
  if (live !== undefined) {
    throw new Refusal('subscription_exists', 'the account has a live subscription of this group', {
      subscription: live.id,
    })
  }
  const { group: planGroup, priceId } = price
  await insertCheckout(client, {
    id,
    accountId: account,
    plan,
    interval,
    planGroup,
    priceId,
    successUrl,
    cancelUrl,
    metadata,
  })
}

/** Enrols in a free plan; its workflow grants. */
async function enrol(client: Client, id: string, input: SubscriptionInput): Promise<void> {
  const { account, plan, interval, metadata } = input
  await requireAccount(client, account)
  const terms = await freePlanOnSale(client, plan)
  if (terms === undefined || interval !== 'month') throw new Refusal('plan_not_found', NOT_ON_SALE)
  const needless = URLS.filter((url) => input[url] !== undefined)
  if (needless.length > 0) throw invalidFields(needless, 'a free plan has no page to return from')
  const created = await businessNow(client)
  const anchor = (await firstEnrolment(client, account, terms.group)) ?? created
  const { start: periodStart, end: periodEnd } = monthAt(anchor, created)
  await insertFree(client, { id, account, terms, anchor, created, periodStart, periodEnd, metadata })
}

const URLS = ['success_url', 'cancel_url'] as const

async function requireSubscription(database: Queryable, id: string): Promise<SubscriptionRow> {
  const row = await findSubscription(database, id)
  if (row === undefined) throw new Refusal('subscription_not_found', `there is no subscription ${id}`)
  return row
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
