/** What is known of a subscription, and what a plan for it is made of: the words that its decisions share. */
import type { Instant } from './calendar.ts'
import type { PlannedNotice } from './notice.ts'
import type { Interval, KeptTerms } from './plan.ts'

/** Stripe's subscription, as far as it decides anything. */
export interface SubscriptionFacts {
  id: string
  /** null: neither its metadata nor its customer names an account of ours */
  account: string | null
  order: string | null
  status: string
  priceId: string | null
  quantity: number
  periodStart: Instant | null
  periodEnd: Instant | null
  anchor: Instant
  cancelAt: Instant | null
  cancelAtPeriodEnd: boolean
  endedAt: Instant | null
  created: Instant
  /** collection is paused in Stripe, until then if it says when; this and what follows: absent in old histories */
  paused?: { resumesAt: Instant | null } | null
  latestInvoice?: string | null
  /** Stripe's subscription item that the price is of */
  item?: string | null
  pending?: PendingFacts | null
  /** the schedule that manages it, whether or not it is to change anything */
  schedule?: string | null
  /** that schedule, when it is ours and has nothing more to do */
  spent?: string | null
}

/** A change that Stripe will make by itself: when its invoice is paid, or when the period ends. */
export interface PendingFacts {
  state: 'awaiting_payment' | 'scheduled'
  priceId: string
  quantity: number
  /** when it takes effect; null: when it is paid */
  effectiveAt: Instant | null
  /** when Stripe drops it; null: it does not */
  expiresAt: Instant | null
  /** what must be paid for it, or what keeps its date */
  cause: string
}

export interface LineFacts {
  id: string
  /** null when the line is no subscription item's */
  priceId: string | null
  proration: boolean
  quantity: number | null
  amount: string
  discount: string
  periodStart: Instant
  periodEnd: Instant
}

export interface InvoiceFacts {
  id: string
  status: string
  reason: string
  currency: string
  amountPaid: string
  /** pi_… that settled it, or the invoice itself when none did (customer balance, out of band, nothing due) */
  payment: string
  paidAt: Instant | null
  finalizesAt: Instant | null
  nextAttemptAt: Instant | null
  lines: LineFacts[]
  /** how often Stripe tried to collect it; this and what follows: absent in old histories */
  attempts?: number
  amountDue?: string
  finalizedAt?: Instant | null
  /** where its customer can pay it */
  url?: string | null
  /** the payment intent that collects it while it is open */
  intent?: string | null
  /** its payment waits for its customer */
  actionRequired?: boolean
  /** its customer was told that it could not be collected */
  failureTold?: boolean
}

/** A month of a paid year that has been written and not yet granted. */
export interface PendingEntitlement {
  key: string
  amount: string
  dueAt: Instant
  periodEnd: Instant
  /** null: never */
  expiresAt: Instant | null
  /** as of a grant; absent in histories that were recorded before there was a choice: nothing */
  carry?: string | null
  payment: string
  source: Record<string, string>
}

/** Everything a run knows. `at` is business now, read with the rest. */
export interface Observation {
  at: Instant
  subscription: SubscriptionFacts
  /** invoices that are not settled, and paid ones that still have a line without a grant */
  invoices: InvoiceFacts[]
  /** terms of every price on them that is in the catalogue */
  terms: Record<string, KeptTerms>
  /** keys that are granted or written already */
  known: string[]
  pending: PendingEntitlement[]
  /** credits whose money the account was given back, and that no later grant has made good; absent: none */
  owed?: string
  /** days after a failure on which its customer is reminded; absent in old histories */
  reminderDays?: number[]
  /** the mirror as the pass before left it; null: this is the first; absent in old histories */
  before?: MirrorBefore | null
  /** while an invoice is open: when the last of its credits lapse; null: never, or it brought none; absent in old histories */
  creditsUntil?: Instant | null
  /** days after its end for which its unpaid invoices are looked at; absent in old histories: for ever */
  lookDays?: number
}

/** What of the last mirror tells what is news. */
export interface MirrorBefore {
  status: string
  priceId: string | null
  quantity: number
  plan: string | null
  /** absent in old histories */
  group?: string
  cancelAt: Instant | null
  pending: PendingChange | null
  paused: boolean
  /** how many passes found news; absent in old histories */
  news?: number
}

/** An invoice that could not be collected. */
export interface OwedPayment {
  status: 'failed' | 'action_required'
  invoice: string
  amountMinor: string
  currency: string
  /** where its customer pays it */
  url: string | null
  attempts: number
  nextAttemptAt: Instant | null
}

/** A change that Stripe will make, with the terms of what it changes to; as it is mirrored and answered. */
export interface PendingChange extends PendingFacts {
  plan: string | null
  interval: Interval | null
  /** where it can be paid, when that is what it waits for */
  paymentUrl: string | null
}

export interface GrantStep {
  key: string
  amount: string
  periodStart: Instant
  /** null: never */
  expiresAt: Instant | null
  /**
   * how many credits of this subscription's earlier periods live on beside these: an amount, or `Infinity`; null: it
   * succeeds nothing
   */
  carry: string | null
  payment: string
  reason: string
  source: Record<string, string>
}

/** A month of a paid year that becomes smaller, because its money was given back. */
export interface CutStep {
  /** the month's */
  key: string
  /** what is left of it */
  amount: string
}

/** Prorations of an invoice that are settled; or a grant that made good what was owed. Written once per key. */
export interface SettlementStep {
  key: string
  invoice: string
  /** credits that later grants are to make good; negative: what one did make good */
  owed: string
}

export interface PaymentStep {
  id: string
  invoice: string
  amountMinor: string
  currency: string
  paidAt: Instant
}

export interface Mirror {
  id: string
  account: string
  order: string | null
  plan: string | null
  group: string
  interval: Interval | null
  priceId: string | null
  quantity: number
  status: string
  periodStart: Instant | null
  periodEnd: Instant | null
  anchor: Instant
  cancelAt: Instant | null
  endedAt: Instant | null
  created: Instant
  deadline: Instant | null
  attention: string | null
  observedAt: Instant
  /** this and what follows: absent in plans of workflows that began under an earlier version */
  pending?: PendingChange | null
  paused?: boolean
  payment?: OwedPayment | null
  /** how many passes found news, this one among them */
  news?: number
}

export interface SubscriptionPlan {
  payments: PaymentStep[]
  entitlements: PendingEntitlement[]
  grants: GrantStep[]
  settlements: SettlementStep[]
  cuts: CutStep[]
  notices: PlannedNotice[]
  mirror: Mirror
  /** a schedule to let go of; absent in plans of workflows that began under an earlier version */
  letGo?: string | null
  /** what the account owed when this was decided; absent in plans of an earlier version */
  owed?: string
  /** nothing is left to do and nothing will be: the workflow may close */
  over: boolean
}
