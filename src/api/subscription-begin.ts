/** How a subscription begins: what is asked for, and what is written down before a workflow goes on with it. */
import { z } from 'zod'
import { businessNow } from '../clock.ts'
import { Refusal } from '../domain/error.ts'
import { monthAt } from '../domain/free.ts'
import { requireAccount } from '../store/account.ts'
import { insertCheckout } from '../store/checkout.ts'
import type { Client } from '../store/connect.ts'
import { firstEnrolment, insertFree } from '../store/free.ts'
import { freePlanOnSale, priceOnSale } from '../store/price-list.ts'
import { liveSubscription } from '../store/subscription.ts'
import { invalidFields } from './problem.ts'
import { accountId, currencyInput, EXAMPLE, metadataInput, returnUrl } from './schema.ts'

export const subscriptionInput = z
  .strictObject({
    account: accountId,
    plan: z.string().min(1).max(63).describe('the id of a plan in /v1/catalog'),
    interval: z.enum(['month', 'year']).default('month'),
    currency: currencyInput,
    success_url: returnUrl
      .optional()
      .describe('where the customer goes after paying; required unless the plan is free'),
    cancel_url: returnUrl
      .optional()
      .describe('where the customer goes after giving up; required unless the plan is free'),
    metadata: metadataInput,
  })
  .meta({
    examples: [
      {
        account: EXAMPLE.account,
        plan: 'tier_2_20',
        interval: 'month',
        success_url: 'https://product.example/thanks?session={CHECKOUT_SESSION_ID}',
        cancel_url: 'https://product.example/plans',
        metadata: { seat: '7' },
      },
      { account: EXAMPLE.account, plan: 'free' },
    ],
  })

type SubscriptionInput = z.infer<typeof subscriptionInput>

const NOT_ON_SALE = 'this plan is not on sale at this interval and in this currency'

/** Writes an order; its workflow opens the page. */
export async function order(client: Client, id: string, input: SubscriptionInput): Promise<void> {
  const { account, plan, interval, success_url: successUrl, cancel_url: cancelUrl, metadata } = input
  await requireAccount(client, account)
  const price = await priceOnSale(client, plan, interval, input.currency)
  if (price === undefined) throw new Refusal('plan_not_found', NOT_ON_SALE)
  if (successUrl === undefined || cancelUrl === undefined) {
    const missing = URLS.filter((url) => input[url] === undefined)
    throw invalidFields(missing, 'required for a plan that is paid for')
  }
  const live = await liveSubscription(client, account, price.group)
  if (live !== undefined) {
    throw new Refusal('subscription_exists', 'the account has a live subscription of this group', {
      subscription: live.id,
    })
  }
  const { group: planGroup, priceId } = price
  await insertCheckout(client, {
    id,
    accountId: account,
    plan,
    interval,
    planGroup,
    priceId,
    successUrl,
    cancelUrl,
    metadata,
  })
}

/** Enrols in a free plan; its workflow grants. */
export async function enrol(client: Client, id: string, input: SubscriptionInput): Promise<void> {
  const { account, plan, interval, metadata } = input
  await requireAccount(client, account)
  const terms = await freePlanOnSale(client, plan)
  if (terms === undefined || interval !== 'month' || input.currency !== undefined)
    throw new Refusal('plan_not_found', NOT_ON_SALE)
  const needless = URLS.filter((url) => input[url] !== undefined)
  if (needless.length > 0) throw invalidFields(needless, 'a free plan has no page to return from')
  const created = await businessNow(client)
  const anchor = (await firstEnrolment(client, account, terms.group)) ?? created
  const { start: periodStart, end: periodEnd } = monthAt(anchor, created)
  await insertFree(client, { id, account, terms, anchor, created, periodStart, periodEnd, metadata })
}

const URLS = ['success_url', 'cancel_url'] as const
