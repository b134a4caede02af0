/** What a subscription's workflow does to the world: observe it, apply a plan to it, tell a person. */
import { cancelCall, cancellationAnswer, decideCancel, endOf } from '../domain/cancel.ts'
import { type Foresight, foresightOf, refusalOutcome } from '../domain/effect.ts'
import type { Instant } from '../domain/calendar.ts'
import { isPaidFor } from '../domain/subscription.ts'
import type { InvoiceFacts, Observation, SubscriptionPlan } from '../domain/subscription-facts.ts'
import { grant } from '../ledger/post.ts'
import { knownKeys, lockWallet } from '../ledger/lookup.ts'
import { findAccount } from '../store/account.ts'
import { raiseAlert, resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { termsOf } from '../store/catalog-price.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Pool, transaction } from '../store/connect.ts'
import { cutEntitlements, entitlementsOf, markGranted, writeEntitlements } from '../store/entitlement.ts'
import { makeFreeDue } from '../store/free.ts'
import { countFailedPass, park, settle, unsettledFor } from '../store/inbox.ts'
import { keepMirror } from '../store/mirror.ts'
import { writePayment } from '../store/payment.ts'
import { forgetStray, noteStray, type Stray } from '../store/stray.ts'
import { settlementsOf, writeSettlements } from '../store/settlement.ts'
import { businessNow } from '../clock.ts'
import type { Gateway, StripeSubscription } from '../stripe/gateway.ts'
import { postingKey } from '../domain/id.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { refusalOf, translated } from './translate.ts'

/** How many passes over an event may fail before it is set aside. Each tried for minutes, and the waits between grow. */
const ATTEMPTS_MAX = 10

export interface SubscriptionDeps {
  pool: Pool
  gateway: Gateway
  reach: Reach
}

export interface SubscriptionSight {
  at: Instant
  /** null: Stripe has no such subscription */
  observation: Observation | null
  /** what Stripe has, and no account of ours */
  stray?: Stray
  /** events that were there before the observation, so that it has seen what they told */
  events: string[]
}

export type SubscriptionActivities = ReturnType<typeof createSubscriptionActivities>

export function createSubscriptionActivities({ pool, gateway, reach }: SubscriptionDeps) {
  return translated({
    async observeSubscription({ subscription: id }: { subscription: string }): Promise<SubscriptionSight> {
      const events = (await unsettledFor(pool, id)).map((event) => event.eventId)
      const at = await businessNow(pool)
      const found = await gateway.subscription(id)
      if (found === undefined) return { at, observation: null, events }
      const { customer, ...facts } = found
      const account = await findAccount(pool, { customer, metadata: facts.account })
      const subscription = { ...facts, account }
      if (account === null) {
        return {
          at,
          events,
          stray: { id, kind: 'subscription', named: facts.account ?? facts.order },
          observation: { at, subscription, invoices: [], terms: {}, known: [], pending: [] },
        }
      }
      const invoices = await gateway.invoices(id)
      const { written, pending } = await entitlementsOf(pool, id)
      const { settled, owed } = await settlementsOf(pool, id)
      const posted = await knownKeys(
        pool,
        account,
        invoices.flatMap((invoice) => invoice.lines.map((line) => postingKey.invoiceLine(line.id))),
      )
      const known = [...posted, ...written, ...settled]
      const open = unsettledInvoices(invoices, new Set(known))
      const prices = new Set(open.flatMap((invoice) => invoice.lines.flatMap((line) => line.priceId ?? [])))
      if (subscription.priceId !== null) prices.add(subscription.priceId)
      const terms = await termsOf(pool, [...prices])
      return { at, events, observation: { at, subscription, invoices: open, terms, known, pending, owed } }
    },

    /** Carries out a plan in one transaction: wallet first, then everything that must be true together. */
    async applySubscription(input: { plan: SubscriptionPlan; events: string[] }): Promise<{ role: string }> {
      // a workflow that began under an earlier version says nothing of settlements
      const { payments, entitlements, grants, settlements = [], cuts = [], mirror } = input.plan as KeptPlan
      const { role, due } = await transaction(pool, async (client) => {
        await lockWallet(client, mirror.account)
        for (const payment of payments) {
          await writePayment(client, { ...payment, account: mirror.account, subscription: mirror.id })
        }
        await writeEntitlements(client, mirror.account, mirror.id, entitlements)
        await cutEntitlements(client, cuts)
        await writeSettlements(client, mirror.account, mirror.id, settlements)
        for (const step of grants) {
          const { occurredAt } = await grant(client, {
            account: mirror.account,
            key: step.key,
            kind: 'plan',
            amount: step.amount,
            expiresAt: step.expiresAt ?? undefined,
            recurring: { subscription: mirror.id, periodStart: step.periodStart, carry: step.carry },
            payment: step.payment,
            actor: 'system',
            reasonCode: step.reason,
            source: step.source,
          })
          await markGranted(client, step.key, occurredAt)
        }
        const { role, changed } = await keepMirror(client, mirror)
        if (changed !== undefined) {
          await recordAudit(client, {
            account: mirror.account,
            actor: 'system',
            action: 'subscription',
            subject: mirror.id,
            reasonCode: 'observed',
            detail: changed,
          })
        }
        await settle(client, input.events)
        await forgetStray(client, mirror.id)
        // whichever run raised it: what was wrong is right again
        if (mirror.attention === null) await resolveAlert(client, 'needs_attention', mirror.id)
        const due = isPaidFor(mirror.status)
          ? []
          : await makeFreeDue(client, mirror.account, mirror.group, mirror.created)
        return { role, due }
      })
      // Free plans are there again. After the commit, and whoever repeats this wakes them once more.
      for (const owner of due) await wakeOwner(reach, owner, { reason: 'paid_ended' })
      return { role }
    },

    /** What it told of is none of ours: written down, and done with. */
    async settleEvents({ events, stray }: { events: string[]; stray?: Stray | undefined }): Promise<void> {
      await transaction(pool, async (client) => {
        if (stray !== undefined) await noteStray(client, stray)
        await settle(client, events)
      })
    },

    /** Carries out a cancel command once: its row keeps the answer. */
    async cancelSubscription(input: { subscription: string; command: string }): Promise<CommandAnswer> {
      const given = (await readCommand(pool, input.command))?.answer
      if (given !== undefined) return given
      const decision = decideCancel(
        await gateway.subscription(input.subscription),
        cancelCall(input.subscription),
      )
      if ('refused' in decision) return await finishCommand(pool, input.command, refusalOutcome(decision))
      if (decision.already) {
        return await finishCommand(pool, input.command, cancellationAnswer(decision.cancelAt))
      }
      let after: StripeSubscription
      try {
        after = await gateway.cancelAtPeriodEnd(input.subscription, input.command)
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === undefined) throw error
        return await finishCommand(pool, input.command, {
          state: 'refused',
          statusCode: 502,
          result: refusal,
        })
      }
      return await finishCommand(pool, input.command, cancellationAnswer(endOf(after)))
    },

    /** Shows a person what stopped, and parks the events that cannot be worked off. */
    async raiseAttention(input: { owner: string; reason: string; final: boolean }): Promise<void> {
      await raiseAlert(pool, 'needs_attention', input.owner, input.reason)
      if (!input.final) {
        await countFailedPass(pool, input.owner, input.reason, ATTEMPTS_MAX)
        return
      }
      const events = await unsettledFor(pool, input.owner)
      await park(
        pool,
        events.map((event) => event.eventId),
        input.reason,
      )
    },
  })
}

