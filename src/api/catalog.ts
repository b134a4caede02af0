/** /v1/catalog: the plans on sale, with their prices. */
import { z } from 'zod'
import type { PriceTerms } from '../domain/plan.ts'
import { listPrices } from '../store/price-list.ts'
import type { Api, ApiDeps } from './api.ts'
import { listOf } from './list.ts'
import { answers, creditsOutput, noQuery } from './schema.ts'

const planView = z
  .object({
    id: z.string().describe('what `plan` is in POST /v1/subscriptions'),
    object: z.literal('plan'),
    name: z.string(),
    group: z.string().describe('an account has one live subscription a group'),
    prices: z.array(
      z.object({
        id: z.string().describe("Stripe's price"),
        object: z.literal('price'),
        interval: z.enum(['month', 'year']),
        credits: creditsOutput.describe('credits a month and seat'),
        unit_amount: z.string().describe('list price a seat for one interval, in minor units, without tax'),
        currency: z.string(),
        version: z.string(),
        grace_hours: z.int().describe('how long credits outlive their period while a renewal settles'),
        discount_rule: z.enum(['full', 'proportional']),
      }),
    ),
  })
  .meta({
    id: 'Plan',
    examples: [
      {
        id: 'tier_2_20',
        object: 'plan',
        name: 'Tier 2',
        group: 'default',
        prices: [
          {
            id: 'price_1QxYzA',
            object: 'price',
            interval: 'month',
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

/** Registers the route. */
export function catalogRoutes(app: Api, { pool }: ApiDeps): void {
  app.get('/v1/catalog', {
    config: { scope: 'read' },
    schema: {
      summary: 'The plans on sale',
      tags: ['catalog'],
      querystring: noQuery,
      response: answers({ 200: listOf(planView) }),
    },
    async handler() {
      const plans = new Map<string, PriceTerms[]>()
      for (const price of await listPrices(pool))
        plans.set(price.plan, [...(plans.get(price.plan) ?? []), price])
      return { data: [...plans.values()].map(viewOf), has_more: false, next_cursor: null }
    },
  })
}

function viewOf(prices: PriceTerms[]): z.infer<typeof planView> {
  const [first] = prices
  return {
    id: first?.plan ?? '',
    object: 'plan',
    name: first?.planName ?? '',
    group: first?.group ?? '',
    prices: prices.map((price) => ({
      id: price.priceId,
      object: 'price',
      interval: price.interval,
      credits: price.credits,
      unit_amount: price.unitAmount,
      currency: price.currency,
      version: price.version,
      grace_hours: price.graceHours,
      discount_rule: price.discountRule,
    })),
  }
}
