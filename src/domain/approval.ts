/**
 * Approvals: what one person (or a workflow) asks for and another person decides. Pure: what may be asked for, until
 * when, and what a decision does.
 */
import { HOUR_MS, type Instant } from './calendar.ts'
import type { RefusalCode } from './error.ts'

/** A correction of what an account has. It is neither a grant nor a use, and never counts as either. */
export interface AdjustmentPlan {
  direction: 'credit' | 'debit'
  /** credits above zero, a decimal */
  amount: string
  /** of a debit: whether it may leave a debt. Otherwise it is refused when so much is not available any more */
  overdraft: boolean
  /** of a credit: when it lapses; null: never */
  expiresAt: Instant | null
  /** of a credit: the lower burns first among credits that expire together */
  priority: number
}

/** A payment that came when its order was over. Its credits were granted: approving says that they stay. */
export interface LatePaymentPlan {
  order: string
  /** `pi_…` */
  payment: string
  amountMinor: string
  currency: string
  /** a decimal */
  credits: string
  /** `pst_…`, of the grant */
  posting: string
}

/** A second live subscription of a plan group: approving ends it with the period that runs, and keeps what it granted. */
export interface DuplicatePlan {
  /** `sub_…` */
  subscription: string
  plan: string | null
  planGroup: string
}

/** What is asked for, by its kind. */
export interface ApprovalPlans {
  adjustment: AdjustmentPlan
  late_payment: LatePaymentPlan
  duplicate_subscription: DuplicatePlan
}
export type ApprovalKind = keyof ApprovalPlans
export type ApprovalPlan = ApprovalPlans[ApprovalKind]
export const APPROVAL_KINDS = ['adjustment', 'late_payment', 'duplicate_subscription'] as const

/** How long each kind waits for a decision, in milliseconds of business time. What a workflow asks for has time. */
export const APPROVAL_OPEN_MS: Record<ApprovalKind, number> = {
  adjustment: 24 * HOUR_MS,
  late_payment: 30 * 24 * HOUR_MS,
  duplicate_subscription: 30 * 24 * HOUR_MS,
}

/**
 * `approved` is on its way to `executed`, or to `refused` when what it rests on has changed. All but `pending` and
 * `approved` are final.
 */
export const APPROVAL_STATES = ['pending', 'approved', 'rejected', 'expired', 'executed', 'refused'] as const
export type ApprovalState = (typeof APPROVAL_STATES)[number]

export const VERDICTS = ['approve', 'reject'] as const
export type Verdict = (typeof VERDICTS)[number]

/** The requester of what a workflow asks for. Whoever decides is a person, so it is never the same. */
export const SYSTEM = 'system'

/** What deciding looks at. */
export interface Decidable {
  id: string
  state: ApprovalState
  requestedBy: string
  expiresAt: Instant
}

export interface DecisionRefusal {
  code: Extract<RefusalCode, 'approver_is_requester' | 'approval_decided' | 'approval_expired'>
  statusCode: 403 | 409
  detail: string
}

/** Whether somebody may decide it now: undefined, or why not. */
export function whyNotDecide(
  approval: Decidable,
  by: { actor: string; at: Instant },
): DecisionRefusal | undefined {
  if (approval.requestedBy === by.actor) {
    const detail = 'whoever asks for something does not decide it'
    return { code: 'approver_is_requester', statusCode: 403, detail }
  }
  if (approval.state === 'expired' || (approval.state === 'pending' && by.at >= approval.expiresAt)) {
    return { code: 'approval_expired', statusCode: 409, detail: `nobody decided it by ${approval.expiresAt}` }
  }
  if (approval.state !== 'pending')
    return { code: 'approval_decided', statusCode: 409, detail: `it is ${approval.state}` }
  return undefined
}

/** What a workflow does about one. `carry_out`: somebody approved it and it is not done yet. */
export type ApprovalStep = 'wait' | 'expire' | 'carry_out' | 'over'

export function stepOf({ state, expiresAt }: Decidable, at: Instant): ApprovalStep {
  if (state === 'approved') return 'carry_out'
  if (state !== 'pending') return 'over'
  return at >= expiresAt ? 'expire' : 'wait'
}
