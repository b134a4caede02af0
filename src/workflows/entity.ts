/**
 * The life of one thing (law 5): wake, observe, decide, apply, until nothing is left to do; then wait for the next
 * wake or the next deadline. Webhooks, commands and timers all end in the same pass, so their order cannot matter.
 */
import {
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  condition,
  isCancellation,
  log,
  setCurrentDetails,
  setDefaultSignalHandler,
  setHandler,
  sleep,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import type { SearchAttributePair, UpdateDefinition } from '@temporalio/common'
import { msBetween } from '../domain/calendar.ts'
import {
  ATTRIBUTE,
  COMMAND_FAILED,
  type CommandAnswer,
  type CommandMessage,
  type Rest,
  STRIPE_WAITS,
  type Wake,
  wakeSignal,
} from './message.ts'
import { attentionActivities } from './proxy.ts'

/**
 * What one pass found and left. When `turn` changes, the next period begins and the run is continued as new;
 * `attention` is why a person must look; `details` is what a support person reads in the Temporal UI, in Markdown.
 */
export interface Pass extends Rest {
  /** nothing is left to do, now or later */
  over: boolean
  attributes: SearchAttributePair[]
}

export interface Entity {
  /** observes, decides, applies; safe to run at any time and any number of times */
  pass: () => Promise<Pass>
  commands: {
    update: UpdateDefinition<CommandAnswer, [CommandMessage]>
    run: (command: string) => Promise<CommandAnswer>
  }[]
  /** what the run before this one left to wait for, when it was continued */
  rest: Rest | undefined
  /** ends this run and begins the next */
  renew: (rest: Rest) => Promise<never>
}

interface Waiting {
  command: string
  run: (command: string) => Promise<CommandAnswer>
  resolve: (answer: CommandAnswer) => void
  reject: (failure: Error) => void
}

/** Stripe tells one fact in several events within a moment: gather them into one pass. */
const GATHER_MS = 500
/** One timer is never longer than this; the deadline itself is absolute. */
const LONGEST_WAIT_MS = 30 * 24 * 3_600_000
const RETRY_FIRST_MS = 60_000
const RETRY_MAX_MS = 3_600_000
/** While Stripe is away: so often that what waits is soon done, and so rarely that days of it are no load. */
const AWAY_MAX_MS = 600_000

/** Lives until over. Never fails: what will not pass parks the entity, says so, and is tried again. */
export async function live(entity: Entity): Promise<void> {
  const id = workflowInfo().workflowId
  const waiting: Waiting[] = []
  let woken: Wake | undefined
  const { rest } = entity
  let dirty = rest === undefined
  let turn: string | null | undefined = rest?.turn
  let renewing = false
  let failures = 0
  let away = 0
  let shown = rest?.shown ?? ''
  let parked: string | null = rest?.attention ?? null

  setHandler(wakeSignal, (wake) => {
    dirty = true
    woken = wake
  })
  // A message of a newer or older version is still a reason to look.
  setDefaultSignalHandler((name) => {
    log.warn('a signal that this version does not know', { name })
    dirty = true
  })
  for (const { update, run } of entity.commands) {
    setHandler(
      update,
      ({ command }) =>
        new Promise<CommandAnswer>((resolve, reject) => {
          waiting.push({ command, run, resolve, reject })
        }),
      {
        validator: (message) => {
          if (!/^cmd_[A-Za-z0-9]+$/.test(message?.command)) {
            throw ApplicationFailure.nonRetryable('a command is named by its id', 'InvalidCommand')
          }
        },
      },
    )
  }

  const idle = () => !dirty && waiting.length === 0
  if (rest !== undefined) {
    setCurrentDetails(rest.details)
    await condition(() => !idle(), waitFor(rest), { summary: waitSummary(rest) })
  }
  for (;;) {
    if (woken?.reason === 'webhook') await sleep(GATHER_MS, { summary: 'gather wakes' })
    woken = undefined
    const answered: (() => void)[] = []
    for (const one of waiting.splice(0)) answered.push(await carryOut(one))
    dirty = false
    const pass = await tryPass()
    // Answered after the pass, so that whoever asked reads what the command did.
    for (const answer of answered) answer()

    // kept until it is used: a wake may come between the turn and a quiet moment
    if (pass !== undefined && turnedTo(pass.turn)) renewing = true
    if (workflowInfo().continueAsNewSuggested) renewing = true
    if (idle() && (pass?.over || (pass !== undefined && renewing))) {
      await condition(allHandlersFinished)
      if (idle() && pass?.over) return
      if (idle()) return await entity.renew({ ...restOf(pass), shown })
    }
    await condition(() => !idle(), waitFor(pass), { summary: waitSummary(pass) })
  }

  async function tryPass(): Promise<Pass | undefined> {
    try {
      const pass = await entity.pass()
      failures = 0
      away = 0
      await show(pass)
      return pass
    } catch (error) {
      if (isCancellation(error)) throw error
      if (isStripeAway(error)) {
        // says nothing of this entity: no attention, no attempt of an event
        away += 1
        setCurrentDetails(`**Waits for Stripe**: ${reasonOf(error)}\n\nIt goes on by itself.`)
        return undefined
      }
      away = 0
      failures += 1
      const reason = reasonOf(error)
      log.error('a pass failed; it will be tried again', { failures, reason })
      setCurrentDetails(`**Needs attention**: ${reason}\n\nIt will be tried again by itself.`)
      await attend(reason, isFinal(error))
      return undefined
    }
  }

  async function attend(reason: string | null, final: boolean): Promise<void> {
    if (reason === parked && !final) return
    // the transaction of a pass that has nothing to complain of closes the alert
    if (reason !== null) await attentionActivities.raiseAttention({ owner: id, reason, final })
    upsertSearchAttributes([{ key: ATTRIBUTE.attention, value: reason !== null }])
    parked = reason
  }

  async function show(pass: Pass): Promise<void> {
    setCurrentDetails(pass.details)
    const seen = JSON.stringify(pass.attributes)
    // each upsert is an event in the history: only on a change
    if (seen !== shown && pass.attributes.length > 0) upsertSearchAttributes(pass.attributes)
    shown = seen
    await attend(pass.attention, false)
  }

  function turnedTo(next: string | null): boolean {
    const before = turn
    turn = next
    return before !== undefined && before !== next
  }

  function waitFor(pass: Rest | undefined): number {
    // apart from each other, for many wait for the same thing; the chance is Temporal's, so a replay waits the same
    if (away > 0) return Math.min(RETRY_FIRST_MS * 2 ** (away - 1), AWAY_MAX_MS) * (0.5 + Math.random() / 2)
    if (pass === undefined) return Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MAX_MS)
    if (pass.deadline === null) return LONGEST_WAIT_MS
    return Math.min(Math.max(msBetween(pass.at, pass.deadline), 1_000), LONGEST_WAIT_MS)
  }
}

