/**
 * Every call that our gateways make, once, in an order in which each finds what it needs. The same road is walked in the
 * sandbox, in Stripe's own stateless mock (which knows every parameter of the API and nothing else), and in a test account.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import Stripe from 'stripe'
import { readFile } from 'node:fs/promises'
import { type CatalogPack, type CatalogPrice, parseCatalog } from '../../src/domain/catalog.ts'
import { productIdOf } from '../../src/domain/price-facts.ts'
import type { SubscriptionStep } from '../../src/domain/subscription-step.ts'
import { createChangeGateway } from '../../src/stripe/change.ts'
import { createCollectionGateway } from '../../src/stripe/collection.ts'
import { createEventGateway } from '../../src/stripe/event-list.ts'
import { API_VERSION, createGateway } from '../../src/stripe/gateway.ts'
import { createPaymentGateway } from '../../src/stripe/payment.ts'
import { createPriceGateway } from '../../src/stripe/price.ts'
import { createPurchaseGateway } from '../../src/stripe/purchase.ts'

export type Target = 'sandbox' | 'mock' | 'account'

/** What came of one call of a gateway: the requests that it sent, and why it failed, if it did. */
export interface Step {
  call: string
  requests: { request: string; status: number; message: string | undefined }[]
  failure: string | undefined
}

/** Every kind of step by which a subscription is changed. */
const STEPS: { [Do in SubscriptionStep['do']]: true } = {
  cancel: true,
  go_on: true,
  collect: true,
  resume: true,
  void: true,
  release: true,
  change: true,
  schedule: true,
}

/** A client whose every request is noted. */
export function noting(apiKey: string, url: string | undefined) {
  const requests: Step['requests'] = []
  const line = Stripe.createNodeHttpClient()
  const httpClient: typeof line = {
    getClientName: () => line.getClientName(),
    async makeRequest(...of) {
      const answer = await line.makeRequest(...of)
      const [, , path, method] = of
      const note = { request: `${method} ${path}`, status: answer.getStatusCode(), message: undefined }
      requests.push(note)
      const toJSON = answer.toJSON.bind(answer)
      answer.toJSON = async () => {
        const body = (await toJSON()) as { error?: { message?: string } }
        return body.error === undefined ? body : (Object.assign(note, { message: body.error.message }), body)
      }
      return answer
    },
  }
  const at = url === undefined ? {} : { host: new URL(url).hostname, port: new URL(url).port }
  const stripe = new Stripe(apiKey, {
    apiVersion: API_VERSION,
    maxNetworkRetries: 0,
    timeout: 30_000,
    httpClient,
    ...at,
    ...(url === undefined ? {} : { protocol: 'http' as const }),
  })
  return { stripe, requests }
}

/** The names of all calls: a gateway that gets another has it here. */
export function callsOfGateways(): string[] {
  const nobody = new Stripe('sk_test_nobody')
  const gateways = {
    gateway: createGateway(nobody),
    changes: createChangeGateway(nobody),
    collection: createCollectionGateway(nobody),
    payments: createPaymentGateway(nobody),
    purchases: createPurchaseGateway(nobody),
    prices: createPriceGateway(nobody),
    events: createEventGateway(nobody),
  }
  const named = Object.entries(gateways).flatMap(([name, gateway]) =>
    Object.entries(gateway)
      .filter(([call, member]) => typeof member === 'function' && `${name}.${call}` !== 'changes.take')
      .map(([call]) => `${name}.${call}`),
  )
  return [...named, ...Object.keys(STEPS).map((step) => `changes.take ${step}`)].sort()
}

/**
 * Walks the road. What it makes bears a name of this walk; in a test account it is put away at the end.
 * @param url undefined: Stripe itself
 * @param wait lets Stripe's time go by
 */
