/**
 * What a command does (law 6): postings, calls to Stripe, notices and dates, as its decision says them before anything is
 * done. `?dry_run=true` shows it, acting carries it out. Ids that do not exist before it is done are null.
 */
import type { Instant } from './calendar.ts'
import type { Refusal, RefusalCode } from './error.ts'
import type { PlannedNotice } from './notice.ts'

/** A lot that a posting fills, draws on or gives something back to. */
export interface PlannedDraw {
  /** null: a lot that this command makes */
  lot: string | null
  /** what the lot is: plan, pack, goodwill, … */
  source: string
  /** below zero is drawn */
  amount: string
  /** null: never */
  expiresAt: Instant | null
}

export interface PlannedPosting {
  kind: 'grant' | 'spend' | 'capture' | 'reversal' | 'adjustment' | 'lapse'
  /** what it does to the balance */
  amount: string
  balanceAfter: string
  feature: string | null
  reasonCode: string
  lots: PlannedDraw[]
}

/** A call that changes something in Stripe. Reads are not told, nor is personal data that goes along. */
export interface PlannedCall {
  method: 'POST' | 'DELETE'
  /** as in Stripe's reference; `{…}` stands for an id that an earlier call of the same command makes */
  path: string
  /** by Stripe's names, as in a form: `line_items[0][price]`; null: made by an earlier call */
  params: Record<string, string | null>
}

/** What a date of a command is about; each part adds its own. */
export const DATES = [
  'approval_expires',
  'checkout_expires',
  'credits_next',
  'hold_lapses',
  'subscription_ends',
  'plan_changes',
] as const

export interface PlannedDate {
  what: (typeof DATES)[number]
  at: Instant
}

export interface Effects {
  /** in their order */
  postings: PlannedPosting[]
  /** in their order */
  stripe: PlannedCall[]
  notices: PlannedNotice[]
  dates: PlannedDate[]
}

/** Why a command is refused. `data` carries facts for programs; no personal data. */
export interface RefusalFacts {
  code: RefusalCode
  detail: string
  data: Record<string, unknown>
}

export function factsOf({ code, message: detail, data }: Refusal): RefusalFacts {
  return { code, detail, data }
}

export interface Refused {
  refused: RefusalFacts & { statusCode: number }
}

/** What a pure decision says of a command: why not, or what it does, with whatever else carrying it out takes. */
export type Decision<Plan extends object = object> = Refused | ({ effects: Effects } & Plan)

/** A preview: what a command would do at an instant, or why it would be refused. */
export interface Foresight {
  at: Instant
  refusal: RefusalFacts | null
  /** of a refused command: what is done all the same, such as lapses that are due */
  effects: Effects
  /** the wallet afterwards; null: it is not touched */
  balance: PlannedBalance | null
}

export interface PlannedBalance {
  balance: string
  held: string
  available: string
  debt: string
  lots: { lot: string | null; source: string; remaining: string; expiresAt: Instant | null }[]
}

/** Effects; those that are not named are none. */
export function effectsOf(some: Partial<Effects>): Effects {
  return { postings: [], stripe: [], notices: [], dates: [], ...some }
}

export function refused(
  statusCode: number,
  code: RefusalCode,
  detail: string,
  data: Record<string, unknown> = {},
): Refused {
  return { refused: { statusCode, code, detail, data } }
}

/** A refused decision as the outcome of its command. */
export function refusalOutcome({ refused: { statusCode, code, detail, data } }: Refused): {
  state: 'refused'
  statusCode: number
  result: Record<string, unknown>
} {
  return { state: 'refused', statusCode, result: { ...data, code, detail } }
}

/** What a decision that posts nothing foresees. */
export function foresightOf(at: Instant, decision: Decision): Foresight {
  if ('effects' in decision) return { at, refusal: null, effects: decision.effects, balance: null }
  const { code, detail, data } = decision.refused
  return { at, refusal: { code, detail, data }, effects: effectsOf({}), balance: null }
}
