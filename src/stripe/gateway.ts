/**
 * The few calls we make to Stripe, each with a key made from what it makes. Owns the pinned API version and turns
 * Stripe's objects into facts: money as strings, times as instants. It decides nothing.
 */
import Stripe from 'stripe'
import type { Instant } from '../domain/calendar.ts'
import { stripeKey } from '../domain/id.ts'
import type { InvoiceFacts } from '../domain/subscription-facts.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { idOf, instant, madeSince, METADATA } from './fact.ts'
import type { HttpClient } from './edge.ts'
import { invoiceFacts, type StripeSubscription, subscriptionFacts } from './subscription-facts.ts'

/** The API version this code was written against. Webhook endpoints are created with it. */
export const API_VERSION = '2026-10-28.endive'

/** Whether a key, secret or restricted, is one of the live mode. */
export function isLiveKey(apiKey: string): boolean {
  return /^[sr]k_live_/.test(apiKey)
}

/**
 * A client with time-outs set. The client's own retries are off: Temporal retries, with the same key, and shows it.
 * @param sandboxUrl the local simulator; never with a live key
 * @param maxNetworkRetries for who works without Temporal
 * @param door what asks the fleet before each request; without it nobody is asked
 */
export function stripeClient(
  apiKey: string,
  sandboxUrl?: string,
  maxNetworkRetries = 0,
  door?: HttpClient,
): Stripe {
  const settings: Stripe.StripeConfig = {
    apiVersion: API_VERSION,
    maxNetworkRetries,
    timeout: 15_000,
    ...(door && { httpClient: door }),
  }
  if (sandboxUrl === undefined) return new Stripe(apiKey, settings)
  if (!/^(sk|rk)_test_/.test(apiKey)) throw new Error('only a test key may reach the Stripe sandbox')
  const { hostname, port } = new URL(sandboxUrl)
  return new Stripe(apiKey, { ...settings, host: hostname, port, protocol: 'http' })
}

export interface CheckoutFacts {
  id: string
  /** open, complete, expired */
  status: string
  url: string | null
  subscription: string | null
  customer: string | null
  expiresAt: Instant
}

export interface CheckoutOrder {
  order: string
  account: string
  customer: string
  price: string
  automaticTax: boolean
  successUrl: string
  cancelUrl: string
  expiresAt: Instant
}

export type Gateway = ReturnType<typeof createGateway>

