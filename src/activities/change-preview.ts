/** What the commands to a subscription in Stripe would do, up to the end of the pass that follows them. Writes nothing. */
import type { Instant } from '../domain/calendar.ts'
import { decideStripeCancel } from '../domain/cancel.ts'
import { decideWithdrawal } from '../domain/change.ts'
import { type Foresight, foresightOf } from '../domain/effect.ts'
import type { PriceTerms } from '../domain/plan.ts'
import { decideResume } from '../domain/resume.ts'
import { afterSteps } from '../domain/subscription-after.ts'
import { decideSubscription } from '../domain/subscription.ts'
import type {
  InvoiceFacts,
  Observation,
  SubscriptionFacts,
  SubscriptionPlan,
} from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { rehearse } from '../ledger/rehearsal.ts'
import type { Pool } from '../store/connect.ts'
import { roleOf } from '../store/mirror.ts'
import type { BilledStep, ChangeGateway } from '../stripe/change.ts'
import type { PreviewInput } from '../workflows/message.ts'
import { decideFrom, type Stepped } from './change.ts'
import { applyPlan, type SubscriptionSight } from './subscription.ts'

/** What a preview of these commands needs: `look` is how a pass of the subscription's workflow observes. */
export interface Seer {
  pool: Pool
  changes: ChangeGateway
  look: (asked: { subscription: string }) => Promise<Pick<SubscriptionSight, 'at' | 'observation'>>
}

/**
 * What a command does and what the pass after it does then: what Stripe holds is thought on by the steps, and the rest
 * is that pass, in a transaction that is rolled back. A payment that is asked for is taken to succeed.
 */
async function foresee(
  { pool, changes, look }: Seer,
  id: string,
  decide: (found: SubscriptionFacts | undefined) => Promise<Decided> | Decided,
): Promise<Foresight> {
  const { at, observation } = await look({ subscription: id })
  const { decision, terms = {} } = await decide(observation?.subscription)
  const foresight = foresightOf(at, decision)
  if ('refused' in decision || observation === null || decision.steps.length === 0) return foresight
  const plan = await planAfter(changes, { at, observation }, decision.steps, terms)
  if (plan === undefined) return foresight
  const passed = await rehearse(pool, {
    account: plan.mirror.account,
    async act(client) {
      await applyPlan(client, plan, [])
      return plan.entitlements.flatMap((month) =>
        month.dueAt > at ? [{ what: 'credits_next' as const, at: month.dueAt }] : [],
      )
    },
    refusalLeaves: 'nothing',
  })
  const { stripe, dates } = foresight.effects
  return {
    ...passed,
    at,
    effects: { ...passed.effects, stripe, dates: [...dates, ...passed.effects.dates] },
  }
}

/** What the pass of a subscription's workflow does that looks after these steps; undefined: nothing. */
export async function passAfter(
  { changes, look }: Pick<Seer, 'changes' | 'look'>,
  id: string,
  steps: SubscriptionStep[],
): Promise<SubscriptionPlan | undefined> {
  const { at, observation } = await look({ subscription: id })
  return observation === null ? undefined : await planAfter(changes, { at, observation }, steps, {})
}

async function planAfter(
  changes: ChangeGateway,
  { at, observation }: { at: Instant; observation: Observation },
  steps: SubscriptionStep[],
  terms: Record<string, PriceTerms>,
): Promise<SubscriptionPlan | undefined> {
  const { subscription } = observation
  const billed = steps.filter((step) => step.do === 'change' || step.do === 'resume')
  const paid = await Promise.all(billed.map((step) => paidInvoice(changes, subscription.id, step, at)))
  return decideSubscription({
    ...observation,
    subscription: afterSteps(subscription, steps, at),
    invoices: [...observation.invoices, ...paid],
    terms: { ...observation.terms, ...terms },
  })
}

interface Decided {
  decision: Stepped
  /** beside those of the observation */
  terms?: Record<string, PriceTerms>
}

/** The invoice of a step, as Stripe previews it, once it is paid. */
async function paidInvoice(
  changes: ChangeGateway,
  subscription: string,
  step: BilledStep,
  at: Instant,
): Promise<InvoiceFacts> {
  const invoice = await changes.preview(subscription, step)
  return { ...invoice, status: 'paid', reason: 'subscription_update', paidAt: at }
}

/** What a cancel command would do. */
export const foreseeCancel = (deps: Seer, { subject }: PreviewInput) =>
  foresee(deps, subject, (found) => ({ decision: decideStripeCancel(found) }))
/** What a resume command would do. */
export const foreseeResume = (deps: Seer, { subject }: PreviewInput) =>
  foresee(deps, subject, async (found) => ({
    decision: decideResume(found, await roleOf(deps.pool, subject)),
  }))
/** What the withdrawal of a pending change would do. */
export const foreseeWithdrawal = (deps: Seer, { subject }: PreviewInput) =>
  foresee(deps, subject, (found) => ({ decision: decideWithdrawal(found) }))
/** What a change would do, with the credits that its payment will bring. */
export const foreseeChange = (deps: Seer, { subject, input }: PreviewInput) =>
  foresee(deps, subject, (found) => decideFrom(deps, input, found))
