/**
 * Every call of ours that changes something in Stripe, as one case each: what is there before, the call as its activity
 * makes it, and what Stripe must have then. Used with whatever may go wrong on the way.
 */
import { randomUUID } from 'node:crypto'
import type Stripe from 'stripe'
import { createChangeActivities } from '../../src/activities/change.ts'
import { createCalls } from '../../src/activities/calls.ts'
import type { PackTerms, PriceTerms } from '../../src/domain/plan.ts'
import { idFrom, stripeKey } from '../../src/domain/id.ts'
import { listOnSale } from '../../src/store/price-list.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createCollectionGateway } from '../../src/stripe/collection.ts'
import { createGateway } from '../../src/stripe/gateway.ts'
import { createPaymentGateway } from '../../src/stripe/payment.ts'
import { createPriceGateway } from '../../src/stripe/price.ts'
import { createPurchaseGateway } from '../../src/stripe/purchase.ts'
import { openAccount } from './ledger.ts'
import type { TestDatabase } from './postgres.ts'

export interface Post {
  /** the method of the official client, as the gateways' source has it */
  sdk: string
  title: string
  /** whether it is over after a day, and nothing is asked for any more */
  overAfterADay?: boolean
  begin: () => Promise<Begun>
}

export interface Begun {
  /** in the Idempotency-Key */
  key: string
  act: () => Promise<unknown>
  /** what Stripe has */
  has: () => Promise<unknown>
  wanted: unknown
}

export interface World {
  database: TestDatabase
  /** without faults */
  stripe: Stripe
  /** the one that is tried */
  faulty: Stripe
  now: () => number
}

const RETURN = 'https://example.com/back'
const NOBODY = { email: null, name: null }