export function createGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
  return {
    /** The subscription as it is now; undefined when Stripe has none of that id. */
    async subscription(id: string): Promise<StripeSubscription | undefined> {
      const found = await unlessMissing(stripe.subscriptions.retrieve(id, { expand: ['schedule'] }))
      return found === undefined ? undefined : subscriptionFacts(found)
    },

    /** Every invoice of a subscription, oldest first, with all its lines. */
    async invoices(subscription: string): Promise<InvoiceFacts[]> {
      const invoices: InvoiceFacts[] = []
      const pages = stripe.invoices.list({ subscription, limit: 100, expand: ['data.payments'] })
      for await (const invoice of pages) {
        const lines = [...invoice.lines.data]
        if (invoice.lines.has_more) {
          lines.length = 0
          for await (const line of stripe.invoices.listLineItems(invoice.id, { limit: 100 })) lines.push(line)
        }
        invoices.push(invoiceFacts(invoice, lines))
      }
      return invoices.reverse()
    },

    /** Subscriptions that Stripe may still bill, page by page. */
    async *liveSubscriptions(): AsyncGenerator<StripeSubscription> {
      for await (const subscription of stripe.subscriptions.list({ limit: 100 }))
        yield subscriptionFacts(subscription)
    },

    /** Whether Stripe has this customer: not when it was deleted, and not when it never was. */
    async hasCustomer(id: string): Promise<boolean> {
      const found = await unlessMissing(stripe.customers.retrieve(id))
      return found !== undefined && !found.deleted
    },

    /** Makes the account's customer, once. Personal data goes to Stripe and is kept nowhere on the way. */
    async createCustomer(
      account: string,
      ordinal: number,
      person: { email: string | null; name: string | null },
    ): Promise<string> {
      const params: Stripe.CustomerCreateParams = {
        metadata: { [METADATA.account]: account },
        ...(person.email === null ? {} : { email: person.email }),
        ...(person.name === null ? {} : { name: person.name }),
      }
      const customer = await calls.make({
        key: stripeKey.customer(account, ordinal),
        kind: 'customer',
        subject: account,
        send: (idempotencyKey) => stripe.customers.create(params, { idempotencyKey }),
        // one that was deleted since is found out by whoever uses it
        read: async (id) => ({ id }),
        find: async (since) => {
          for await (const each of stripe.customers.list({ created: { gte: madeSince(since) }, limit: 100 }))
            if (each.metadata[METADATA.account] === account) return each
          return undefined
        },
      })
      return customer.id
    },

    /** Opens the hosted page of an order, once. */
    async openCheckout(order: CheckoutOrder): Promise<CheckoutFacts> {
      const metadata = { [METADATA.account]: order.account, [METADATA.order]: order.order }
      return await makePage(stripe, calls, order, {
        mode: 'subscription',
        line_items: [{ price: order.price, quantity: 1 }],
        metadata,
        subscription_data: { metadata, billing_mode: { type: 'flexible' } },
      })
    },

    async checkout(session: string): Promise<CheckoutFacts | undefined> {
      const found = await unlessMissing(stripe.checkout.sessions.retrieve(session))
      return found === undefined ? undefined : checkoutFacts(found)
    },
  }
}

/** Makes the hosted page of an order: one, found again by the order that it names. */
export async function makePage(
  stripe: Stripe,
  calls: Calls,
  order: CheckoutOrder,
  params: Stripe.Checkout.SessionCreateParams,
): Promise<CheckoutFacts> {
  const page: Stripe.Checkout.SessionCreateParams = {
    ...params,
    ui_mode: 'hosted_page',
    customer: order.customer,
    client_reference_id: order.order,
    success_url: order.successUrl,
    cancel_url: order.cancelUrl,
    expires_at: Math.floor(Date.parse(order.expiresAt) / 1000),
    ...taxOf(order),
  }
  const session = await calls.make({
    key: stripeKey.checkout(order.order),
    kind: 'checkout',
    subject: order.order,
    send: (idempotencyKey) => stripe.checkout.sessions.create(page, { idempotencyKey }),
    read: (id) => stripe.checkout.sessions.retrieve(id),
    find: async (since) => {
      const created = { gte: madeSince(since) }
      for await (const each of stripe.checkout.sessions.list({
        customer: order.customer,
        created,
        limit: 100,
      }))
        if (each.client_reference_id === order.order) return each
      return undefined
    },
  })
  return checkoutFacts(session)
}

/** Has Stripe reckon tax by the address that the page asks for, and keep the address for renewals. */
export function taxOf({ automaticTax }: { automaticTax: boolean }): Stripe.Checkout.SessionCreateParams {
  return automaticTax ? { automatic_tax: { enabled: true }, customer_update: { address: 'auto' } } : {}
}

/** Whether Stripe refused because it has no such customer: it was deleted. */
export function lacksCustomer(error: unknown): boolean {
  return (
    error instanceof Stripe.errors.StripeError &&
    error.code === 'resource_missing' &&
    error.param === 'customer'
  )
}

/** What Stripe answers; undefined when it has none of that id. */
export async function unlessMissing<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (error instanceof Stripe.errors.StripeError && error.code === 'resource_missing') return undefined
    throw error
  }
}

export function checkoutFacts(session: Stripe.Checkout.Session): CheckoutFacts {
  return {
    id: session.id,
    status: session.status ?? 'open',
    url: session.url,
    subscription: idOf(session.subscription),
    customer: idOf(session.customer),
    expiresAt: instant(session.expires_at),
  }
}
