/**
 * The workflows' public face: names, messages and their payloads, without side effects. The API, the sweepers, the
 * sandbox's clock and the workflows themselves import this one file, so a renamed message cannot lose an event.
 */
import { defineSearchAttributeKey } from '@temporalio/common'
import { defineSignal, defineUpdate } from '@temporalio/workflow'

/** Workflow types, as the Temporal UI shows them. */
export const WORKFLOW = { subscription: 'subscription', checkout: 'checkout', duty: 'duty' } as const

/** Why a workflow was woken. Only a hint for the reader of the history: the run observes for itself. */
export interface Wake {
  /** `webhook`, `deadline`, `adopt`, `checkout`, … */
  reason: string
  /** Stripe event type and id, when a webhook woke it */
  type?: string
  event?: string
}

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
export type Operation = 'open' | 'cancel'

export const openUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('open')
export const cancelUpdate = defineUpdate<CommandAnswer, [CommandMessage]>('cancel')

/** Arguments of a subscription's workflow. A continued run gets the next version of itself and nothing else. */
export interface SubscriptionInput {
  schemaVersion: 1
}

export interface CheckoutInput {
  schemaVersion: 1
}

export interface DutyInput {
  duty: 'sweep' | 'adopt' | 'clean'
}

/** What an operator filters by. Typed, ids only, never personal data (search attributes are not encrypted). */
export const ATTRIBUTE = {
  account: defineSearchAttributeKey('PerennialAccount', 'KEYWORD'),
  plan: defineSearchAttributeKey('PerennialPlan', 'KEYWORD'),
  status: defineSearchAttributeKey('PerennialStatus', 'KEYWORD'),
  periodEnd: defineSearchAttributeKey('PerennialPeriodEnd', 'DATETIME'),
  attention: defineSearchAttributeKey('NeedsAttention', 'BOOL'),
}
