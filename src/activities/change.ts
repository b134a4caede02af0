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
import { type Decision, type Foresight, foresightOf, refusalOutcome, refused } from '../domain/effect.ts'
import type { Interval, PriceTerms } from '../domain/plan.ts'
import { decideResume } from '../domain/resume.ts'
import { decideSubscription } from '../domain/subscription.ts'
import type { SubscriptionFacts, SubscriptionPlan } from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { rehearse } from '../ledger/rehearsal.ts'
import { findAccount } from '../store/account.ts'
import { termsOf } from '../store/catalog-price.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import type { Pool } from '../store/connect.ts'
import { entitlementsOf } from '../store/entitlement.ts'
import { listOnSale } from '../store/price-list.ts'
import { settlementsOf } from '../store/settlement.ts'
import { roleOf } from '../store/mirror.ts'
import { businessNow } from '../clock.ts'
import type { ChangeGateway } from '../stripe/change.ts'
import type { Gateway } from '../stripe/gateway.ts'
import type { StripeSubscription } from '../stripe/subscription-facts.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { grantAndTell } from './granted.ts'
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

type Stepped = Decision<{ steps: SubscriptionStep[] }>

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
    answer: (after: StripeSubscription, decision: Exclude<T, { refused: unknown }>) => CommandAnswer,
  ): Promise<CommandAnswer> {
    const row = await readCommand(pool, command)
    if (row?.answer !== undefined) return row.answer
    const decision = await decide(row?.input ?? {}, await gateway.subscription(subscription))
    if ('refused' in decision) return await finishCommand(pool, command, refusalOutcome(decision))
    try {
      for (const step of decision.steps) await changes.take(subscription, step, command)
    } catch (error) {
      const result = refusalOf(error)
      if (result === undefined) throw error
      return await finishCommand(pool, command, { state: 'refused', statusCode: 502, result })
    }
    const after = await gateway.subscription(subscription)
    if (after === undefined) return await finishCommand(pool, command, refusalOutcome(NOT_FOUND))
    return await finishCommand(pool, command, answer(after, decision as Exclude<T, { refused: unknown }>))
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
        (_input, found) => decideResume(found),
        () => done({}),
      ),

    /** Withdraws a pending change, once. */
    withdrawChange: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        (_input, found) => decideWithdrawal(found),
        () => done({}),
      ),

    /** Carries out a change command once. */
    changeSubscription: (asked: Asked): Promise<CommandAnswer> =>
      carryOut(
        asked,
        async (input, found) => (await decideFrom(deps, input, found)).decision,
        (after, decision) => {
          const became = becameOf(after, decision.target)
          if (became === undefined) {
            return refusalOutcome(refused(409, 'change_overtaken', 'Stripe holds another change by now'))
          }
          // what was invoiced counts towards what Stripe allows
          return done({ became, invoiced: decision.when === 'now' })
        },
      ),
  })
}

function done(result: Record<string, unknown>): CommandAnswer {
  return { state: 'done', statusCode: 200, result }
}

/** The decision of a change command, with the terms that it was made from. */
async function decideFrom(
  { pool }: Pick<ChangeDeps, 'pool'>,
  input: Record<string, string>,
  subscription: StripeSubscription | undefined,
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
  const prices = sold.filter((terms) => terms.kind === 'plan' && terms.interval === interval) as PriceTerms[]
  const target = prices.find((terms) => terms.commitmentMonths === null)
  return { target, instead: prices.length > 0 ? 'commitment' : 'nothing' }
}

type Seer = Pick<ChangeDeps, 'pool' | 'gateway' | 'changes'>

async function foresee(
  { pool, gateway }: Seer,
  { subject }: PreviewInput,
  decide: (found: StripeSubscription | undefined) => Decision,
): Promise<Foresight> {
  return foresightOf(await businessNow(pool), decide(await gateway.subscription(subject)))
}

/** What a cancel command would do. */
export const foreseeCancel = (deps: Seer, asked: PreviewInput) => foresee(deps, asked, decideStripeCancel)
/** What a resume command would do. */
export const foreseeResume = (deps: Seer, asked: PreviewInput) => foresee(deps, asked, decideResume)
/** What the withdrawal of a pending change would do. */
export const foreseeWithdrawal = (deps: Seer, asked: PreviewInput) => foresee(deps, asked, decideWithdrawal)

/** What a change would do; with the credits that its payment will bring, by the invoice that Stripe previews. */
export async function foreseeChange(deps: Seer, { subject, input }: PreviewInput): Promise<Foresight> {
  const { pool, gateway, changes } = deps
  const at = await businessNow(pool)
  const found = await gateway.subscription(subject)
  const { decision, terms } = await decideFrom(deps, input, found)
  const foresight = foresightOf(at, decision)
  if ('refused' in decision || found === undefined) return foresight
  const step = decision.steps.find((each) => each.do === 'change')
  if (step?.do !== 'change') return foresight
  const { customer, ...facts } = found
  const account = await findAccount(pool, { customer, metadata: facts.account })
  if (account === null) return foresight
  const invoice = await changes.preview(subject, step)
  const anchor = step.startsAnew ? at : facts.anchor
  const subscription: SubscriptionFacts = { ...facts, account, anchor, priceId: step.priceId }
  const { pending } = await entitlementsOf(pool, subject)
  const { owed } = await settlementsOf(pool, subject)
  const paid = { ...invoice, status: 'paid', reason: 'subscription_update', paidAt: at }
  const plan = decideSubscription({ at, subscription, invoices: [paid], terms, known: [], pending, owed })
  if (plan === undefined) return foresight
  const posted = await rehearse(pool, {
    account,
    async act(client) {
      for (const each of plan.grants) await grantAndTell(client, grantOf(account, subject, each))
      return plan.entitlements.flatMap((month) =>
        month.dueAt > at ? [{ what: 'credits_next' as const, at: month.dueAt }] : [],
      )
    },
    refusalLeaves: 'nothing',
  })
  const { stripe, dates } = foresight.effects
  return {
    ...posted,
    effects: { ...posted.effects, stripe, dates: [...dates, ...posted.effects.dates] },
  }
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
