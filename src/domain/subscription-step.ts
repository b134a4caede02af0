/** The steps by which a command changes a subscription in Stripe, in their order; and the calls that a preview shows. */
import type { PlannedCall } from './effect.ts'
import type { Interval } from './plan.ts'
import type { PendingFacts, SubscriptionFacts } from './subscription-facts.ts'

/** What is to be billed. */
export interface Billed {
  priceId: string
  quantity: number
}

export type SubscriptionStep =
  | { do: 'cancel' }
  /** withdraws a cancellation, by what it was set with */
  | { do: 'go_on'; by: 'cancel_at' | 'cancel_at_period_end' }
  /** ends a pause of collection */
  | { do: 'collect' }
  /** a subscription that Stripe paused bills again, from now */
  | { do: 'resume' }
  /** drops a change that waits for its payment */
  | { do: 'void'; invoice: string }
  /** drops what a schedule is to do; the subscription stays as it is */
  | { do: 'release'; schedule: string }
  /** changes now: its prorated invoice is paid first */
  | ({ do: 'change'; item: string; startsAnew: boolean } & Billed)
  /** changes at the end of the period, by the schedule that is there or a new one */
  | {
      do: 'schedule'
      schedule: string | null
      at: string
      now: Billed
      next: Billed & { interval: Interval }
      startsAnew: boolean
    }

/** Withdraws whatever Stripe is to change by itself. */
export function withdrawals({
  pending,
  schedule,
}: Pick<SubscriptionFacts, 'pending' | 'schedule'>): SubscriptionStep[] {
  const steps: SubscriptionStep[] = []
  if (pending?.state === 'awaiting_payment') steps.push({ do: 'void', invoice: pending.cause })
  if (schedule != null) steps.push({ do: 'release', schedule })
  return steps
}

/** Whether a change is what Stripe is to do by itself already. */
export function isPending(pending: PendingFacts | null | undefined, { priceId, quantity }: Billed): boolean {
  return pending?.priceId === priceId && pending.quantity === quantity
}

/** The calls of a step. */
export function callsOf(subscription: string, step: SubscriptionStep): PlannedCall[] {
  const calls = CALLS[step.do] as (path: string, step: SubscriptionStep, id: string) => PlannedCall[]
  return calls(`/v1/subscriptions/${subscription}`, step, subscription)
}

type Of<Do extends SubscriptionStep['do']> = Extract<SubscriptionStep, { do: Do }>

const CALLS: { [Do in SubscriptionStep['do']]: (path: string, step: Of<Do>, id: string) => PlannedCall[] } = {
  cancel: (path) => [post(path, { cancel_at_period_end: 'true' })],
  go_on: (path, { by }) => [
    post(path, by === 'cancel_at' ? { cancel_at: '' } : { cancel_at_period_end: 'false' }),
  ],
  collect: (path) => [post(path, { pause_collection: '' })],
  resume: (path) => [post(`${path}/resume`)],
  void: (_path, { invoice }) => [post(`/v1/invoices/${invoice}/void`)],
  release: (_path, { schedule }) => [post(`/v1/subscription_schedules/${schedule}/release`)],
  change: (path, { item, priceId, quantity, startsAnew }) => [
    post(path, {
      'items[0][id]': item,
      'items[0][price]': priceId,
      'items[0][quantity]': String(quantity),
      proration_behavior: 'always_invoice',
      payment_behavior: 'pending_if_incomplete',
      ...(startsAnew ? { 'billing_cycle_anchor[type]': 'now' } : {}),
    }),
  ],
  schedule: (_path, { schedule, next }, id) => [
    ...(schedule === null ? [post('/v1/subscription_schedules', { from_subscription: id })] : []),
    post(`/v1/subscription_schedules/${schedule ?? '{schedule}'}`, {
      'phases[1][items][0][price]': next.priceId,
      'phases[1][items][0][quantity]': String(next.quantity),
      'phases[1][proration_behavior]': 'none',
      end_behavior: 'release',
    }),
  ],
}

function post(path: string, params: PlannedCall['params'] = {}): PlannedCall {
  return { method: 'POST', path, params }
}
