/** What a subscription's workflow does to the world: observe it, apply a plan to it, tell a person. */
import type { Instant } from '../domain/calendar.ts'
import { hasEnded, isPaidFor } from '../domain/status.ts'
import { failureKeys } from '../domain/dunning.ts'
import { LOOK_DAYS } from '../domain/subscription.ts'
import type { InvoiceFacts, Mirror, Observation, SubscriptionPlan } from '../domain/subscription-facts.ts'
import { knownKeys, lastLapse, lockWallet } from '../ledger/lookup.ts'
import { findAccount } from '../store/account.ts'
import { raiseAlert, resolveAlert } from '../store/alert.ts'
import { requestApproval } from '../store/approval.ts'
import { recordAudit } from '../store/audit.ts'
import { termsOf } from '../store/catalog-price.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { makeDuplicatesDue } from '../store/duplicate.ts'
import { cutEntitlements, entitlementsOf, markGranted, writeEntitlements } from '../store/entitlement.ts'
import { makeFreeDue } from '../store/free.ts'
import { countFailedPass, park, settle, unsettledFor } from '../store/inbox.ts'
import { keepMirror, mirrorBefore } from '../store/mirror.ts'
import { toldKeys, writeNotice } from '../store/notice.ts'
import { writePayment } from '../store/payment.ts'
import { forgetStray, noteStray, type Stray } from '../store/stray.ts'
import { catalogInForce } from '../store/price-list.ts'
import { settlementsOf, writeSettlements } from '../store/settlement.ts'
import { businessNow } from '../clock.ts'
import type { ChangeGateway } from '../stripe/change.ts'
import type { CollectionGateway } from '../stripe/collection.ts'
import type { Gateway } from '../stripe/gateway.ts'
import { SYSTEM } from '../domain/approval.ts'
import { Stale } from '../domain/error.ts'
import { approvalKey, postingKey, workflowId } from '../domain/id.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { grantOf } from './change.ts'
import { grantAndTell } from './granted.ts'
import { translated } from './translate.ts'

/** How many passes over an event may fail before it is set aside. Each tried for minutes, and the waits between grow. */
const ATTEMPTS_MAX = 10

export interface SubscriptionDeps {
  pool: Pool
  gateway: Gateway
  collection: CollectionGateway
  changes: ChangeGateway
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

interface PlanInput {
  plan: SubscriptionPlan
  events: string[]
}

interface Applied {
  role: string
  settled: boolean
}

export type SubscriptionActivities = ReturnType<typeof createSubscriptionActivities>

export function createSubscriptionActivities({
  pool,
  gateway,
  collection,
  changes,
  reach,
}: SubscriptionDeps) {
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
      const { settled, owed } = await settlementsOf(pool, account, id)
      const posted = await knownKeys(
        pool,
        account,
        invoices.flatMap((invoice) => invoice.lines.map((line) => postingKey.invoiceLine(line.id))),
      )
      const known = [...posted, ...written, ...settled]
      const waiting = await withActions(collection, unsettledInvoices(invoices, new Set(known)))
      const open = await withTold(pool, account, waiting)
      const isOwed = open.some(({ status }) => status === 'open')
      const prices = new Set(open.flatMap((invoice) => invoice.lines.flatMap((line) => line.priceId ?? [])))
      if (subscription.priceId !== null) prices.add(subscription.priceId)
      const before = await mirrorBefore(pool, id)
      if (before?.priceId != null) prices.add(before.priceId)
      for (const each of [subscription.pending, before?.pending]) if (each != null) prices.add(each.priceId)
      const terms = await termsOf(pool, [...prices])
      const reminderDays = (await catalogInForce(pool))?.dunning.reminderDays ?? []
      const observation = {
        at,
        subscription,
        invoices: open,
        terms,
        known,
        pending,
        owed,
        reminderDays,
        before,
        creditsUntil: isOwed ? await lastLapse(pool, account, id) : null,
        lookDays: LOOK_DAYS,
      }
      return { at, events, observation }
    },

    /**
     * Carries out a plan in one transaction: wallet first, then everything that must be true together. Nothing of it when
     * it is stale: then look again.
     */
    async applySubscription({ plan, events }: PlanInput): Promise<Applied | { stale: true }> {
      const applied = await transaction(pool, (client) => applyPlan(client, plan, events)).catch(
        (error: unknown) => {
          if (error instanceof Stale) return undefined
          throw error
        },
      )
      if (applied === undefined) return { stale: true }
      const { role, settled, owners } = applied
      // After the commit, and whoever repeats this wakes them once more; an approval is found by the adopt duty, too.
      for (const owner of owners) await wakeOwner(reach, owner, { reason: 'subscription' })
      // while it is there, Stripe's own page lets its customer change nothing
      if (plan.letGo != null) await changes.letGo(plan.letGo)
      return { role, settled }
    },

