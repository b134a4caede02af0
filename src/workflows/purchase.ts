/** A pass over an order of packs, within its checkout's life: paid and granted, on its way, abandoned, failed, late. */
import { followPurchase, isOver, type PurchaseObservation, type PurchasePlan } from '../domain/purchase.ts'
import type { Pass } from './entity.ts'
import { ATTRIBUTE } from './message.ts'
import { checkoutActivities } from './proxy.ts'

const { applyPurchase, closePage } = checkoutActivities

/**
 * Decides and applies what was observed.
 * @returns undefined when a page had to be closed: then what was observed is no more so
 */
export async function purchasePass(seen: PurchaseObservation, events: string[]): Promise<Pass | undefined> {
  const plan = followPurchase(seen)
  if (plan.close !== null) {
    await closePage({ session: plan.close })
    return undefined
  }
  await applyPurchase({ seen, plan, events })
  const { account, terms } = seen.order
  return {
    at: seen.at,
    deadline: plan.deadline,
    over: isOver(plan.state) && plan.deadline === null,
    turn: null,
    attention: plan.attention,
    details: detailsOf(seen, plan),
    attributes: [
      { key: ATTRIBUTE.account, value: account },
      { key: ATTRIBUTE.plan, value: terms.pack },
      { key: ATTRIBUTE.status, value: plan.state },
    ],
  }
}

/** What a support person reads. Ids, dates and amounts only. */
function detailsOf({ order, page, payment }: PurchaseObservation, plan: PurchasePlan): string {
  const { settlement } = plan
  const rows = [
    ['order', order.id],
    ['account', order.account],
    ['pack', `${order.terms.pack} × ${order.quantity}`],
    ['state', plan.state],
    ['page', page === null ? 'none' : `${page.id} ${page.status}, ${page.paymentStatus}`],
    ['payment', payment === null ? 'none' : `${payment.id} ${payment.status}`],
    ['attention', plan.attention ?? 'none'],
    ['looks again', plan.deadline ?? 'never: it is over'],
  ]
  const table = ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)]
  const grants =
    settlement === null
      ? []
      : [
          `- ${settlement.amountMinor} ${settlement.currency} paid, ${settlement.credits} credits granted (${settlement.key})`,
        ]
  return [...table, '', ...grants].join('\n')
}
