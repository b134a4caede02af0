/** What commands do to a subscription in Stripe: decided from what Stripe holds, taken step by step, looked at again. */
import { decideStripeCancel, cancellationAnswer, endOf } from '../domain/cancel.ts'
import {
  becameOf,
  type ChangeDecision,
  decideChange,
  decideWithdrawal,
  intervalOf,
  NOT_FOUND,
} from '../domain/change.ts'
import { type Decision, effectsOf, refusalOutcome, refused } from '../domain/effect.ts'
import { Refusal } from '../domain/error.ts'
import { stripeKey } from '../domain/id.ts'
import type { Interval, PriceTerms } from '../domain/plan.ts'
import { decideResume } from '../domain/resume.ts'
import type { SubscriptionFacts, SubscriptionPlan } from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { termsOf } from '../store/catalog-price.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import type { Pool } from '../store/connect.ts'
import { listOnSale } from '../store/price-list.ts'
import { roleOf } from '../store/mirror.ts'
import { madeBy, wasAsked } from '../store/stripe-call.ts'
import type { ChangeGateway } from '../stripe/change.ts'
import type { Gateway } from '../stripe/gateway.ts'
import type { StripeSubscription } from '../stripe/subscription-facts.ts'
import type { CommandAnswer } from '../workflows/message.ts'
import { refusalOf, translated } from './translate.ts'

export interface ChangeDeps {
  pool: Pool
  gateway: Gateway
  changes: ChangeGateway
}

interface Asked {
  subscription: string
  command: string
}

/** What these commands are decided to be: steps, and what they do. */
export type Stepped = Decision<{ steps: SubscriptionStep[] }>

export type ChangeActivities = ReturnType<typeof createChangeActivities>

export function createChangeActivities(deps: ChangeDeps) {
  const { pool, gateway, changes } = deps

  /**
   * Decides from what Stripe holds now, takes the steps, and answers by what Stripe holds then. The command's row keeps
   * the answer; whoever died on the way decides anew, and finds what was done already.
   */
  async function carryOut<T extends Stepped>(
    { subscription, command }: Asked,
    decide: (input: Record<string, string>, found: StripeSubscription | undefined) => Promise<T> | T,
    answer: (
      after: StripeSubscription,
      decision: Exclude<T, { refused: unknown }>,
    ) => CommandAnswer | Promise<CommandAnswer>,
  ): Promise<CommandAnswer> {
    const row = await readCommand(pool, command)
    if (row?.answer !== undefined) return row.answer
    const decision = await decide(row?.input ?? {}, await gateway.subscription(subscription))
    if ('refused' in decision) return await finishCommand(pool, command, refusalOutcome(decision))
    try {
      for (const step of decision.steps) await changes.take(subscription, step, command)
    } catch (error) {
      const refusal = refusedBy(error)
      if (refusal === undefined) throw error
      await giveBack(subscription, command)
      return await finishCommand(pool, command, refusal)
    }
    const after = await gateway.subscription(subscription)
    if (after === undefined) return await finishCommand(pool, command, refusalOutcome(NOT_FOUND))
    const answered = await answer(after, decision as Exclude<T, { refused: unknown }>)
    return await finishCommand(pool, command, answered)
  }

  /** A schedule that a refused command made would only stand in the way of what is asked for next. */
  async function giveBack(subscription: string, command: string): Promise<void> {
    const schedule = await madeBy(pool, stripeKey.step('schedule', command))
    if (schedule !== null) await changes.take(subscription, { do: 'release', schedule }, command)
  }

  return translated({
    /** Carries out a cancel command once. */
    cancelSubscription: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        (_input, found) => decideStripeCancel(found),
        (after) => cancellationAnswer(endOf(after)),
      ),

    /** Carries out a resume command once. */
    resumeSubscription: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        async (_input, found) => decideResume(found, await roleOf(pool, asked.subscription)),
        () => done({}),
      ),

    /** Withdraws a pending change, once. */
    withdrawChange: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        async (_input, found) => {
          const decision = decideWithdrawal(found)
          // an earlier try of this command may have withdrawn it, with its answer lost
          const keys = [stripeKey.step('void', asked.command), stripeKey.step('release', asked.command)]
          return 'refused' in decision && found !== undefined && (await wasAsked(pool, keys))
            ? { steps: [], effects: effectsOf({}) }
            : decision
        },
        () => done({}),
      ),

    /** Carries out a change command once. */
    changeSubscription: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        async (input, found) => (await decideFrom(deps, input, found)).decision,
        async (after, decision) => {
          const became = becameOf(after, decision.target)
          if (became === undefined) {
            return refusalOutcome(refused(409, 'change_overtaken', 'Stripe holds another change by now'))
          }
          // what was invoiced counts towards what Stripe allows, also when it was by an earlier try
          const invoiced =
            decision.when === 'now' || (await wasAsked(pool, [stripeKey.step('change', asked.command)]))
          return done({ became, invoiced })
        },
      ),
  })
}