/** @param world with a catalogue on sale */
export function stripePosts({ database, stripe, faulty, now }: World): Post[] {
  const { pool } = database
  const calls = createCalls(pool)
  const gateway = createGateway(faulty, calls)
  const changes = createChangeGateway(faulty, calls)
  const purchases = createPurchaseGateway(faulty, calls)
  const payments = createPaymentGateway(faulty, calls)
  const collection = createCollectionGateway(faulty, calls)
  const prices = createPriceGateway(faulty)
  const activities = createChangeActivities({ pool, gateway, changes })
  const mint = (prefix: 'cmd' | 'ord' | 'top') => idFrom(prefix, randomUUID())
  const inHours = (hours: number) => new Date(now() + hours * 3_600_000).toISOString()

  async function plan(name: string): Promise<PriceTerms> {
    const found = (await listOnSale(pool)).find(
      (each) =>
        each.kind === 'plan' &&
        each.plan === name &&
        each.interval === 'month' &&
        each.commitmentMonths === null &&
        each.currency === 'usd',
    )
    if (found?.kind !== 'plan') throw new Error(`${name} is not on sale`)
    return found
  }
  async function pack(): Promise<PackTerms> {
    const found = (await listOnSale(pool)).find((each) => each.kind === 'pack' && each.currency === 'usd')
    if (found?.kind !== 'pack') throw new Error('no pack is on sale')
    return found
  }
  async function customerWith(card = 'pm_card_visa') {
    const { id: customer } = await stripe.customers.create({})
    const { id: method } = await stripe.paymentMethods.attach(card, { customer })
    await stripe.customers.update(customer, { invoice_settings: { default_payment_method: method } })
    return { customer, method }
  }
  async function subscribed() {
    const { customer } = await customerWith()
    const { priceId: price } = await plan('tier_6_50')
    const { id } = await stripe.subscriptions.create({
      customer,
      items: [{ price }],
      billing_mode: { type: 'flexible' },
    })
    return { customer, id }
  }
  const read = (id: string) => stripe.subscriptions.retrieve(id)
  const invoicesOf = async (subscription: string) =>
    (await stripe.invoices.list({ subscription, limit: 100 })).data.length

  async function command(operation: string, input: Record<string, string> = {}): Promise<string> {
    const id = mint('cmd')
    await pool.query(
      `insert into command (id, scope, operation, key, request_hash, input) values ($1, $1, $2, $1, 'h', $3)`,
      [id, operation, JSON.stringify(input)],
    )
    return id
  }
  const answerOf = async (id: string) =>
    (await pool.query<{ state: string }>('select state from command where id = $1', [id])).rows[0]?.state

  /** A command that changes a subscription; `has` beside it says that it was answered as done. */
  function step(
    sdk: string,
    title: string,
    kind: string,
    operation: 'cancel' | 'resume' | 'withdraw' | 'change',
    make: () => Promise<{
      id: string
      has: () => Promise<unknown>
      wanted: unknown
      input?: Record<string, string>
    }>,
  ): Post {
    const act = {
      cancel: activities.cancelSubscription,
      resume: activities.resumeSubscription,
      withdraw: activities.withdrawChange,
      change: activities.changeSubscription,
    }[operation]
    return {
      sdk,
      title,
      async begin() {
        const { id, has, wanted, input } = await make()
        const asked = { subscription: id, command: await command(operation, input) }
        return {
          key: stripeKey.step(kind, asked.command),
          act: () => act(asked),
          has: async () => [await answerOf(asked.command), await has()],
          wanted: ['done', wanted],
        }
      },
    }
  }

  async function page(customer: string) {
    const account = await openAccount(database)
    const { priceId: price } = await plan('tier_2_20')
    return {
      order: mint('ord'),
      account,
      customer,
      price,
      automaticTax: false,
      successUrl: RETURN,
      cancelUrl: RETURN,
      expiresAt: inHours(23),
    }
  }
  const pagesOf = async (customer: string) =>
    (await stripe.checkout.sessions.list({ customer, limit: 100 })).data.length

  return [
    {
      sdk: 'customers.create',
      title: 'a customer',
      async begin() {
        const account = await openAccount(database)
        return {
          key: stripeKey.customer(account, 1),
          act: () => gateway.createCustomer(account, 1, NOBODY),
          has: async () => {
            const { data } = await stripe.customers.list({ limit: 100 })
            return data.filter(({ metadata }) => metadata['perennial_account'] === account).length
          },
          wanted: 1,
        }
      },
    },
    {
      sdk: 'checkout.sessions.create',
      title: 'a page for a subscription',
      overAfterADay: true,
      async begin() {
        const { customer } = await customerWith()
        const order = await page(customer)
        const key = stripeKey.checkout(order.order)
        return { key, act: () => gateway.openCheckout(order), has: () => pagesOf(customer), wanted: 1 }
      },
    },
    {
      sdk: 'checkout.sessions.create',
      title: 'a page for a pack',
      overAfterADay: true,
      async begin() {
        const { customer } = await customerWith()
        const { priceId: price } = await pack()
        const order = { ...(await page(customer)), price, quantity: 1, savesMethod: true }
        const key = stripeKey.checkout(order.order)
        return { key, act: () => purchases.openPage(order), has: () => pagesOf(customer), wanted: 1 }
      },
    },
    {
      sdk: 'checkout.sessions.expire',
      title: 'a page closed',
      overAfterADay: true,
      async begin() {
        const { customer } = await customerWith()
        const { id } = await gateway.openCheckout(await page(customer))
        const has = async () => (await stripe.checkout.sessions.retrieve(id)).status
        return { key: stripeKey.expire(id), act: () => purchases.closePage(id), has, wanted: 'expired' }
      },
    },
    {
      sdk: 'paymentIntents.create',
      title: 'a charge of a kept card',
      async begin() {
        const { customer, method } = await customerWith()
        const account = await openAccount(database)
        const order = {
          account,
          ordinal: 1,
          attempt: mint('top'),
          customer,
          method,
          amountMinor: '1000',
          currency: 'usd',
          startedAt: inHours(0),
        }
        return {
          key: stripeKey.topUp(account, 1),
          act: () => payments.charge(order),
          has: async () =>
            (await stripe.paymentIntents.list({ customer, limit: 100 })).data.map(({ status }) => status),
          wanted: ['succeeded'],
        }
      },
    },
    {
      sdk: 'billingPortal.sessions.create',
      title: 'Stripe’s own page',
      async begin() {
        const { customer } = await customerWith()
        const id = mint('cmd')
        let url = ''
        return {
          key: stripeKey.step('portal', id),
          act: async () => (url = await collection.openPortal(customer, RETURN, id)),
          has: async () => url.startsWith('http'),
          wanted: true,
        }
      },
    },
    step('subscriptions.update', 'a cancellation', 'cancel', 'cancel', async () => {
      const { id } = await subscribed()
      return { id, has: async () => (await read(id)).cancel_at_period_end, wanted: true }
    }),
    step('subscriptions.update', 'a cancellation withdrawn', 'go_on', 'resume', async () => {
      const { id } = await subscribed()
      await stripe.subscriptions.update(id, { cancel_at_period_end: true })
      return { id, has: async () => (await read(id)).cancel_at_period_end, wanted: false }
    }),
    step('subscriptions.update', 'collection begun again', 'collect', 'resume', async () => {
      const { id } = await subscribed()
      await stripe.subscriptions.update(id, { pause_collection: { behavior: 'void' } })
      return { id, has: async () => (await read(id)).pause_collection, wanted: null }
    }),
    step('subscriptions.update', 'an upgrade', 'change', 'change', async () => {
      const { id } = await subscribed()
      const { priceId } = await plan('tier_12_100')
      const has = async () => [(await read(id)).items.data[0]?.price.id, await invoicesOf(id)]
      return { id, input: { plan: 'tier_12_100', interval: 'month' }, has, wanted: [priceId, 2] }
    }),
    step('subscriptions.resume', 'a paused subscription resumed', 'resume', 'resume', async () => {
      const { id } = await subscribed()
      await stripe.subscriptions.pause(id, { bill_for: { unused_time_from: { type: 'none' } } })
      const has = async () => [(await read(id)).status, await invoicesOf(id)]
      return { id, has, wanted: ['active', 2] }
    }),
    step('invoices.voidInvoice', 'an unpaid upgrade dropped', 'void', 'withdraw', async () => {
      const { customer, id } = await subscribed()
      const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer })
      await stripe.subscriptions.update(id, { default_payment_method: bad.id })
      const { priceId: price } = await plan('tier_12_100')
      const item = (await read(id)).items.data[0]?.id ?? ''
      await stripe.subscriptions.update(id, {
        items: [{ id: item, price }],
        proration_behavior: 'always_invoice',
        payment_behavior: 'pending_if_incomplete',
      })
      const has = async () => [
        (await read(id)).pending_update,
        (await stripe.invoices.list({ subscription: id, status: 'void' })).data.length,
      ]
      return { id, has, wanted: [null, 1] }
    }),
    ...(['schedule', 'phases'] as const).map((kind) =>
      step(
        kind === 'schedule' ? 'subscriptionSchedules.create' : 'subscriptionSchedules.update',
        kind === 'schedule' ? 'a schedule' : 'what a schedule is to do',
        kind,
        'change',
        async () => {
          const { customer, id } = await subscribed()
          const has = async () =>
            (await stripe.subscriptionSchedules.list({ customer })).data.map(({ phases }) => phases.length)
          return { id, input: { plan: 'tier_2_20', interval: 'month' }, has, wanted: [2] }
        },
      ),
    ),
    step('subscriptionSchedules.release', 'a downgrade withdrawn', 'release', 'withdraw', async () => {
      const { customer, id } = await subscribed()
      const later = await command('change', { plan: 'tier_2_20', interval: 'month' })
      const calm = createChangeActivities({
        pool,
        gateway: createGateway(stripe),
        changes: createChangeGateway(stripe),
      })
      await calm.changeSubscription({ subscription: id, command: later })
      const has = async () =>
        (await stripe.subscriptionSchedules.list({ customer })).data.map(({ status }) => status)
      return { id, has, wanted: ['released'] }
    }),
    ...(['create', 'update'] as const).flatMap((kind) => [
      {
        sdk: `products.${kind}`,
        title: kind === 'create' ? 'a product' : 'a product sold again',
        async begin() {
          const offer = { ...(await pack()), pack: `pack_${randomUUID().slice(0, 8)}` }
          const id = `prod_perennial_pack_${offer.pack}`
          if (kind === 'update') await stripe.products.create({ id, name: offer.packName, active: false })
          return {
            key: kind === 'create' ? stripeKey.product(id) : stripeKey.mend(id, 'active'),
            act: () =>
              kind === 'create' ? prices.createProduct(offer) : prices.mendProduct(id, { active: true }),
            has: async () => (await stripe.products.list({ ids: [id] })).data.map(({ active }) => active),
            wanted: [true],
          }
        },
      },
      {
        sdk: `prices.${kind}`,
        title: kind === 'create' ? 'a price' : 'a price sold again',
        async begin() {
          const lookupKey = `pack.${randomUUID().slice(0, 8)}`
          const offer = { ...(await pack()), lookupKey }
          const { id: product } = await stripe.products.create({ name: 'Some' })
          const made =
            kind === 'create'
              ? undefined
              : await stripe.prices.create({
                  product,
                  currency: 'usd',
                  unit_amount: 100,
                  lookup_key: lookupKey,
                  active: false,
                })
          return {
            key: made === undefined ? stripeKey.price(lookupKey) : stripeKey.mend(made.id, 'active'),
            act: async () =>
              made === undefined
                ? await prices.createPrice(offer, product)
                : await prices.mendPrice(made.id, { active: true }),
            has: async () => (await stripe.prices.list({ product })).data.map(({ active }) => active),
            wanted: [true],
          }
        },
      },
    ]),
  ]
}
