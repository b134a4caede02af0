/**
 * The terms of what the catalogue sells, as they were when it was bought: prices of plans, free plans and packs.
 * Kept for ever and never changed. Money in minor units, credits as decimals, both as strings.
 */

export type Interval = 'month' | 'year'

/** `full`: the line before discounts decides what is granted; `proportional`: after them (law 7). */
export type DiscountRule = 'full' | 'proportional'

/**
 * What becomes of the credits that are left when the next period's arrive: they lapse; they live on up to a limit a
 * seat; or they never lapse.
 */
export type Renewal = { rule: 'replace' } | { rule: 'roll_over'; limit: string } | { rule: 'keep' }

/** What a plan may be tried with, before its first payment. */
export interface Trial {
  days: number
  credits: string
  cardRequired: boolean
}

interface PlanTerms {
  /** Stripe's price; of a free plan, its lookup key */
  priceId: string
  lookupKey: string
  plan: string
  planName: string
  /** at most one live subscription per account and group */
  group: string
  /** rank in its group: more is higher; null when it was sold before ranks were written down */
  tier: number | null
  /** version of the catalogue that these terms come from */
  version: string
  /** credits a month and seat */
  credits: string
  /** how long after the period's end its credits last, when no renewal has come: hours */
  graceHours: number
  renewal: Renewal
}

/** A price of a plan: a recurring price in Stripe. */
export interface PriceTerms extends PlanTerms {
  kind: 'plan'
  interval: Interval
  /** list price a seat for one interval, in minor units, without tax */
  unitAmount: string
  currency: string
  discountRule: DiscountRule
  /** how long its subscriber is bound; null: may leave at the end of any period */
  commitmentMonths: number | null
  trial: Trial | null
}

/** A plan that costs nothing: monthly credits, and nothing in Stripe. */
export interface FreeTerms extends PlanTerms {
  kind: 'free'
}

/** Credits that are bought once and never lapse by renewal: a one-time price in Stripe. */
export interface PackTerms {
  kind: 'pack'
  priceId: string
  lookupKey: string
  pack: string
  packName: string
  version: string
  credits: string
  unitAmount: string
  currency: string
}

export type Terms = PriceTerms | FreeTerms | PackTerms

/** What terms did not say yet when the first of them were kept and the first histories recorded. */
type SaidLater = 'kind' | 'tier' | 'renewal' | 'commitmentMonths' | 'trial'

/** A price's terms as they may be found: in a row or a recorded history of an earlier version of this program. */
export type KeptTerms = Omit<PriceTerms, SaidLater> & Partial<Pick<PriceTerms, SaidLater>>

/** Kept terms in full: what they do not say was not offered when they were written. */
export function readTerms(kept: KeptTerms): PriceTerms {
  return {
    kind: 'plan',
    tier: null,
    renewal: { rule: 'replace' },
    commitmentMonths: null,
    trial: null,
    ...kept,
  }
}

/** Whatever may be found under a lookup key. */
export type Kept = KeptTerms | FreeTerms | PackTerms

/** Kept terms of any kind, in full. */
export function readKept(kept: Kept): Terms {
  return kept.kind === 'free' || kept.kind === 'pack' ? kept : readTerms(kept)
}