/** What a step was refused with; undefined: it may pass. */
function refusedBy(error: unknown): CommandAnswer | undefined {
  if (error instanceof Refusal) return refusalOutcome(refused(409, error.code, error.message))
  const result = refusalOf(error)
  return result && { state: 'refused', statusCode: 502, result }
}

function done(result: Record<string, unknown>): CommandAnswer {
  return { state: 'done', statusCode: 200, result }
}

/** The decision of a change command, with the terms that it was made from. */
export async function decideFrom(
  { pool }: Pick<ChangeDeps, 'pool'>,
  input: Record<string, string>,
  subscription: SubscriptionFacts | undefined,
): Promise<{ decision: ChangeDecision; terms: Record<string, PriceTerms> }> {
  const prices = subscription?.priceId == null ? [] : [subscription.priceId]
  const terms = await termsOf(pool, prices)
  const current = subscription?.priceId == null ? undefined : terms[subscription.priceId]
  const { plan = '', interval: asked, quantity } = input
  const interval = intervalOf(asked as Interval | undefined, current)
  const { target, instead } = await targetOf(pool, plan, interval, current)
  const decision = decideChange({
    subscription,
    role: (subscription && (await roleOf(pool, subscription.id))) ?? 'primary',
    current,
    target,
    instead,
    quantity: quantity === undefined ? undefined : Number(quantity),
  })
  return { decision, terms: target === undefined ? terms : { ...terms, [target.priceId]: target } }
}

/** The terms to change to. Who only changes seats keeps the price that he has, also when it is sold no more. */
async function targetOf(
  pool: Pool,
  plan: string,
  interval: Interval,
  current: PriceTerms | undefined,
): Promise<{ target: PriceTerms | undefined; instead: 'nothing' | 'commitment' | 'free' }> {
  if (current?.plan === plan && current.interval === interval) return { target: current, instead: 'nothing' }
  const sold = (await listOnSale(pool)).filter((terms) => terms.kind !== 'pack' && terms.plan === plan)
  if (sold.some((terms) => terms.kind === 'free')) return { target: undefined, instead: 'free' }
  const prices = sold.filter(
    (terms): terms is PriceTerms =>
      terms.kind === 'plan' &&
      terms.interval === interval &&
      // a subscription has one currency for ever
      (current === undefined || terms.currency === current.currency),
  )
  const target = prices.find((terms) => terms.commitmentMonths === null)
  return { target, instead: prices.length > 0 ? 'commitment' : 'nothing' }
}

/** A step of a plan as a grant of the ledger. */
export function grantOf(account: string, subscription: string, step: SubscriptionPlan['grants'][number]) {
  return {
    account,
    key: step.key,
    kind: 'plan' as const,
    amount: step.amount,
    expiresAt: step.expiresAt ?? undefined,
    recurring: { subscription, periodStart: step.periodStart, carry: step.carry },
    payment: step.payment,
    actor: 'system',
    reasonCode: step.reason,
    source: step.source,
  }
}