/** A plan as it may come from a workflow that was made with an earlier version of this program. */
type KeptPlan = Omit<SubscriptionPlan, 'settlements' | 'cuts'> & Partial<SubscriptionPlan>

/** Invoices that still decide something: not settled, or paid with a line of which nothing is known. */
function unsettledInvoices(invoices: InvoiceFacts[], known: Set<string>): InvoiceFacts[] {
  const settled = (invoice: string) => {
    const prefix = postingKey.proration(invoice, '')
    return [...known].some((key) => key.startsWith(prefix))
  }
  return invoices.filter((invoice) => {
    if (invoice.status !== 'paid') return invoice.status === 'draft' || invoice.status === 'open'
    return invoice.lines.some((line) =>
      line.proration
        ? !settled(invoice.id)
        : !known.has(postingKey.invoiceLine(line.id)) && !known.has(postingKey.entitlement(line.id, 11)),
    )
  })
}

/** What a cancel command would do. */
export async function foreseeCancel(
  { pool, gateway }: Pick<SubscriptionDeps, 'pool' | 'gateway'>,
  { subject }: PreviewInput,
): Promise<Foresight> {
  const at = await businessNow(pool)
  return foresightOf(at, decideCancel(await gateway.subscription(subject), cancelCall(subject)))
}
