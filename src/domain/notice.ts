/**
 * Notices: what an account, and the product that sells to it, is told. Each kind says what it carries: ids minted by us
 * or by Stripe, amounts as decimal strings, instants, and links of ours or of Stripe's; never personal data (law 13).
 * `notice-words.ts` has the words of its e-mail.
 */
import type { Instant } from './calendar.ts'

/** Money as Stripe counts it: minor units as a string, and the currency in small letters. */
export interface MoneyFacts {
  amountMinor: string
  currency: string
}

/** A change of plan, wherever it stands. */
export interface PlanChangeFacts {
  subscription: string
  /** keys of the catalogue, and the names that people know them by */
  fromPlan: string
  fromName: string
  toPlan: string
  toName: string
  interval: 'month' | 'year'
  quantity: string
  effectiveAt: Instant
}

/** What each kind of notice carries. */
export interface NoticeData {
  /** credits arrived that were not bought as a pack: a plan's month, or a gift */
  credits_granted: {
    posting: string
    amount: string
    /** after the grant */
    balance: string
    /** the posting's: `first_payment`, `renewal`, `entitlement_due`, `free_period`; of a gift, its kind */
    reason: string
    /** null: never */
    expiresAt: Instant | null
    subscription: string | null
  }
  purchase_completed: MoneyFacts & {
    order: string
    pack: string
    packName: string
    quantity: string
    /** null: a code took the whole price, so nothing was granted */
    posting: string | null
    credits: string
    balance: string
  }
  purchase_abandoned: { order: string; pack: string }
  /** the customer had done everything, and the money did not come */
  purchase_failed: MoneyFacts & { order: string; pack: string; packName: string; quantity: string }
  payment_failed: MoneyFacts & {
    invoice: string
    subscription: string
    attempt: string
    /** null: Stripe does not try again by itself */
    nextAttemptAt: Instant | null
    /** until when the credits of the period before can be used; null: they are over already, or none lapse by it */
    graceEndsAt: Instant | null
    payUrl: string | null
  }
  payment_action_required: MoneyFacts & {
    /** in_… or pi_… */
    payment: string
    subscription: string | null
    payUrl: string | null
  }
  payment_reminder: MoneyFacts & {
    invoice: string
    subscription: string
    /** 1: the first */
    reminder: string
    /** null: Stripe does not try again by itself */
    nextAttemptAt: Instant | null
    payUrl: string | null
  }
  payment_recovered: MoneyFacts & { invoice: string; subscription: string }
  plan_changed: PlanChangeFacts & {
    /** granted at once; null: nothing was */
    credits: string | null
  }
  plan_change_scheduled: PlanChangeFacts
  plan_change_withdrawn: PlanChangeFacts
  subscription_cancelling: { subscription: string; plan: string | null; endsAt: Instant }
  /** it was to end and goes on */
  subscription_resumed: { subscription: string; plan: string | null }
  subscription_ended: { subscription: string; plan: string | null; endedAt: Instant }
  /** `resumesAt`: when it goes on by itself; null: when somebody says so */
  subscription_paused: { subscription: string; plan: string | null; resumesAt: Instant | null }
  /** it was paused and goes on */
  subscription_unpaused: { subscription: string; plan: string | null }
  /** `payment` is null before it is made: in a preview */
  top_up_completed: MoneyFacts & { payment: string | null; posting: string; credits: string; balance: string }
  top_up_declined: MoneyFacts & {
    payment: string
    /** when it is tried again; null: not by itself */
    nextAttemptAt: Instant | null
    /** where the card can be changed */
    updateUrl: string | null
  }
  top_up_stopped: {
    reason: 'declines' | 'monthly_cap' | 'no_payment_method' | 'pack_not_on_sale'
    updateUrl: string | null
  }
  balance_low: { available: string; threshold: string }
  approval_requested: {
    approval: string
    approvalKind: string
    requestedBy: string
    expiresAt: Instant | null
  }
  approval_decided: { approval: string; approvalKind: string; decision: string; decidedBy: string }
  adjustment_made: { posting: string; amount: string; balance: string; reasonCode: string }
}

export type NoticeKind = keyof NoticeData

interface Spec<Data> {
  /** the type that receivers of webhooks filter by */
  event: `${string}.${string}`
  /** whether the customer gets an e-mail of it; if not, it goes to webhook endpoints only */
  emailed: boolean | ((data: Data) => boolean)
}

/** Reasons of grants that no e-mail tells: a free plan's month is no news, and a change of plan tells its own. */
const UNMAILED = new Set(['free_period', 'plan_change'])

/** Every kind, and how it travels. */
export const NOTICES: { readonly [Kind in NoticeKind]: Spec<NoticeData[Kind]> } = {
  credits_granted: { event: 'credits.granted', emailed: ({ reason }) => !UNMAILED.has(reason) },
  purchase_completed: { event: 'purchase.completed', emailed: true },
  purchase_abandoned: { event: 'purchase.abandoned', emailed: false },
  purchase_failed: { event: 'purchase.failed', emailed: true },
  payment_failed: { event: 'payment.failed', emailed: true },
  payment_action_required: { event: 'payment.action_required', emailed: true },
  payment_reminder: { event: 'payment.reminder', emailed: true },
  payment_recovered: { event: 'payment.recovered', emailed: true },
  plan_changed: { event: 'plan.changed', emailed: true },
  plan_change_scheduled: { event: 'plan.change_scheduled', emailed: true },
  plan_change_withdrawn: { event: 'plan.change_withdrawn', emailed: true },
  subscription_cancelling: { event: 'subscription.cancelling', emailed: true },
  subscription_resumed: { event: 'subscription.resumed', emailed: true },
  subscription_ended: { event: 'subscription.ended', emailed: true },
  subscription_paused: { event: 'subscription.paused', emailed: true },
  subscription_unpaused: { event: 'subscription.unpaused', emailed: true },
  top_up_completed: { event: 'top_up.completed', emailed: true },
  top_up_declined: { event: 'top_up.declined', emailed: true },
  top_up_stopped: { event: 'top_up.stopped', emailed: true },
  balance_low: { event: 'balance.low', emailed: true },
  // of operators, not of the customer
  approval_requested: { event: 'approval.requested', emailed: false },
  approval_decided: { event: 'approval.decided', emailed: false },
  adjustment_made: { event: 'adjustment.made', emailed: false },
}

export const NOTICE_KINDS = Object.keys(NOTICES) as NoticeKind[]

/** Every type that a webhook endpoint can ask for. */
export const EVENT_TYPES = NOTICE_KINDS.map((kind) => NOTICES[kind].event)

/** A notice that is to be written: the shape that `writeNotice` takes and that a preview shows. */
export type PlannedNotice = {
  [Kind in NoticeKind]: {
    account: string
    kind: Kind
    /** from `noticeKey`, made from what it tells: the same twice is told once */
    key: string
    /** what brought it about: ids of ours and of Stripe's */
    cause: Record<string, string>
    data: NoticeData[Kind]
  }
}[NoticeKind]

/** Whether the customer gets an e-mail of this notice. */
export function isEmailed({ kind, data }: Pick<PlannedNotice, 'kind' | 'data'>): boolean {
  const { emailed } = NOTICES[kind] as Spec<NoticeData[NoticeKind]>
  return typeof emailed === 'boolean' ? emailed : emailed(data)
}