function restOf({ at, deadline, turn, attention, details }: Pass): Rest {
  return { at, deadline, turn, attention, details }
}

function waitSummary(pass: Rest | undefined): string {
  if (pass === undefined) return 'try again'
  return pass.deadline === null ? 'until woken' : `until ${pass.deadline}`
}

async function carryOut({ command, run, resolve, reject }: Waiting): Promise<() => void> {
  try {
    const answer = await run(command)
    return () => resolve(answer)
  } catch (error) {
    if (isCancellation(error)) throw error
    // only the update fails, and its row stays pending: a sweeper sends it again, as another update
    return () => reject(ApplicationFailure.nonRetryable(reasonOf(error), COMMAND_FAILED))
  }
}

function reasonOf(error: unknown): string {
  const cause = error instanceof ActivityFailure && error.cause !== undefined ? error.cause : error
  return cause instanceof Error ? cause.message : String(cause)
}

/** Whether an activity gave up because Stripe may not be called. How the server tells of a retry that did not fit differs. */
function isStripeAway(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure)
      return cause.type === STRIPE_WAITS.unavailable || cause.type === STRIPE_WAITS.busy
  }
  return false
}

/** A retry meets the same: an activity said so, or our own code failed over these very facts. */
function isFinal(error: unknown): boolean {
  if (!(error instanceof ActivityFailure)) return true
  return error.cause instanceof ApplicationFailure && error.cause.nonRetryable === true
}
