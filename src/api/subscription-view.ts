/** How a subscription is answered: its order and the mirror of what Stripe made of it, as one thing. */
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import type { PendingChange } from '../domain/subscription-facts.ts'
import type { Queryable } from '../store/connect.ts'
import { findSubscription, type SubscriptionRow } from '../store/subscription.ts'
import { checkoutView, EXAMPLE, instant, metadataOutput } from './schema.ts'

export const pendingChangeView = z
  .object({
    object: z.literal('pending_change'),
    state: z
      .enum(['scheduled', 'awaiting_payment'])
      .describe('scheduled: at the end of the period; awaiting_payment: as soon as it is paid'),
    plan: z.string().nullable(),
    interval: z.enum(['month', 'year']).nullable(),
    quantity: z.int(),
    effective_at: instant.nullable().describe('null: when it is paid'),
    expires_at: instant.nullable().describe('when it is dropped if it is not paid'),
    payment_url: z.string().nullable().describe('where the customer pays for it'),
  })
  .meta({
    id: 'PendingChange',
    examples: [
      {
        object: 'pending_change',
        state: 'scheduled',
        plan: 'tier_2_20',
        interval: 'month',
        quantity: 1,
        effective_at: EXAMPLE.later,
        expires_at: null,
        payment_url: null,
      },
    ],
  })

const paymentView = z
  .object({
    status: z.enum(['failed', 'action_required']),
    url: z.string().nullable().describe('where the customer pays'),
    attempts: z.int(),
    next_attempt_at: instant.nullable().describe('null: Stripe does not try again by itself'),
  })
  .describe('of the oldest invoice that could not be collected')

export const subscriptionView = z
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
    paused: z.boolean().describe('whether Stripe collects nothing for now: nothing is granted meanwhile'),
    pending_change: pendingChangeView
      .nullable()
      .describe('what changes by itself: when it is paid, or at the end of the period'),
    payment: paymentView.nullable().describe('what is still to be paid; nothing is granted until it is'),
    ended_at: instant.nullable(),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Subscription',
    examples: [
      {
        id: EXAMPLE.order,
        object: 'subscription',
        status: 'opening',
        account: EXAMPLE.account,
        plan: 'tier_2_20',
        interval: 'month',
        quantity: null,
        stripe_id: null,
        checkout: {
          id: 'cs_test_a1',
          url: 'https://checkout.stripe.com/c/pay/cs_test_a1',
          expires_at: EXAMPLE.later,
        },
        current_period_start: null,
        current_period_end: null,
        cancel_at: null,
        paused: false,
        pending_change: null,
        payment: null,
        ended_at: null,
        created_at: EXAMPLE.at,
        metadata: { seat: '7' },
      },
    ],
  })

type SubscriptionView = z.infer<typeof subscriptionView>

export const subscriptionParams = z.object({
  id: z.string().meta({ description: 'ord_…, sub_… or free_…', examples: [EXAMPLE.order] }),
})

/** @throws Refusal `subscription_not_found` */
export async function requireSubscription(database: Queryable, id: string): Promise<SubscriptionRow> {
  const row = await findSubscription(database, id)
  if (row === undefined) throw new Refusal('subscription_not_found', `there is no subscription ${id}`)
  return row
}

/** How an order looks when its page has just been opened, whatever came of it later. */
export const JUST_OPENED = {
  status: 'opening',
  quantity: null,
  stripe_id: null,
  current_period_start: null,
  current_period_end: null,
  cancel_at: null,
  paused: false,
  pending_change: null,
  payment: null,
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

/** A subscription as it is answered. */
export function viewOf(row: SubscriptionRow): SubscriptionView {
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
    paused: row.paused ?? false,
    pending_change: row.pending_change && pendingView(row.pending_change),
    payment: row.payment && {
      status: row.payment.status,
      url: row.payment.url,
      attempts: row.payment.attempts,
      next_attempt_at: row.payment.nextAttemptAt,
    },
    ended_at: iso(row.ended_at),
    created_at: row.created_at.toISOString(),
    metadata: row.metadata,
  }
}

function iso(at: Date | null): string | null {
  return at?.toISOString() ?? null
}

/** A change that Stripe will make by itself. */
export function pendingView(pending: PendingChange): z.infer<typeof pendingChangeView> {
  return {
    object: 'pending_change',
    state: pending.state,
    plan: pending.plan,
    interval: pending.interval,
    quantity: pending.quantity,
    effective_at: pending.effectiveAt,
    expires_at: pending.expiresAt,
    payment_url: pending.paymentUrl,
  }
}
