/**
 * The workflows' public face: names, messages and their payloads, without side effects. The API, the sweepers, the
 * sandbox's clock and the workflows themselves import this one file, so a renamed message cannot lose an event.
 */
import { defineSearchAttributeKey } from '@temporalio/common'
import { defineSignal, defineUpdate } from '@temporalio/workflow'

/** Workflow types, as the Temporal UI shows them. */
export const WORKFLOW = {
  subscription: 'subscription',
  checkout: 'checkout',
  customer: 'customer',
  free: 'free',
  topUp: 'topUp',
  approval: 'approval',
  duty: 'duty',
  preview: 'preview',
} as const

/** Why a workflow was woken. Only a hint for the reader of the history: the run observes for itself. */
export interface Wake {
  /** `webhook`, `deadline`, `adopt`, `checkout`, … */
  reason: string
  /** Stripe event type and id, when a webhook woke it */
  type?: string
  event?: string
}

/**
 * Failures of activities that say nothing of what they were asked about: Stripe is away, or its rate limits are used up.
 * Whoever meets one waits, and complains of nothing.
 */
export const STRIPE_WAITS = { unavailable: 'StripeUnavailable', busy: 'StripeBusy' } as const

/** The failure of an update whose command was given up: its row stays as it is. */
export const COMMAND_FAILED = 'CommandFailed'

/** Level-triggered: many wakes are one. */
export const wakeSignal = defineSignal<[Wake]>('wake')

/** A command row that the owner is to carry out. The row holds what was asked and keeps the answer. */
export interface CommandMessage {
  command: string
}

export interface CommandAnswer {
  state: 'done' | 'refused'
  statusCode: number
  result: Record<string, unknown>
}

/** Operations that a workflow carries out; the update's name is the operation, so that the history reads itself. */
export type Operation = 'open' | 'cancel' | 'change' | 'portal' | 'resume' | 'withdraw' | 'approve' | 'reject'

export const openUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('open')
export const cancelUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('cancel')
export const changeUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('change')
export const resumeUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('resume')
export const portalUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('portal')
export const withdrawUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('withdraw')
export const approveUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('approve')
export const rejectUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('reject')

/**
 * What the last pass of a run left to wait for. A continued run waits on instead of looking at the same again; it is a
 * hint like any other, and a run without it looks at once.
 */
export interface Rest {
  /** business time of that pass */
  at: string
  /** when to look again by itself; null: never */
  deadline: string | null
  turn: string | null
  attention: string | null
  /** what the Temporal UI shows until the next pass */
  details: string
  /** the search attributes as they were set, which Temporal carries over by itself; absent: not known */
  shown?: string
}

/** Arguments of an entity's workflow. Whoever starts one gives no `rest`. */
export interface EntityInput {
  schemaVersion: 1
  rest?: Rest
}

/** Arguments of a subscription's workflow. */
export type SubscriptionInput = EntityInput

export type CheckoutInput = EntityInput

/** Arguments of a free plan's workflow. */
export type FreeInput = EntityInput

/** Arguments of an account's automatic top-up. */
export type TopUpInput = EntityInput

export type ApprovalInput = EntityInput

export interface DutyInput {
  duty: 'sweep' | 'catch_up' | 'adopt' | 'drift' | 'clean' | 'notify'
}

/** Asks what a command would do. Ids and codes only, as in every history. */
export interface PreviewInput {
  /** a command's; or what a workflow does by itself once the API has written what it was asked */
  operation: Operation | 'top_up'
  /** id of the workflow that would carry it out */
  subject: string
  /** what the command's row would hold, and what else the rows hold that acting writes first */
  input: Record<string, string>
}

/** What an operator filters by. Typed, ids only, never personal data (search attributes are not encrypted). */
export const ATTRIBUTE = {
  account: defineSearchAttributeKey('PerennialAccount', 'KEYWORD'),
  plan: defineSearchAttributeKey('PerennialPlan', 'KEYWORD'),
  status: defineSearchAttributeKey('PerennialStatus', 'KEYWORD'),
  periodEnd: defineSearchAttributeKey('PerennialPeriodEnd', 'DATETIME'),
  attention: defineSearchAttributeKey('NeedsAttention', 'BOOL'),
}
