/** The terms of one price of the catalogue, as they were when it was bought. Money in minor units, as strings. */

export type Interval = 'month' | 'year'

/** `full`: the line before discounts decides what is granted; `proportional`: after them (law 7). */
export type DiscountRule = 'full' | 'proportional'

export interface PriceTerms {
  priceId: string
  lookupKey: string
  plan: string
  planName: string
  /** at most one live subscription per account and group */
  group: string
  interval: Interval
  /** version of the catalogue that these terms come from */
  version: string
  /** credits a month and seat */
  credits: string
  /** list price a seat for one interval, in minor units, without tax */
  unitAmount: string
  currency: string
  /** how long after the period's end its credits last, when no renewal has come: hours */
  graceHours: number
  discountRule: DiscountRule
}