    /** What it told of is none of ours: written down, and done with. */
    async settleEvents({ events, stray }: { events: string[]; stray?: Stray | undefined }): Promise<void> {
      await transaction(pool, async (client) => {
        if (stray !== undefined) await noteStray(client, stray)
        await settle(client, events)
      })
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

/**
 * Carries out a plan inside the caller's transaction.
 * @returns the role it has, whether that is settled, and the workflows that have something to do now: wake them
 * @throws Stale when another subscription of the account has changed what is owed since this one looked
 */
export async function applyPlan(
  client: Client,
  plan: SubscriptionPlan,
  events: string[],
): Promise<{ role: string; settled: boolean; owners: string[] }> {
  // a workflow that began under an earlier version says nothing of settlements
  const { payments, entitlements, grants, mirror, ...more } = plan as KeptPlan
  const { settlements = [], cuts = [], notices = [] } = more
  await lockWallet(client, mirror.account)
  await requireOwed(client, plan)
  for (const payment of payments) {
    await writePayment(client, { ...payment, account: mirror.account, subscription: mirror.id })
  }
  await writeEntitlements(client, mirror.account, mirror.id, entitlements)
  await cutEntitlements(client, cuts)
  await writeSettlements(client, mirror.account, mirror.id, settlements)
  for (const step of grants) {
    const { occurredAt } = await grantAndTell(client, grantOf(mirror.account, mirror.id, step))
    await markGranted(client, step.key, occurredAt)
  }
  const { role, beside, unsettled, orphans, changed } = await keepMirror(client, mirror)
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
  for (const notice of notices) await writeNotice(client, notice)
  await settle(client, events)
  await forgetStray(client, mirror.id)
  // whichever run raised it: what was wrong is right again
  if (mirror.attention === null && !unsettled) await resolveAlert(client, 'needs_attention', mirror.id)
  // free plans are there again
  const owners = isPaidFor(mirror.status)
    ? []
    : await makeFreeDue(client, mirror.account, mirror.group, mirror.created)
  if (unsettled && beside !== null && !hasEnded(mirror.status))
    owners.push(...(await askAboutDuplicate(client, mirror, beside)))
  await makeDuplicatesDue(client, orphans)
  owners.push(...orphans)
  return { role, settled: !unsettled, owners }
}

/** What is paid makes good what is owed, which every subscription of the account may change until its wallet is locked. */
async function requireOwed(client: Client, { payments, owed, mirror }: SubscriptionPlan): Promise<void> {
  if (owed === undefined || payments.length === 0) return
  const now = (await settlementsOf(client, mirror.account, mirror.id)).owed
  if (now !== owed) throw new Stale(`${mirror.account} owed ${owed}, and owes ${now}`)
}

/**
 * Asks a person about a second live subscription, once; and once more when it goes on although it was to end.
 * @returns the new workflow that waits for the answer
 */
async function askAboutDuplicate(
  client: Client,
  { id, account, plan, group }: Mirror,
  primary: string,
): Promise<string[]> {
  let undone: string | undefined
  for (;;) {
    const asked = await requestApproval(client, {
      kind: 'duplicate_subscription',
      account,
      plan: { subscription: id, plan, planGroup: group },
      key: approvalKey.duplicateSubscription(id, primary, undone),
      requestedBy: SYSTEM,
      reasonCode: 'duplicate_subscription',
    })
    if (asked.state !== 'executed') return asked.isNew ? [workflowId.approval(asked.id)] : []
    undone = asked.id
  }
}

/** A plan as it may come from a workflow that was made with an earlier version of this program. */
type KeptPlan = Omit<SubscriptionPlan, 'settlements' | 'cuts' | 'notices'> & Partial<SubscriptionPlan>

/** Open invoices that Stripe tried to collect, with whether they wait for their customer. */
async function withActions(collection: CollectionGateway, invoices: InvoiceFacts[]): Promise<InvoiceFacts[]> {
  return await Promise.all(
    invoices.map(async (invoice) => {
      const { status, attempts = 0, intent } = invoice
      if (status !== 'open' || attempts === 0 || intent == null) return invoice
      return { ...invoice, actionRequired: await collection.waitsForCustomer(intent) }
    }),
  )
}

/** Paid invoices with whether their customer was told before that they could not be collected. */
async function withTold(pool: Pool, account: string, invoices: InvoiceFacts[]): Promise<InvoiceFacts[]> {
  const paid = invoices.filter(({ status }) => status === 'paid')
  const told = new Set(await toldKeys(pool, account, paid.flatMap(failureKeys)))
  return invoices.map((invoice) =>
    failureKeys(invoice).some((key) => told.has(key)) ? { ...invoice, failureTold: true } : invoice,
  )
}

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
