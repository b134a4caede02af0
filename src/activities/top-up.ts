/** What a top-up's workflow does to the world: look, write an attempt, charge, and carry out what came of it. */
import { randomUUID } from 'node:crypto'
import { addMs, type Instant } from '../domain/calendar.ts'
import { idFrom, noticeKey, orderOfTopUp, workflowId } from '../domain/id.ts'
import type { PlannedNotice } from '../domain/notice.ts'
import {
  decideTopUp,
  TOP_UP_PAGE_OPEN_MS,
  type TopUpObservation,
  type TopUpPlan,
  wantsCharge,
} from '../domain/top-up.ts'
import { grant } from '../ledger/post.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { keepSession } from '../store/checkout-state.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { writeNotice } from '../store/notice.ts'
import { writePayment } from '../store/payment.ts'
import { insertPurchase, observeOrder } from '../store/purchase.ts'
import { readPackOrder } from '../store/purchase-state.ts'
import {
  endAttempt,
  insertAttempt,
  keepCharge,
  keepTopUp,
  readAttempt,
  readTopUpFacts,
} from '../store/top-up-state.ts'
import type { PaymentGateway } from '../stripe/payment.ts'
import type { PurchaseGateway } from '../stripe/purchase.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { reckonsTax } from './checkout.ts'
import { translated } from './translate.ts'

export interface TopUpDeps {
  pool: Pool
  payments: PaymentGateway
  purchases: PurchaseGateway
  reach: Reach
}

export interface TopUpSight {
  /** null: the account never asked for it */
  observation: TopUpObservation | null
  events: string[]
}

type Declined = Extract<TopUpPlan, { step: 'declined' }>
/** Steps that end in one transaction; the others ask Stripe first. */
export type TopUpOutcome = Exclude<TopUpPlan, { step: 'charge' | 'look_up' }>

export type TopUpActivities = ReturnType<typeof createTopUpActivities>

export function createTopUpActivities({ pool, payments, purchases, reach }: TopUpDeps) {
  return translated({
    async observeTopUp({ account }: { account: string }): Promise<TopUpSight> {
      const unsettled = await unsettledFor(pool, workflowId.topUp(account))
      const events = unsettled.map((event) => event.eventId)
      const read = await readTopUpFacts(pool, account)
      if (read === undefined) {
        // nothing of ours: what was told is done with
        await settle(pool, events)
        return { observation: null, events }
      }
      const { customer, returnUrl: _, ...facts } = read
      const named = unsettled.flatMap(({ objectId }) => objectId ?? [])
      const attempt = await readAttempt(pool, account, named)
      const charge =
        attempt === undefined
          ? null
          : attempt.payment === null
            ? await payments.chargeOf({ ...attempt, attempt: attempt.id })
            : await payments.chargeNamed(attempt.payment, attempt.id)
      const seen = { ...facts, attempt: attempt ?? null, charge }
      if (!wantsCharge(seen)) return { events, observation: seen }
      const method = customer === null ? null : await payments.keptMethod(customer)
      return { events, observation: { ...seen, method } }
    },

    /**
     * Writes an attempt, decided once more under the lock that orders of the account wait for, too.
     * @returns its id; null when there is nothing to charge any more
     */
    async claimTopUp({ account, method }: { account: string; method: string }): Promise<string | null> {
      return await transaction(pool, async (client) => {
        const before = await readTopUpFacts(client, account)
        if (before === undefined) return null
        const order = await observeOrder(client, account, before.settings)
        // read after the lock
        const facts = await readTopUpFacts(client, account)
        if (facts === undefined) return null
        const attempt = (await readAttempt(client, account)) ?? null
        const plan = decideTopUp({ ...facts, order, attempt, charge: null, method })
        if (plan.step !== 'charge') return null
        const id = idFrom('top', randomUUID())
        const { generation } = facts.settings
        return (await insertAttempt(client, { ...plan, id, account, generation })) ? id : null
      })
    },

    /** Asks Stripe for the charge of the attempt in flight, which it makes once, and notes what it answers. */
    async chargeTopUp({ account }: { account: string }): Promise<void> {
      const attempt = await readAttempt(pool, account)
      if (attempt === undefined) return
      const charge = await payments.charge({ ...attempt, attempt: attempt.id })
      if ('refused' in charge) {
        await keepCharge(pool, attempt.id, { payment: null, code: charge.refused, processing: false })
        return
      }
      const { id: payment, code, status } = charge
      await keepCharge(pool, attempt.id, { payment, code, processing: status === 'processing' })
    },

    /** Opens a page on which the customer buys the pack himself, once for an attempt that his bank wanted him for. */
    async openTopUpPage({ account, attempt }: { account: string; attempt: string }): Promise<string | null> {
      const facts = await readTopUpFacts(pool, account)
      const { terms } = facts?.order ?? {}
      if (facts === undefined || terms === undefined || facts.customer === null) return null
      const { returnUrl: successUrl, returnUrl: cancelUrl, customer } = facts
      const order = orderOfTopUp(attempt)
      const asked = { quantity: 1, successUrl, cancelUrl, savesMethod: true }
      const sold = { terms, amountMinor: terms.unitAmount, credits: terms.credits }
      await transaction(pool, (client) =>
        insertPurchase(client, { ...asked, id: order, accountId: account, metadata: {}, order: sold }),
      )
      // as it was written first, so that a retry under the same key says the same
      const written = (await readPackOrder(pool, order))?.order
      if (written === undefined) throw new Error(`there is no order ${order}`)
      const price = written.terms.priceId
      const expiresAt = addMs(written.createdAt, TOP_UP_PAGE_OPEN_MS)
      const automaticTax = await reckonsTax(pool)
      const page = await purchases.openPage({
        ...asked,
        order,
        account,
        customer,
        price,
        automaticTax,
        expiresAt,
      })
      await keepSession(pool, order, { ...page, price })
      await wakeOwner(reach, workflowId.checkout(order), { reason: 'top_up' })
      return page.url
    },

    /** Carries out what came of it in one transaction: wallet first. */
    async applyTopUp(input: {
      seen: TopUpObservation
      plan: TopUpOutcome
      /** where the customer pays himself */
      payUrl: string | null
      events: string[]
    }): Promise<void> {
      const { seen, plan, payUrl, events } = input
      const { account } = seen
      await transaction(pool, async (client) => {
        await lockWallet(client, account)
        const deadline = await carryOut(client, seen, plan, payUrl)
        await keepTopUp(client, account, seen.settings.generation, { deadline, ...countsOf(plan) })
        await settle(client, events)
        await resolveAlert(client, 'needs_attention', workflowId.topUp(account))
      })
    },
  })
}

