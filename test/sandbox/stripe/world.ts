// What the simulator's tests share: a simulator on a hand-held clock, the official client, a webhook receiver.
import http from 'node:http'
import type { AddressInfo } from 'node:net'
// oxlint-disable-next-line import/no-named-as-default -- the named export is a type only under CommonJS
import Stripe from 'stripe'
import {
  startStripeSandbox,
  type StripeSandbox,
  type StripeSandboxOptions,
} from '../../../src/sandbox/stripe/index.ts'

export const VERSION = '2026-10-28.endive'

export function at(iso: string): number {
  return Date.parse(iso)
}

export function seconds(iso: string): number {
  return at(iso) / 1000
}

export interface Bench {
  sandbox: StripeSandbox
  stripe: Stripe
  /** Moves business time, deadline by deadline, delivering as it goes. */
  to: (iso: string | number) => Promise<void>
  now: () => number
  control: (method: string, path: string, body?: unknown) => Promise<{ status: number; body: Json }>
  close: () => Promise<void>
}

// oxlint-disable-next-line typescript/no-explicit-any
export type Json = Record<string, any>

const open: (() => Promise<void>)[] = []

/** Closes what the test opened, whatever its end. */
export async function closeAll(): Promise<void> {
  for (const close of open.splice(0).reverse()) await close()
}

export function client(url: string, key = 'sk_test_perennial', config: Json = {}): Stripe {
  const { hostname, port } = new URL(url)
  return new Stripe(key, {
    host: hostname,
    port,
    protocol: 'http',
    maxNetworkRetries: 0,
    telemetry: false,
    ...config,
  })
}

export async function bench(start: string, options: Partial<StripeSandboxOptions> = {}): Promise<Bench> {
  let ms = at(start)
  const sandbox = await startStripeSandbox({ port: 0, seed: 1, now: () => ms, ...options })
  let closed = false
  const close = async (): Promise<void> => {
    if (!closed) await sandbox.close()
    closed = true
  }
  open.push(close)
  return {
    sandbox,
    stripe: client(sandbox.url),
    now: () => ms,
    close,
    async to(target) {
      const end = typeof target === 'number' ? target : at(target)
      for (
        let next = sandbox.nextDeadline();
        next !== undefined && next <= end;
        next = sandbox.nextDeadline()
      ) {
        ms = Math.max(ms, next)
        sandbox.advanceTo(ms)
        await sandbox.deliverDue()
      }
      ms = end
      sandbox.advanceTo(ms)
      await sandbox.deliverDue()
    },
    async control(method, path, body) {
      const answer = await fetch(`${sandbox.url}/_sandbox/${path}`, {
        method,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      return { status: answer.status, body: (await answer.json()) as Json }
    },
  }
}

export interface Received {
  headers: http.IncomingHttpHeaders
  raw: string
  event: Stripe.Event
}

export interface Receiver {
  url: string
  got: Received[]
  /** The status to answer; a function decides per event. */
  answer: (event: Stripe.Event) => number
}

export async function receiver(): Promise<Receiver> {
  const self: Receiver = { url: '', got: [], answer: () => 200 }
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const raw = Buffer.concat(chunks).toString()
      const event = JSON.parse(raw) as Stripe.Event
      self.got.push({ headers: request.headers, raw, event })
      response.writeHead(self.answer(event)).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  self.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  open.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return self
}

export async function plan(
  stripe: Stripe,
  interval: 'month' | 'year' = 'month',
  amount = 2000,
): Promise<Stripe.Price> {
  const product = await stripe.products.create({ name: `Pro ${interval}` })
  return stripe.prices.create({
    product: product.id,
    currency: 'usd',
    unit_amount: amount,
    recurring: { interval },
  })
}

/** A customer whose default card is the named one. */
export async function payer(stripe: Stripe, card = 'pm_card_visa'): Promise<Stripe.Customer> {
  const customer = await stripe.customers.create({ email: 'ada@example.com', name: 'Ada' })
  const method = await stripe.paymentMethods.attach(card, { customer: customer.id })
  return stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: method.id } })
}

export async function subscribed(
  stripe: Stripe,
  interval: 'month' | 'year' = 'month',
  more: Partial<Stripe.SubscriptionCreateParams> = {},
): Promise<Stripe.Subscription> {
  const [customer, price] = [await payer(stripe), await plan(stripe, interval)]
  return stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id }], ...more })
}

export async function types(stripe: Stripe, since = 0): Promise<string[]> {
  const events = await stripe.events.list({ limit: 100, created: { gte: since } })
  return events.data.map((event) => event.type).reverse()
}

/** A one-time price. */
export async function pack(stripe: Stripe, amount: number, currency = 'usd'): Promise<Stripe.Price> {
  return stripe.prices.create({ currency, unit_amount: amount, product_data: { name: `Pack of ${amount}` } })
}

/** An open Checkout session for so many of a price, in payment mode if nothing else is said. */
export async function sessionFor(
  stripe: Stripe,
  price: Stripe.Price,
  quantity: number,
  more: Partial<Stripe.Checkout.SessionCreateParams> = {},
): Promise<Stripe.Checkout.Session> {
  return stripe.checkout.sessions.create({
    mode: 'payment',
    line_items: [{ price: price.id, quantity }],
    success_url: 'https://example.com/ok',
    ...more,
  })
}
