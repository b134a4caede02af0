/** What a top-up's workflow does to the world: look, write an attempt, charge, and carry out what came of it. */
import { randomUUID } from 'node:crypto'
import { addMs } from '../domain/calendar.ts'
import { idFrom, orderOfTopUp, workflowId } from '../domain/id.ts'
import {
  type ChargeFacts,
  decideTopUp,
  TOP_UP_PAGE_OPEN_MS,
  type TopUpObservation,
  wantsCharge,
} from '../domain/top-up.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { resolveAlert } from '../store/alert.ts'
import { keepSession } from '../store/checkout-state.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { insertPurchase, observeOrder } from '../store/purchase.ts'
import { readPackOrder } from '../store/purchase-state.ts'
import {
  type AttemptRow,
  insertAttempt,
  keepCharge,
  keepTopUp,
  readAttempt,
  readTopUpFacts,
  unknownPayments,
} from '../store/top-up-state.ts'
import type { PaymentGateway } from '../stripe/payment.ts'
import type { PurchaseGateway } from '../stripe/purchase.ts'
import { type Reach, wakeOwner } from '../workflows/owner.ts'
import { reckonsTax } from './checkout.ts'
import { carryOut, countsOf, type TopUpOutcome } from './top-up-outcome.ts'
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
      const told = unsettled.flatMap(({ objectId }) => objectId ?? [])
      const { attempt, charge, late } = await look({ pool, payments }, account, told)
      if (late) {
        // first, and alone: whatever else was told waits for the next look
        const its = unsettled.filter(({ objectId }) => objectId === charge?.id)
        return { events: its.map((event) => event.eventId), observation: { ...facts, attempt, charge } }
      }
      const seen = { ...facts, attempt, charge }
      if (!wantsCharge(seen)) return { events, observation: seen }
      const method = customer === null ? null : await payments.keptMethod(customer)
      return { events, observation: { ...seen, method } }
    },

    /**
     * Writes an attempt, decided once more under the lock that orders of the account wait for, too.
     * @returns its id; null when there is nothing to charge any more
     */
    async claimTopUp({ account, method }: { account: string; method: string }): Promise<string | null> {
      return await transaction(pool, async (client) => (await claim(client, account, method))?.id ?? null)
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

/**
 * The attempt in flight, and what Stripe says of it; before it, one that was over and that a payment which was told of
 * has paid all the same (`late`): its payment names it, and it may have been taken for never made.
 */
export async function look(
  { pool, payments }: Pick<TopUpDeps, 'pool' | 'payments'>,
  account: string,
  told: string[] = [],
): Promise<{ attempt: AttemptRow | null; charge: ChargeFacts | null; late: boolean }> {
  for (const payment of await unknownPayments(pool, account, told)) {
    const named = await payments.named(payment)
    if (named?.charge.status !== 'succeeded') continue
    const attempt = await readAttempt(pool, account, named.attempt)
    if (attempt?.state === 'declined' || attempt?.state === 'failed')
      return { attempt, charge: named.charge, late: true }
  }
  const attempt = (await readAttempt(pool, account)) ?? null
  if (attempt === null) return { attempt, charge: null, late: false }
  const { id, payment } = attempt
  const charge =
    payment === null
      ? await payments.chargeOf({ ...attempt, attempt: id })
      : await payments.chargeNamed(payment, id)
  return { attempt, charge, late: false }
}

/** Writes an attempt, if that is what is to be done. @returns it as it was written */
export async function claim(
  client: Client,
  account: string,
  method: string,
): Promise<AttemptRow | undefined> {
  const before = await readTopUpFacts(client, account)
  if (before === undefined) return undefined
  const { pack, currency } = before.settings
  const order = await observeOrder(client, account, { pack, currency: currency ?? undefined })
  // read after the lock
  const facts = await readTopUpFacts(client, account)
  if (facts === undefined) return undefined
  const attempt = (await readAttempt(client, account)) ?? null
  const plan = decideTopUp({ ...facts, order, attempt, charge: null, method })
  const { customer, settings } = facts
  if (plan.step !== 'charge' || customer === null) return undefined
  const id = idFrom('top', randomUUID())
  const { generation } = settings
  const written = await insertAttempt(client, { ...plan, id, account, generation, customer })
  return written ? await readAttempt(client, account, id) : undefined
}
