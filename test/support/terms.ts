/** Terms of plans that tests of the database keep, without a catalogue file. */
import type { FreeTerms, PackTerms } from '../../src/domain/plan.ts'

/** A free plan with two credits a month. */
export const FREE_TERMS: FreeTerms = {
  kind: 'free',
  priceId: 'free.free.v1',
  lookupKey: 'free.free.v1',
  plan: 'free',
  planName: 'Free',
  group: 'default',
  tier: 0,
  version: 'v1',
  credits: '2',
  graceHours: 72,
  renewal: { rule: 'replace' },
}

/** Ten credits for ten dollars. */
export const PACK_TERMS: PackTerms = {
  kind: 'pack',
  priceId: 'price_credits_10',
  lookupKey: 'pack.credits_10.v1',
  pack: 'credits_10',
  packName: '10 credits',
  version: 'v1',
  credits: '10',
  unitAmount: '1000',
  currency: 'usd',
}
