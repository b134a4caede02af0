/** Whether an order of packs may be placed: what it costs, within the limits of the catalogue in force. Pure. */
import type { PurchaseLimits } from './catalog.ts'
import { Exact, formatCredits } from './credits.ts'
import type { RefusalFacts } from './effect.ts'
import type { RefusalCode } from './error.ts'
import type { PackTerms } from './plan.ts'

/** What is known of an account when it orders, read under a lock that its other orders wait for. */
export interface OrderObservation {
  /** undefined: no such pack is on sale */
  terms: PackTerms | undefined
  /** in the currency of the terms; undefined: nothing is for sale in it */
  limits: (PurchaseLimits & { purchaseHourMax: number }) | undefined
  /** list prices in this currency of what was paid in the last day and of what may still be, in minor units */
  day: string
  /** orders of the last hour, and in how many seconds there will be one less */
  hour: { orders: number; oneLessIn: number }
}

export interface OrderCommand {
  pack: string
  quantity: number
}

/** What an order is for. */
export interface OrderedPack {
  terms: PackTerms
  /** list price × quantity, in minor units */
  amountMinor: string
  /** when all of it is paid */
  credits: string
}

/** Decides whether an order may be placed. */
export function decideOrder(
  { terms, limits, day, hour }: OrderObservation,
  { quantity }: OrderCommand,
): { refused: RefusalFacts } | { order: OrderedPack } {
  const refused = (code: RefusalCode, detail: string, data = {}) => ({ refused: { code, detail, data } })
  if (terms === undefined || limits === undefined) {
    return refused('pack_not_found', 'no such pack is on sale')
  }
  const amount = new Exact(terms.unitAmount).times(quantity)
  const { purchaseMin: least, purchaseMax: most, purchaseDayMax: dayMost, purchaseHourMax } = limits
  if (amount.lt(least) || amount.gt(most)) {
    const detail = `one purchase costs ${least} to ${most} in minor units, and this one ${amount.toFixed()}`
    return refused('purchase_limit', detail, { least, most })
  }
  if (hour.orders >= purchaseHourMax) {
    const data = { limit: purchaseHourMax, retry_after: hour.oneLessIn }
    return refused('purchase_rate', `an account orders ${purchaseHourMax} times an hour at most`, data)
  }
  const left = Exact.max(0, new Exact(dayMost).minus(day))
  if (amount.gt(left)) {
    const detail = `an account buys for ${dayMost} in minor units a day, open orders counted`
    return refused('purchase_day_limit', detail, { limit: dayMost, left: left.toFixed() })
  }
  const credits = formatCredits(new Exact(terms.credits).times(quantity))
  return { order: { terms, amountMinor: amount.toFixed(), credits } }
}