export async function walk(
  target: Target,
  apiKey: string,
  url: string | undefined,
  wait: (ms: number) => Promise<unknown> = pause,
): Promise<Step[]> {
  const { stripe, requests } = noting(apiKey, url)
  const run = randomUUID().replaceAll('-', '').slice(0, 12)
  const offers = await offersOf(run)
  const made: Made = { customers: [], prices: [], products: Object.values(offers).map(productIdOf) }
  try {
    return await go(target, stripe, requests, run, offers, made, wait)
  } finally {
    if (target === 'account') await putAway(stripe, made)
  }
}

/** What a walk has made and must put away. */
interface Made {
  customers: string[]
  prices: string[]
  products: string[]
}

/** Stripe deletes customers with their subscriptions; prices and products can only be archived. */
async function putAway(stripe: Stripe, { customers, prices, products }: Made): Promise<void> {
  for (const each of customers) await stripe.customers.del(each)
  for (const each of prices) await stripe.prices.update(each, { active: false })
  // one that was not made yet is none to put away
  for (const each of products) await stripe.products.update(each, { active: false }).catch(() => undefined)
}

async function go(
  target: Target,
  stripe: Stripe,
  requests: Step['requests'],
  run: string,
  { month, larger, pack }: Awaited<ReturnType<typeof offersOf>>,
  made: Made,
  wait: (ms: number) => Promise<unknown>,
): Promise<Step[]> {
  const account = `acc_contract${run}`
  const [gateway, changes, collection] = [
    createGateway(stripe),
    createChangeGateway(stripe),
    createCollectionGateway(stripe),
  ]
  const [payments, purchases, prices, events] = [
    createPaymentGateway(stripe),
    createPurchaseGateway(stripe),
    createPriceGateway(stripe),
    createEventGateway(stripe),
  ]
  const steps: Step[] = []
  /** One call of a gateway. In the mock answers are samples: only what was asked counts, so a fallback goes on. */
  async function step<T>(call: string, act: () => Promise<T>, fallback: T): Promise<T> {
    const before = requests.length
    let failure: string | undefined
    let result = fallback
    try {
      result = await act()
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error)
    }
    steps.push({ call, requests: requests.slice(before), failure })
    return result
  }
  /** What the road needs and no gateway does: on its own in the mock, which has no state to prepare. */
  async function given<T>(act: () => Promise<T>, sample: NoInfer<T>): Promise<T> {
    return target === 'mock' ? sample : await act()
  }

  for (const offer of [month, larger, pack]) {
    await step('prices.createProduct', () => prices.createProduct(offer), undefined)
    const price = await step(
      'prices.createPrice',
      () => prices.createPrice(offer, productIdOf(offer)),
      undefined,
    )
    made.prices.push(price?.id ?? 'price_sample')
  }
  const [monthly = '', dearer = '', packPrice = ''] = made.prices
  await step('prices.products', () => prices.products([productIdOf(month)]), [])
  await step('prices.pricesByLookupKey', () => prices.pricesByLookupKey([month.lookupKey]), [])
  await step('prices.price', () => prices.price(monthly), undefined)
  await step(
    'prices.mendProduct',
    () => prices.mendProduct(productIdOf(month), { name: `Contract ${run}` }),
    undefined,
  )
  await step('prices.mendPrice', () => prices.mendPrice(monthly, { active: true }), undefined)

  const person = { email: 'contract@example.com', name: 'Contract' }
  const customer = await step(
    'gateway.createCustomer',
    () => gateway.createCustomer(account, 1, person),
    'cus_sample',
  )
  made.customers.push(customer)
  await step('gateway.hasCustomer', () => gateway.hasCustomer(customer), true)
  const method = await given(async () => {
    const { id } = await stripe.paymentMethods.attach('pm_card_visa', { customer })
    await stripe.customers.update(customer, { invoice_settings: { default_payment_method: id } })
    return id
  }, 'pm_sample')
  await step('payments.keptMethod', () => payments.keptMethod(customer), null)

  const startedAt = new Date(Date.now() - 60_000).toISOString()
  const attempt = `top_${run}`
  const charge = await step(
    'payments.charge',
    () =>
      payments.charge({
        account,
        ordinal: 1,
        attempt,
        customer,
        method,
        amountMinor: '1500',
        currency: 'usd',
        startedAt,
      }),
    { refused: 'not asked' },
  )
  const intent = 'id' in charge ? charge.id : 'pi_sample'
  await step('payments.chargeOf', () => payments.chargeOf({ customer, attempt, startedAt }), null)
  await step('payments.chargeNamed', () => payments.chargeNamed(intent, attempt), null)
  await step('payments.named', () => payments.named(intent), null)
  await step('collection.waitsForCustomer', () => collection.waitsForCustomer(intent), false)
  await step('purchases.pageOfPayment', () => purchases.pageOfPayment(intent), undefined)
  await step('purchases.packPayment', () => purchases.packPayment(intent, `ord_${run}`), undefined)

  const page = {
    account,
    customer,
    automaticTax: false,
    successUrl: 'https://example.com/done',
    cancelUrl: 'https://example.com/back',
    expiresAt: new Date(Date.now() + 2 * 3_600_000).toISOString(),
  }
  const opened = await step(
    'gateway.openCheckout',
    () => gateway.openCheckout({ ...page, order: `ord_s${run}`, price: monthly }),
    undefined,
  )
  await step('gateway.checkout', () => gateway.checkout(opened?.id ?? 'cs_sample'), undefined)
  const packOrder = { ...page, order: `ord_p${run}`, price: packPrice, quantity: 2, savesMethod: true }
  const packPage = await step('purchases.openPage', () => purchases.openPage(packOrder), undefined)
  const session = packPage?.id ?? 'cs_sample'
  await step('purchases.packPage', () => purchases.packPage(session), undefined)
  await step('purchases.closePage', () => purchases.closePage(session), undefined)
  await step(
    'collection.openPortal',
    () => collection.openPortal(customer, 'https://example.com', `cmd_${run}`),
    '',
  )

  const flexible = { billing_mode: { type: 'flexible' as const } }
  const subscription = await given(
    async () =>
      (await stripe.subscriptions.create({ customer, items: [{ price: monthly }], ...flexible })).id,
    'sub_sample',
  )
  await step('gateway.subscription', () => gateway.subscription(subscription), undefined)
  await step('gateway.invoices', () => gateway.invoices(subscription), [])
  await step(
    'gateway.liveSubscriptions',
    async () => (await gateway.liveSubscriptions().next()).value,
    undefined,
  )
  const { item, ends } = await given(
    async () => {
      const [first] = (await stripe.subscriptions.retrieve(subscription)).items.data
      return { item: first?.id ?? '', ends: first?.current_period_end ?? 0 }
    },
    { item: 'si_sample', ends: Math.floor(Date.now() / 1_000) + 30 * 86_400 },
  )
  const at = new Date(ends * 1_000).toISOString()
  const now = { priceId: monthly, quantity: 1 }
  const change = { do: 'change' as const, item, startsAnew: false, priceId: monthly, quantity: 2 }
  await step('changes.preview', () => changes.preview(subscription, change), undefined)
  let number = 0
  const take = (one: SubscriptionStep, of = subscription) =>
    step(`changes.take ${one.do}`, () => changes.take(of, one, `cmd_${run}${(number += 1)}`), undefined)
  await take({ do: 'cancel' })
  await take({ do: 'go_on', by: 'cancel_at_period_end' })
  await given(
    async () => void (await stripe.subscriptions.update(subscription, { cancel_at: ends })),
    undefined,
  )
  await take({ do: 'go_on', by: 'cancel_at' })
  await take(change)
  const next = { priceId: dearer, quantity: 2, interval: 'month' as const }
  await take({ do: 'schedule', schedule: null, at, now: { ...now, quantity: 2 }, next, startsAnew: false })
  const attached = () =>
    given(async () => {
      const found = await stripe.subscriptions.retrieve(subscription)
      return typeof found.schedule === 'string' ? found.schedule : (found.schedule?.id ?? '')
    }, 'sub_sched_sample')
  const schedule = await attached()
  await take({
    do: 'schedule',
    schedule,
    at,
    now: { ...now, quantity: 2 },
    next: { ...next, quantity: 1 },
    startsAnew: false,
  })
  await step('events.ownerNow', () => events.ownerNow('subscription_schedule.updated', schedule), null)
  await take({ do: 'release', schedule })
  await take({ do: 'schedule', schedule: null, at, now: { ...now, quantity: 2 }, next, startsAnew: false })
  const spent = await attached()
  await step('changes.letGo', () => changes.letGo(spent), undefined)
  await given(
    async () =>
      void (await stripe.subscriptions.update(subscription, { pause_collection: { behavior: 'void' } })),
    undefined,
  )
  await take({ do: 'collect' })

  const { unpaid, invoice } = await given(
    async () => {
      const { id, latest_invoice: latest } = await stripe.subscriptions.create({
        customer,
        items: [{ price: dearer }],
        payment_behavior: 'default_incomplete',
        ...flexible,
      })
      return { unpaid: id, invoice: typeof latest === 'string' ? latest : (latest?.id ?? '') }
    },
    { unpaid: 'sub_sample', invoice: 'in_sample' },
  )
  await step('events.ownerNow', () => events.ownerNow('invoice.paid', invoice), null)
  await take({ do: 'void', invoice }, unpaid)
  const paused = await given(async () => {
    const { id: poor } = await stripe.customers.create({ name: `Contract ${run} without a card` })
    made.customers.push(poor)
    const { id } = await stripe.subscriptions.create({
      customer: poor,
      items: [{ price: monthly }],
      trial_end: Math.floor(Date.now() / 1_000) + 60,
      trial_settings: { end_behavior: { missing_payment_method: 'pause' } },
      ...flexible,
    })
    await wait(61_000)
    for (let tries = 0; (await stripe.subscriptions.retrieve(id)).status !== 'paused'; tries += 1) {
      if (tries === 60) throw new Error('the trial did not end')
      await pause(1_000)
    }
    // what is resumed is paid by its invoice
    const card = await stripe.paymentMethods.attach('pm_card_visa', { customer: poor })
    await stripe.customers.update(poor, { invoice_settings: { default_payment_method: card.id } })
    return id
  }, 'sub_sample')
  await step('changes.preview', () => changes.preview(paused, { do: 'resume' }), undefined)
  await take({ do: 'resume' }, paused)

  const since = new Date(Date.now() - 3_600_000).toISOString()
  await step('events.page', () => events.page(since, null), { events: [], next: undefined })
  for (const [type, id] of [
    ['checkout.session.completed', session],
    ['customer.subscription.updated', subscription],
    ['payment_intent.succeeded', intent],
    ['customer.deleted', customer],
  ] as const)
    await step('events.ownerNow', () => events.ownerNow(type, id), null)

  return steps
}

/** Two plans of the built-in catalogue and a pack of it, under names of this walk. */
async function offersOf(
  run: string,
): Promise<{ month: CatalogPrice; larger: CatalogPrice; pack: CatalogPack }> {
  const catalog = parseCatalog(JSON.parse(await readFile('catalog.json', 'utf8')))
  const [month, larger] = catalog.prices
    .filter(({ interval, commitmentMonths }) => interval === 'month' && commitmentMonths === null)
    .map((price) => ({ ...price, plan: `${price.plan}_${run}`, lookupKey: `${price.lookupKey}.${run}` }))
  const [pack] = catalog.packs.map((each) => ({
    ...each,
    pack: `${each.pack}_${run}`,
    lookupKey: `${each.lookupKey}.${run}`,
  }))
  if (month === undefined || larger === undefined || pack === undefined)
    throw new Error('the built-in catalogue has no two plans and a pack')
  return { month, larger, pack }
}
