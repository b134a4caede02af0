/** Plans, invoices and decisions for tests of prorations; money and time as Stripe tells them. */
import assert from 'node:assert/strict'
import { addMonths, addMs, msBetween } from '../../src/domain/calendar.ts'
import { Exact } from '../../src/domain/credits.ts'
import type { KeptTerms } from '../../src/domain/plan.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type {
  InvoiceFacts,
  LineFacts,
  Observation,
  PendingEntitlement,
  SubscriptionFacts,
} from '../../src/domain/subscription-facts.ts'

export const START = '2027-01-01T10:00:00.000Z'
export const at = (month: number, part = 0) => {
  const from = addMonths(START, month)
  return addMs(from, Math.floor(part * msBetween(from, addMonths(START, month + 1))))
}

/** Plans of several rates: bigger is not always cheaper. */
export const PLANS = { a: ['20', 2000], b: ['60', 5000], c: ['100', 10_000] } as const
export type Key = keyof typeof PLANS
export type Interval = 'month' | 'year'
export const YEAR = 10 // months of money

export function termsOf(plan: Key, interval: Interval): KeptTerms {
  const [credits, price] = PLANS[plan]
  return {
    priceId: `price_${plan}_${interval}`,
    lookupKey: `${plan}.${interval}.v1`,
    plan,
    planName: plan,
    group: 'default',
    interval,
    version: 'v1',
    credits,
    unitAmount: String(interval === 'year' ? price * YEAR : price),
    currency: 'usd',
    graceHours: 72,
    discountRule: 'proportional',
  }
}
export const TERMS = Object.fromEntries(
  (['a', 'b', 'c'] as const)
    .flatMap((plan) => (['month', 'year'] as const).map((interval) => termsOf(plan, interval)))
    .map((terms) => [terms.priceId, terms]),
)

export function line(id: string, plan: Key, amount: number, change: Partial<LineFacts> = {}): LineFacts {
  return {
    id,
    priceId: `price_${plan}_month`,
    proration: true,
    quantity: 1,
    amount: String(amount),
    discount: '0',
    periodStart: at(0, 0.5),
    periodEnd: at(1),
    ...change,
  }
}
export function invoice(id: string, lines: LineFacts[], change: Partial<InvoiceFacts> = {}): InvoiceFacts {
  return {
    id,
    status: 'paid',
    reason: 'subscription_update',
    currency: 'usd',
    amountPaid: '0',
    payment: `pi_${id}`,
    paidAt: at(0, 0.5),
    finalizesAt: null,
    nextAttemptAt: null,
    lines,
    ...change,
  }
}
export const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'active',
  priceId: 'price_a_month',
  quantity: 1,
  periodStart: START,
  periodEnd: at(1),
  anchor: START,
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: START,
}
export function decide(invoices: InvoiceFacts[], change: Partial<Observation> = {}) {
  const plan = decideSubscription({
    at: at(0, 0.5),
    subscription,
    invoices,
    terms: TERMS,
    known: [],
    pending: [],
    ...change,
  })
  assert.ok(plan)
  return plan
}
export const sum = (amounts: (string | Exact)[]) =>
  amounts.reduce<Exact>((total, amount) => total.plus(amount), new Exact(0))
export const amounts = (steps: { amount: string }[]) => steps.map(({ amount }) => amount)
export const pendingYear = (plan: Key, from: number): PendingEntitlement[] =>
  Array.from({ length: 12 - from }, (_, index) => ({
    key: `invoice_line:il_y:${index + from}`,
    amount: PLANS[plan][0],
    dueAt: at(index + from),
    periodEnd: at(index + from + 1),
    expiresAt: at(index + from + 1),
    carry: '0',
    payment: 'pi_y',
    source: {},
  }))
