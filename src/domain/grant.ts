/** The grant formula (law 7): what a paid line is worth in credits. */
import { CREDIT_PLACES, Exact } from './credits.ts'
import type { DiscountRule } from './plan.ts'

/** A paid line, in minor units of one currency, without tax. */
export interface PaidLine {
  /** credits of one seat for what the line bills */
  credits: string
  quantity: number
  /** list price of one seat */
  unitAmount: string
  /** what the line billed before discounts */
  amount: string
  /** what discounts took off it */
  discount: string
  rule: DiscountRule
}

/**
 * Credits of a paid line = (credits × quantity × min(net, list × quantity)) ÷ (list × quantity), multiplied before it
 * is divided, rounded down at 8 places. Zero when nothing was paid for, so a trial's $0 line grants nothing.
 */
export function creditsForLine(line: PaidLine): Exact {
  const net = line.rule === 'full' ? new Exact(line.amount) : new Exact(line.amount).minus(line.discount)
  const list = new Exact(line.unitAmount).times(line.quantity)
  if (net.lte(0) || list.lte(0)) return new Exact(0)
  return new Exact(line.credits)
    .times(line.quantity)
    .times(Exact.min(net, list))
    .dividedBy(list)
    .toDecimalPlaces(CREDIT_PLACES, Exact.ROUND_DOWN)
}
