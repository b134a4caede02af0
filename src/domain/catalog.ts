/** The catalogue file: plans, packs, prices and terms as configuration, never code. Checked whole before it is used. */
import { z } from 'zod'
import { relations } from './catalog-relation.ts'
import { lookupKey } from './id.ts'
import type { FreeTerms, PackTerms, PriceTerms, Renewal, Trial } from './plan.ts'

const slug = z.string().regex(/^[a-z0-9][a-z0-9_]{0,62}$/, 'a slug: lower-case letters, digits and _')
const minor = z
  .string()
  .regex(/^[1-9]\d{0,11}$/, 'an amount in minor units as a string, such as "2000" for $20.00')
const credits = z
  .string()
  .regex(/^(0|[1-9]\d{0,11})(\.\d{1,8})?$/, 'a plain decimal as a string')
  .refine((text) => /[1-9]/.test(text), 'more than zero credits')
const currency = z.string().regex(/^[a-z]{3}$/, 'an ISO 4217 code in lower case')
const otherCurrency = currency.describe('when it is not the catalogue’s')
const name = z.string().min(1).max(100)
const graceHours = z
  .int()
  .min(1)
  .max(24 * 60)
  .describe('how long credits outlive their period while a renewal settles')
const discountRule = z.enum(['full', 'proportional'])

const renewal = z
  .discriminatedUnion('rule', [
    z.strictObject({ rule: z.literal('replace') }),
    z.strictObject({ rule: z.literal('roll_over'), limit: credits.describe('of credits a seat') }),
    z.strictObject({ rule: z.literal('keep') }),
  ])
  .describe('what becomes of credits that are left when the next month’s arrive')

const price = z.strictObject({
  interval: z.enum(['month', 'year']),
  currency: otherCurrency.optional(),
  unit_amount: minor,
  commitment_months: z.int().min(2).max(120).optional(),
})

const trial = z.strictObject({ days: z.int().min(1).max(365), credits, card_required: z.boolean() })

const plan = z.strictObject({
  key: slug,
  name,
  group: slug.default('default'),
  tier: z.int().min(0).max(1_000).describe('rank in its group: more is higher'),
  credits: credits.describe('credits a month and seat'),
  free: z.literal(true).optional().describe('monthly credits without a price and without Stripe'),
  prices: z.array(price).default([]),
  grace_hours: graceHours.optional(),
  discount_rule: discountRule.optional(),
  renewal: renewal.optional(),
  trial: trial.optional(),
})

const pack = z.strictObject({
  key: slug,
  name,
  credits,
  unit_amount: minor,
  prices: z
    .array(z.strictObject({ currency: otherCurrency, unit_amount: minor }))
    .default([])
    .describe('in other currencies'),
})

const purchaseLimits = { purchase_min: minor, purchase_max: minor, purchase_day_max: minor }

const limits = z.strictObject({
  grant_max: credits.describe(
    'most credits of one goodwill or promotion grant without the scope grants:large',
  ),
  ...purchaseLimits,
  currencies: z
    .record(currency, z.strictObject(purchaseLimits))
    .default({})
    .describe('of purchases in other currencies'),
  purchase_hour_max: z.int().min(1).max(1_000).default(10).describe('orders of packs an account and hour'),
})

const dunning = z.strictObject({
  reminder_days: z
    .array(z.int().min(1).max(60))
    .max(10)
    .describe('days after an invoice could not be collected on which its customer is reminded'),
})

const catalogFile = z.strictObject({
  version: slug,
  currency,
  grace_hours: graceHours,
  discount_rule: discountRule,
  renewal: renewal.default({ rule: 'replace' }),
  automatic_tax: z.boolean().default(false).describe('whether Stripe reckons tax on what is sold'),
  limits,
  dunning: dunning.default({ reminder_days: [] }),
  plans: z.array(plan).min(1),
  packs: z.array(pack).default([]),
})

type CatalogFile = z.infer<typeof catalogFile>
type PlanOfFile = CatalogFile['plans'][number]

/** One price to be found or made in Stripe: its terms but for Stripe's id. */
export type CatalogPrice = Omit<PriceTerms, 'priceId'>
export type CatalogPack = Omit<PackTerms, 'priceId'>

/** What one purchase may cost, and all of an account's in a day, in minor units of one currency. */
export interface PurchaseLimits {
  purchaseMin: string
  purchaseMax: string
  purchaseDayMax: string
}

/** What is sold within; amounts in the catalogue's currency. */
export interface Limits extends PurchaseLimits {
  /** credits of one goodwill or promotion grant, without the scope for large ones */
  grantMax: string
  /** of purchases in other currencies; absent before there were any */
  currencies?: Record<string, PurchaseLimits>
  /** how many orders of packs an account may place in an hour */
  purchaseHourMax: number
}

