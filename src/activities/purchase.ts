/** What a checkout's workflow does for an order of packs: look at its page and payment, grant what was paid. */
import { businessNow } from '../clock.ts'
import { workflowId } from '../domain/id.ts'
import type { PackPaymentFacts, PurchaseObservation, PurchasePlan } from '../domain/purchase.ts'
import { grant } from '../ledger/post.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { settle } from '../store/inbox.ts'
import { writePayment } from '../store/payment.ts'
import { keepPurchase, readPackOrder } from '../store/purchase-state.ts'
import type { PurchaseGateway } from '../stripe/purchase.ts'
import { translated } from './translate.ts'

export interface PurchaseDeps {
  pool: Pool
  purchases: PurchaseGateway
}

export type PurchaseActivities = ReturnType<typeof createPurchaseActivities>

export function createPurchaseActivities({ pool, purchases }: PurchaseDeps) {
  return translated({
    async closePage({ session }: { session: string }): Promise<void> {
      await purchases.closePage(session)
    },

    /** Carries out a plan in one transaction: wallet first, then everything that must be true together. */
    async applyPurchase(input: {
      seen: PurchaseObservation
      plan: PurchasePlan
      events: string[]
    }): Promise<void> {
      const { seen, plan, events } = input
      const { id, account } = seen.order
      await transaction(pool, async (client) => {
        await lockWallet(client, account)
        const changed = await keepPurchase(client, id, plan)
        if (changed) await carryOut(client, seen, plan)
        await settle(client, events)
        // the alert of a late payment is closed by whoever decides about it
        if (plan.attention === null && plan.state !== 'late')
          await resolveAlert(client, 'needs_attention', workflowId.checkout(id))
      })
    },
  })
}

/** What an order's new state brings with it. */
async function carryOut(
  client: Client,
  { order }: PurchaseObservation,
  { state, settlement }: PurchasePlan,
): Promise<void> {
  const { id, account } = order
  if (settlement !== null) {
    const { payment, amountMinor, currency, paidAt, credits, key, reason, source } = settlement
    await writePayment(client, { id: payment, account, order: id, amountMinor, currency, paidAt })
    if (credits !== '0') {
      await grant(client, {
        account,
        key,
        kind: 'pack',
        amount: credits,
        payment,
        actor: 'system',
        reasonCode: reason,
        source,
      })
    }
  }
  await recordAudit(client, {
    account,
    actor: 'system',
    action: 'purchase',
    subject: id,
    reasonCode: state,
    detail: settlement === null ? {} : { payment: settlement.payment, credits: settlement.credits },
  })
}

/**
 * What Stripe and Postgres say of an order of packs; undefined when this order is none.
 * @param named payments that events told of: the page of an order may not name its own
 */
export async function observePurchase(
  { pool, purchases }: PurchaseDeps,
  id: string,
  named: string[],
): Promise<PurchaseObservation | undefined> {
  const at = await businessNow(pool)
  const read = await readPackOrder(pool, id)
  if (read === undefined) return undefined
  const { order, session } = read
  const found = session === null ? undefined : await purchases.packPage(session)
  let payment: PackPaymentFacts | null = found?.payment ?? null
  for (const each of new Set(named)) {
    if (payment !== null && (payment.id === each || payment.status === 'succeeded')) continue
    payment = (await purchases.packPayment(each, id)) ?? payment
  }
  return { at, order, page: found?.page ?? null, payment }
}
