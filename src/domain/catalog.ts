/** The catalogue file: plans, prices and terms as configuration, never code. Checked whole before anything starts. */
import { z } from 'zod'
import type { Interval, PriceTerms } from './plan.ts'

const slug = z.string().regex(/^[a-z0-9][a-z0-9_]{0,62}$/, 'a slug: lower-case letters, digits and _')
const minor = z
  .string()
  .regex(/^[1-9]\d{0,11}$/, 'an amount in minor units as a string, such as "2000" for $20.00')
const credits = z
  .string()
  .regex(/^(0|[1-9]\d{0,11})(\.\d{1,8})?$/, 'a plain decimal as a string')
  .refine((text) => /[1-9]/.test(text), 'more than zero credits')

const planSchema = z.strictObject({
  key: slug,
  name: z.string().min(1).max(100),
  group: slug.default('default'),
  credits: credits.describe('credits a month and seat'),
  grace_hours: z
    .int()
    .min(1)
    .max(24 * 60)
    .optional(),
  discount_rule: z.enum(['full', 'proportional']).optional(),
  prices: z
    .array(z.strictObject({ interval: z.enum(['month', 'year']), unit_amount: minor }))
    .min(1)
    .refine(
      (prices) => new Set(prices.map((price) => price.interval)).size === prices.length,
      'one price an interval',
    ),
})

const catalogSchema = z.strictObject({
  version: slug,
  currency: z.string().regex(/^[a-z]{3}$/, 'an ISO 4217 code in lower case'),
  grace_hours: z
    .int()
    .min(1)
    .max(24 * 60)
    .describe('how long credits outlive their period while a renewal settles'),
  discount_rule: z.enum(['full', 'proportional']),
  plans: z
    .array(planSchema)
    .min(1)
    .refine((plans) => new Set(plans.map((plan) => plan.key)).size === plans.length, 'plan keys are unique'),
})

/** One price to be found or made in Stripe: its terms but for Stripe's id. */
export type CatalogPrice = Omit<PriceTerms, 'priceId'>

/**
 * Reads a catalogue.
 * @throws Error that lists every problem with its path
 */
export function parseCatalog(json: unknown): CatalogPrice[] {
  const parsed = catalogSchema.safeParse(json)
  if (!parsed.success) {
    const problems = parsed.error.issues.map(
      (issue) => `  ${issue.path.join('.') || '(top)'}: ${issue.message}`,
    )
    throw new Error(`the catalogue is not valid:\n${problems.join('\n')}`)
  }
  const catalog = parsed.data
  return catalog.plans.flatMap((plan) =>
    plan.prices.map((price) => ({
      lookupKey: lookupKey(plan.key, price.interval, catalog.version),
      plan: plan.key,
      planName: plan.name,
      group: plan.group,
      interval: price.interval,
      version: catalog.version,
      credits: plan.credits,
      unitAmount: price.unit_amount,
      currency: catalog.currency,
      graceHours: plan.grace_hours ?? catalog.grace_hours,
      discountRule: plan.discount_rule ?? catalog.discount_rule,
    })),
  )
}

/** What Stripe's price is found by. The version is in it: new terms are a new price, old subscribers keep theirs. */
export function lookupKey(plan: string, interval: Interval, version: string): string {
  return `${plan}.${interval}.${version}`
}