function countsOf(plan: TopUpOutcome) {
  if (plan.step === 'settle') return { declines: 0, nextAttemptAt: null }
  if (plan.step === 'stop') return { stopped: plan.reason }
  if (plan.step !== 'declined' || !plan.counts) return {}
  const { declines, nextAttemptAt, stops } = plan
  return { declines, nextAttemptAt, ...(stops ? { stopped: 'declines' as const } : {}) }
}

/** @returns when to look again; null: when somebody wakes it */
async function carryOut(
  client: Client,
  seen: TopUpObservation,
  plan: TopUpOutcome,
  payUrl: string | null,
): Promise<Instant | null> {
  const { account, attempt, at, settings } = seen
  const cause = { account, ...(attempt === null ? {} : { attempt: attempt.id }) }
  const stopKey = `${account}:${settings.generation}`
  if (plan.step === 'rest') return plan.deadline
  if (plan.step === 'cap') {
    await tellStop(client, seen, 'monthly_cap', `${stopKey}:${plan.deadline}`)
    return plan.deadline
  }
  if (plan.step === 'stop') {
    await tellStop(client, seen, plan.reason, stopKey)
    return null
  }
  if (attempt === null) return at
  if (plan.step === 'give_up') {
    await endAttempt(client, attempt.id, { state: 'failed', code: 'not_charged' })
    await audit(client, seen, 'failed', {})
    return at
  }
  if (plan.step === 'declined') {
    const { code, payment, nextAttemptAt, stops } = plan
    const ended = await endAttempt(client, attempt.id, { state: 'declined', payment, code })
    if (!ended) return at
    await audit(client, seen, 'declined', { code })
    await writeNotice(client, declinedNotice(seen, plan, payUrl))
    if (stops) await tellStop(client, seen, 'declines', stopKey)
    return nextAttemptAt
  }
  const { payment, amountMinor, currency, paidAt, credits, key } = plan
  const ended = await endAttempt(client, attempt.id, { state: 'succeeded', payment, granted: credits })
  if (!ended) return at
  await writePayment(client, { id: payment, account, topUp: attempt.id, amountMinor, currency, paidAt })
  const granted = await grant(client, {
    account,
    key,
    kind: 'pack',
    amount: credits,
    payment,
    actor: 'system',
    reasonCode: 'top_up',
    source: { top_up: attempt.id, payment, price: attempt.terms.lookupKey },
  })
  await audit(client, seen, 'succeeded', { payment, credits })
  await writeNotice(client, {
    account,
    kind: 'top_up_completed',
    key: noticeKey.topUp(payment, 'completed'),
    cause: { ...cause, payment },
    data: {
      payment,
      amountMinor,
      currency,
      posting: granted.posting,
      credits,
      balance: granted.balanceAfter,
    },
  })
  return at
}

function declinedNotice(
  { account, attempt }: TopUpObservation,
  { payment, authentication, nextAttemptAt }: Declined,
  payUrl: string | null,
): PlannedNotice {
  const id = attempt?.id ?? account
  const { unitAmount: amountMinor = '0', currency = '' } = attempt?.terms ?? {}
  const about = payment ?? id
  const cause = { account, attempt: id }
  if (authentication) {
    return {
      account,
      kind: 'payment_action_required',
      key: noticeKey.actionRequired(about),
      cause,
      data: { amountMinor, currency, payment: about, subscription: null, payUrl },
    }
  }
  return {
    account,
    kind: 'top_up_declined',
    key: noticeKey.topUp(about, 'declined'),
    cause,
    data: { amountMinor, currency, payment: about, nextAttemptAt, updateUrl: null },
  }
}

async function tellStop(
  client: Client,
  { account }: TopUpObservation,
  reason: 'declines' | 'monthly_cap' | 'no_payment_method' | 'pack_not_on_sale',
  key: string,
): Promise<void> {
  await writeNotice(client, {
    account,
    kind: 'top_up_stopped',
    key: noticeKey.topUpStopped(key),
    cause: { account },
    data: { reason, updateUrl: null },
  })
}

async function audit(
  client: Client,
  { account, attempt }: TopUpObservation,
  reasonCode: string,
  detail: Record<string, string>,
): Promise<void> {
  const subject = attempt?.id ?? account
  await recordAudit(client, { account, actor: 'system', action: 'top_up', subject, reasonCode, detail })
}
