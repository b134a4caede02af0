/** /v1/catalog: everything a pricing page needs: plans on sale with their prices and terms, packs, limits. */
import { z } from 'zod'
import type { PurchaseLimits } from '../domain/catalog.ts'
import type { FreeTerms, PackTerms, PriceTerms } from '../domain/plan.ts'
import { catalogInForce, listOnSale } from '../store/price-list.ts'
import type { Api, ApiDeps } from './api.ts'
import { listOf } from './list.ts'
import { answers, creditsOutput, minorUnits, noQuery } from './schema.ts'

const priceView = z.object({
  id: z.string().describe("Stripe's price"),
  object: z.literal('price'),
  interval: z.enum(['month', 'year']),
  credits: creditsOutput.describe('credits a month and seat'),
  unit_amount: minorUnits.describe('list price a seat for one interval, in minor units, without tax'),
  currency: z.string(),
  commitment_months: z.int().nullable().describe('how long a subscriber is bound; null: not at all'),
  version: z.string(),
  grace_hours: z.int().describe('how long credits outlive their period while a renewal settles'),
  discount_rule: z.enum(['full', 'proportional']),
})

const planView = z
  .object({
    id: z.string().describe('what `plan` is in POST /v1/subscriptions'),
    object: z.literal('plan'),
    name: z.string(),
    group: z.string().describe('an account has one live subscription a group'),
    tier: z.int().nullable().describe('rank in its group: more is higher'),
    free: z.boolean().describe('it costs nothing and has no prices'),
    credits: creditsOutput.describe('credits a month and seat'),
    renewal: z
      .object({
        rule: z.enum(['replace', 'roll_over', 'keep']),
        limit: creditsOutput.nullable().describe('most credits a seat that roll over'),
      })
      .describe('what becomes of credits that are left when the next month’s arrive'),
    trial: z
      .object({ days: z.int(), credits: creditsOutput, card_required: z.boolean() })
      .nullable()
      .describe('with prices without commitment'),
    prices: z.array(priceView),
  })
  .meta({
    id: 'Plan',
    examples: [
      {
        id: 'tier_2_20',
        object: 'plan',
        name: 'Starter',
        group: 'default',
        tier: 1,
        free: false,
        credits: '20',
        renewal: { rule: 'replace', limit: null },
        trial: { days: 7, credits: '5', card_required: true },
        prices: [
          {
            id: 'price_1QxYzA',
            object: 'price',
            interval: 'month',
            commitment_months: null,
            credits: '20',
            unit_amount: '2000',
            currency: 'usd',
            version: 'v1',
            grace_hours: 72,
            discount_rule: 'full',
          },
        ],
      },
    ],
  })

const packView = z
  .object({
    id: z.string(),
    object: z.literal('pack'),
    name: z.string(),
    credits: creditsOutput,
    unit_amount: minorUnits.describe('list price, in minor units, without tax'),
    currency: z.string(),
    price: z.string().describe("Stripe's price"),
    version: z.string(),
  })
  .meta({
    id: 'Pack',
    examples: [
      {
        id: 'pack_10',
        object: 'pack',
        name: '10 credits',
        credits: '10',
        unit_amount: '1000',
        currency: 'usd',
        price: 'price_1QxYzB',
        version: 'v1',
      },
    ],
  })

const purchaseLimits = {
  purchase_min: minorUnits.describe('least that one purchase may cost'),
  purchase_max: minorUnits.describe('most that one purchase may cost'),
  purchase_day_max: minorUnits.describe('most that an account may spend on purchases in a day'),
}

const limitsView = z.object({
  grant_max: creditsOutput.describe('most credits of one goodwill or promotion grant, without grants:large'),
  ...purchaseLimits,
  currencies: z.record(z.string(), z.object(purchaseLimits)).describe('of purchases in other currencies'),
  purchase_hour_max: z.int().describe('most orders of packs that an account may place in an hour'),
  currency: z.string(),
})

const catalogView = listOf(planView)
  .extend({
    version: z.string().nullable().describe('of the catalogue in force; null before there was one'),
    packs: z.array(packView),
    limits: limitsView.nullable(),
  })
  .meta({
    examples: [
      {
        data: planView.meta()?.examples,
        has_more: false,
        next_cursor: null,
        version: 'v1',
        packs: packView.meta()?.examples,
        limits: {
          grant_max: '1000',
          purchase_min: '500',
          purchase_max: '50000',
          purchase_day_max: '100000',
          currencies: { eur: { purchase_min: '500', purchase_max: '50000', purchase_day_max: '100000' } },
          purchase_hour_max: 10,
          currency: 'usd',
        },
      },
    ],
  })

/** Registers the route. */
export function catalogRoutes(app: Api, { pool }: ApiDeps): void {
  app.get('/v1/catalog', {
    config: { scope: 'read' },
    schema: {
      summary: 'What is on sale: plans, packs and limits',
      tags: ['catalog'],
      querystring: noQuery,
      response: answers({ 200: catalogView }),
    },
    async handler() {
      const terms = await listOnSale(pool)
      const inForce = await catalogInForce(pool)
      const plans = new Map<string, (PriceTerms | FreeTerms)[]>()
      for (const each of terms)
        if (each.kind !== 'pack') plans.set(each.plan, [...(plans.get(each.plan) ?? []), each])
      return {
        data: [...plans.values()].flatMap(([first, ...rest]) =>
          first ? [planOf(first, [first, ...rest])] : [],
        ),
        has_more: false,
        next_cursor: null,
        version: inForce?.version ?? null,
        packs: terms.filter((each) => each.kind === 'pack').map(packOf),
        limits: inForce
          ? {
              grant_max: inForce.limits.grantMax,
              ...limitsOf(inForce.limits),
              currencies: Object.fromEntries(
                Object.entries(inForce.limits.currencies ?? {}).map(([code, each]) => [code, limitsOf(each)]),
              ),
              purchase_hour_max: inForce.limits.purchaseHourMax,
              currency: inForce.currency,
            }
          : null,
      }
    },
  })
}

function limitsOf({ purchaseMin, purchaseMax, purchaseDayMax }: PurchaseLimits) {
  return { purchase_min: purchaseMin, purchase_max: purchaseMax, purchase_day_max: purchaseDayMax }
}

function planOf(first: PriceTerms | FreeTerms, all: (PriceTerms | FreeTerms)[]): z.infer<typeof planView> {
  const prices = all.filter((each) => each.kind === 'plan')
  const trial = prices.find((price) => price.trial !== null)?.trial
  return {
    id: first.plan,
    object: 'plan',
    name: first.planName,
    group: first.group,
    tier: first.tier,
    free: first.kind === 'free',
    credits: first.credits,
    renewal: { limit: null, ...first.renewal },
    trial: trial ? { days: trial.days, credits: trial.credits, card_required: trial.cardRequired } : null,
    prices: prices.map((price) => ({
      id: price.priceId,
      object: 'price',
      interval: price.interval,
      credits: price.credits,
      unit_amount: price.unitAmount,
      currency: price.currency,
      commitment_months: price.commitmentMonths,
      version: price.version,
      grace_hours: price.graceHours,
      discount_rule: price.discountRule,
    })),
  }
}

function packOf(terms: PackTerms): z.infer<typeof packView> {
  return {
    id: terms.pack,
    object: 'pack',
    name: terms.packName,
    credits: terms.credits,
    unit_amount: terms.unitAmount,
    currency: terms.currency,
    price: terms.priceId,
    version: terms.version,
  }
}