/** What is done about payments that failed. */
export interface Dunning {
  /** days after the first failure, ascending */
  reminderDays: number[]
}

/** The catalogue file, read. */
export interface Catalog {
  version: string
  currency: string
  /** whether Stripe reckons tax on what is sold */
  automaticTax: boolean
  limits: Limits
  dunning: Dunning
  prices: CatalogPrice[]
  free: FreeTerms[]
  packs: CatalogPack[]
}

/**
 * Reads a catalogue.
 * @throws Error that lists every problem with its path
 */
export function parseCatalog(json: unknown): Catalog {
  const parsed = catalogFile.safeParse(json)
  const problems = [...(parsed.error?.issues ?? []), ...relations(json)]
  if (!parsed.success || problems.length > 0) {
    const lines = problems.map(({ path, message }) => `  ${path.join('.') || '(top)'}: ${message}`)
    throw new Error(`the catalogue is not valid:\n${lines.join('\n')}`)
  }
  const file = parsed.data
  return {
    version: file.version,
    currency: file.currency,
    automaticTax: file.automatic_tax,
    limits: {
      grantMax: file.limits.grant_max,
      ...purchaseLimitsOf(file.limits),
      currencies: Object.fromEntries(
        Object.entries(file.limits.currencies).map(([code, each]) => [code, purchaseLimitsOf(each)]),
      ),
      purchaseHourMax: file.limits.purchase_hour_max,
    },
    dunning: { reminderDays: file.dunning.reminder_days },
    prices: file.plans.flatMap((each) => pricesOf(file, each)),
    free: file.plans.filter((each) => each.free).map((each) => freeTerms(file, each)),
    packs: file.packs.flatMap((each) => packsOf(file, each)),
  }
}

/** The limits of purchases in a currency; undefined when nothing is sold in it. */
export function limitsIn(
  { currency: own, limits }: { currency: string; limits: Limits },
  inCurrency: string,
): PurchaseLimits | undefined {
  return inCurrency === own ? limits : limits.currencies?.[inCurrency]
}

function purchaseLimitsOf(file: { purchase_min: string; purchase_max: string; purchase_day_max: string }) {
  return {
    purchaseMin: file.purchase_min,
    purchaseMax: file.purchase_max,
    purchaseDayMax: file.purchase_day_max,
  }
}

function packsOf(file: CatalogFile, pack: CatalogFile['packs'][number]): CatalogPack[] {
  const prices = [{ currency: file.currency, unit_amount: pack.unit_amount }, ...pack.prices]
  return prices.map((price) => ({
    kind: 'pack',
    lookupKey: lookupKey.pack(pack.key, file.version, keyed(file, price.currency)),
    pack: pack.key,
    packName: pack.name,
    version: file.version,
    credits: pack.credits,
    unitAmount: price.unit_amount,
    currency: price.currency,
  }))
}

/** The currency as a lookup key names it: the catalogue's own goes without saying. */
function keyed(file: CatalogFile, inCurrency: string): string | null {
  return inCurrency === file.currency ? null : inCurrency
}

function planTerms(file: CatalogFile, plan: PlanOfFile) {
  return {
    plan: plan.key,
    planName: plan.name,
    group: plan.group,
    tier: plan.tier,
    version: file.version,
    credits: plan.credits,
    graceHours: plan.grace_hours ?? file.grace_hours,
    renewal: (plan.renewal ?? file.renewal) satisfies Renewal,
  }
}

function pricesOf(file: CatalogFile, plan: PlanOfFile): CatalogPrice[] {
  return plan.prices.map((price) => {
    const commitmentMonths = price.commitment_months ?? null
    const sold = price.currency ?? file.currency
    return {
      kind: 'plan',
      lookupKey: lookupKey.price(plan.key, price.interval, commitmentMonths, file.version, keyed(file, sold)),
      ...planTerms(file, plan),
      interval: price.interval,
      unitAmount: price.unit_amount,
      currency: sold,
      discountRule: plan.discount_rule ?? file.discount_rule,
      commitmentMonths,
      // whoever binds himself has made up his mind
      trial: commitmentMonths === null ? trialTerms(plan) : null,
    }
  })
}

function trialTerms({ trial }: PlanOfFile): Trial | null {
  if (trial === undefined) return null
  return { days: trial.days, credits: trial.credits, cardRequired: trial.card_required }
}

function freeTerms(file: CatalogFile, plan: PlanOfFile): FreeTerms {
  const key = lookupKey.free(plan.key, file.version)
  return { kind: 'free', priceId: key, lookupKey: key, ...planTerms(file, plan) }
}
