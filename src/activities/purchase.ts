/** What a checkout's workflow does for an order of packs: look at its page and payment, grant what was paid. */
import { businessNow } from '../clock.ts'
import { SYSTEM } from '../domain/approval.ts'
import { Exact } from '../domain/credits.ts'
import { approvalKey, noticeKey, workflowId } from '../domain/id.ts'
import type { PlannedNotice } from '../domain/notice.ts'
import type {
  PackOrder,
  PackPaymentFacts,
  PurchaseObservation,
  PurchasePlan,
  Settlement,
} from '../domain/purchase.ts'
import { readBalance } from '../ledger/balance.ts'
import { grant } from '../ledger/post.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { resolveAlert } from '../store/alert.ts'
import { requestApproval } from '../store/approval.ts'
import { recordAudit } from '../store/audit.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { settle } from '../store/inbox.ts'
import { writeNotice } from '../store/notice.ts'
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

/** What an order's new state brings with it: the payment, the grant, what is told, and who must look at it. */
async function carryOut(
  client: Client,
  { order, page }: PurchaseObservation,
  { state, settlement }: PurchasePlan,
): Promise<void> {
  const { id, account } = order
  await recordAudit(client, {
    account,
    actor: 'system',
    action: 'purchase',
    subject: id,
    reasonCode: state,
    detail: settlement === null ? {} : { payment: settlement.payment, credits: settlement.credits },
  })
  if (settlement !== null) {
    const granted = await grantPaid(client, order, settlement)
    await writeNotice(client, completed(order, settlement, granted))
    if (state === 'late') await askToKeep(client, order, settlement, granted)
  } else if (state === 'abandoned') {
    const data = { order: id, pack: order.terms.pack }
    const key = noticeKey.abandoned(id)
    await writeNotice(client, { account, kind: 'purchase_abandoned', key, cause: { order: id }, data })
  } else if (state === 'failed' && page !== null) {
    // an order that no page was ever opened for is news to nobody
    const data = { ...bought(order), ...listPrice(order) }
    const key = noticeKey.purchaseFailed(id)
    await writeNotice(client, { account, kind: 'purchase_failed', key, cause: { order: id }, data })
  }
}

/** Writes the payment, and grants what it is worth. */
async function grantPaid(client: Client, { id, account }: PackOrder, paid: Settlement): Promise<Granted> {
  const { payment, amountMinor, currency, paidAt, credits, key, reason, source } = paid
  await writePayment(client, { id: payment, account, order: id, amountMinor, currency, paidAt })
  if (credits === '0') return { posting: null, balance: (await readBalance(client, account))?.balance ?? '0' }
  const granted = await grant(client, {
    account,
    key,
    kind: 'pack',
    amount: credits,
    payment,
    actor: 'system',
    reasonCode: reason,
    source,
  })
  return { posting: granted.posting, balance: granted.balanceAfter }
}

interface Granted {
  posting: string | null
  balance: string
}

function bought({ id, terms, quantity }: PackOrder) {
  return { order: id, pack: terms.pack, packName: terms.packName, quantity: `${quantity}` }
}

function listPrice({ terms, quantity }: PackOrder) {
  return { amountMinor: new Exact(terms.unitAmount).times(quantity).toFixed(), currency: terms.currency }
}

function completed(order: PackOrder, paid: Settlement, { posting, balance }: Granted): PlannedNotice {
  const { payment, amountMinor, currency, credits } = paid
  return {
    account: order.account,
    kind: 'purchase_completed',
    key: noticeKey.purchased(order.id),
    cause: { order: order.id, payment },
    data: { ...bought(order), amountMinor, currency, posting, credits, balance },
  }
}

/** Money came for an order that had ended: it is granted, and a person says whether that stays so. */
async function askToKeep(
  client: Client,
  order: PackOrder,
  paid: Settlement,
  { posting }: Granted,
): Promise<void> {
  if (posting === null) return
  const { payment, amountMinor, currency, credits } = paid
  await requestApproval(client, {
    kind: 'late_payment',
    account: order.account,
    plan: { order: order.id, payment, amountMinor, currency, credits, posting },
    key: approvalKey.latePayment(payment),
    requestedBy: SYSTEM,
    reasonCode: 'late_payment',
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
  // only a page tells the tax in what was paid
  const page = found ?? (payment === null ? undefined : await purchases.pageOfPayment(payment.id))
  return { at, order, page: page?.page ?? null, payment }
}
