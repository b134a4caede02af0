/**
 * What is done when an approval was given, by kind. Each checks again what it rests on and throws a Refusal when that
 * does not hold any more: then nothing is done, and the approval says why.
 */
import type { ApprovalKind } from '../domain/approval.ts'
import type { Instant } from '../domain/calendar.ts'
import { decideStripeCancel } from '../domain/cancel.ts'
import type { Effects } from '../domain/effect.ts'
import { Refusal } from '../domain/error.ts'
import { noticeKey, stripeKey, workflowId } from '../domain/id.ts'
import { hasEnded } from '../domain/status.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { adjust } from '../ledger/adjustment.ts'
import { resolveAlert } from '../store/alert.ts'
import { type Approval, approvalMetadata } from '../store/approval.ts'
import type { Client, Pool, Queryable } from '../store/connect.ts'
import { keepDuplicate, primaryBeside } from '../store/duplicate.ts'
import { writeNotice } from '../store/notice.ts'
import { grantStands } from '../store/payment.ts'
import { wasAsked } from '../store/stripe-call.ts'
import type { ChangeGateway } from '../stripe/change.ts'
import type { Gateway } from '../stripe/gateway.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'

/** What seeing takes, without doing anything. */
export interface SeeingDeps {
  pool: Pool
  gateway: Gateway
  changes: ChangeGateway
}

export interface CarryOutDeps extends SeeingDeps {
  reach: Reach
}

type Approved<Kind extends ApprovalKind> = Extract<Approval, { kind: Kind }>

/** What a subscription in Stripe is asked for, and what it does. */
export interface InStripe {
  subscription: string
  steps: SubscriptionStep[]
  effects: Effects
  ask: () => Promise<void>
}

/** How one kind is carried out. Any part may be repeated after a crash: only `apply` is known to happen once. */
interface Carrier<Kind extends ApprovalKind> {
  /** what Stripe is to be asked for, and does then; under keys of the approval, because it may be asked again */
  inStripe?(deps: SeeingDeps, approval: Approved<Kind>): Promise<InStripe>
  /** what Postgres does, with the wallet and the approval locked, in the transaction that marks it as executed */
  apply(client: Client, approval: Approved<Kind>, at: Instant): Promise<Record<string, unknown>>
  /** withdraws from Stripe what was asked for there, of an approval that could not be carried out in the end */
  takeBack?(deps: SeeingDeps, approval: Approved<Kind>): Promise<void>
  /** a hint to whoever looks at the same thing, after the commit */
  wakes?(approval: Approved<Kind>): string[]
}

const CARRIERS: { [Kind in ApprovalKind]: Carrier<Kind> } = {
  adjustment: {
    async apply(client, { id, account, plan, planHash, decidedBy, reasonCode }, at) {
      if (plan.expiresAt !== null && plan.expiresAt <= at) {
        throw new Refusal('expiry_past', `its credits would have lapsed at ${plan.expiresAt}`)
      }
      const made = await adjust(client, {
        account,
        approval: id,
        plan,
        planHash,
        actor: decidedBy ?? '',
        reasonCode,
        metadata: (await approvalMetadata(client, [id])).get(id),
      })
      await writeNotice(client, {
        account,
        kind: 'adjustment_made',
        key: noticeKey.adjusted(made.posting),
        cause: { approval: id },
        data: { ...made, reasonCode },
      })
      return { ...made }
    },
  },

  /** It says that the grant stays. The order's matter is closed. */
  late_payment: {
    async apply(client, { account, plan }) {
      if (!(await grantStands(client, account, plan))) {
        throw new Refusal('approval_stale', `${plan.posting} is not the grant of ${plan.payment}`)
      }
      await resolveAlert(client, 'needs_attention', workflowId.checkout(plan.order))
      return { posting: plan.posting }
    },
  },

  /** It stays until the period that runs has ended, with all that it granted. */
  duplicate_subscription: {
    async inStripe({ pool, gateway, changes }, { id, plan: { subscription } }) {
      const beside = await requirePrimary(pool, subscription)
      // what it is a duplicate of may have ended in Stripe, and nobody has told of it yet
      const primary = await gateway.subscription(beside)
      if (primary === undefined || hasEnded(primary.status)) throw alone(subscription, { beside })
      const decision = decideStripeCancel(await gateway.subscription(subscription))
      if ('refused' in decision) {
        const { code, detail, data } = decision.refused
        throw new Refusal(code, detail, data)
      }
      return {
        subscription,
        steps: decision.steps,
        effects: decision.effects,
        async ask() {
          for (const step of decision.steps) await changes.take(subscription, step, id)
        },
      }
    },
    async apply(client, { id, plan: { subscription } }) {
      await requirePrimary(client, subscription)
      await keepDuplicate(client, subscription, id)
      await resolveAlert(client, 'needs_attention', subscription)
      return { subscription }
    },
    async takeBack({ pool, gateway, changes }, { id, plan: { subscription } }) {
      if (!(await wasAsked(pool, [stripeKey.step('cancel', id)]))) return
      const found = await gateway.subscription(subscription)
      if (found?.cancelAtPeriodEnd !== true || hasEnded(found.status)) return
      await changes.take(subscription, { do: 'go_on', by: 'cancel_at_period_end' }, id)
    },
    wakes({ plan: { subscription }, result }) {
      const beside = result?.['beside']
      return [subscription, ...(typeof beside === 'string' ? [beside] : [])].map(workflowId.subscription)
    },
  },
}

/** @throws Refusal when it is no duplicate any more: it is the account's only one, and nobody wanted that to end */
async function requirePrimary(database: Queryable, subscription: string): Promise<string> {
  const beside = await primaryBeside(database, subscription)
  if (beside === undefined) throw alone(subscription)
  return beside
}

function alone(subscription: string, data: Record<string, string> = {}): Refusal {
  return new Refusal('approval_stale', `no other subscription is live beside ${subscription}`, data)
}

/** The carrier of an approval's kind, for that approval. */
export function carrierOf(approval: Approval): Carrier<ApprovalKind> {
  return CARRIERS[approval.kind] as Carrier<ApprovalKind>
}

/** Tells whoever looks at the same thing of what was carried out, or could not be. */
export async function wakeOthers({ reach }: CarryOutDeps, approval: Approval): Promise<void> {
  const owners = carrierOf(approval).wakes?.(approval) ?? []
  for (const owner of owners) await wakeOwner(reach, owner, { reason: 'approval' })
}
