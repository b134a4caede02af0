/** The API over a database of its own, without a port: for tests that ask it things. Temporal is down unless given. */
import { randomUUID } from 'node:crypto'
import type { FastifyInstance, InjectOptions } from 'fastify'
// oxlint-disable-next-line import/no-named-as-default -- Stripe's CommonJS build has only the default
import Stripe from 'stripe'
import { buildApi } from '../../src/api/server.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createLogger } from '../../src/log.ts'
import { ensureApiKey, makeApiKey, SCOPES } from '../../src/store/api-key.ts'
import type { Reach } from '../../src/workflows/owner.ts'
import { assertConforms } from '../support/contract.ts'
import { createDatabase, type TestDatabase } from '../support/postgres.ts'

export const API_VERSION = '2026-10-28.endive'
export const SECRET = 'whsec_first_secret_of_the_tests'
export const ROLLED_SECRET = 'whsec_second_secret_while_rolling'

export interface Answer {
  status: number
  headers: Record<string, unknown>
  /** the body as it came */
  text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks at whatever came
  body: any
}

export interface ApiUnderTest {
  app: FastifyInstance
  database: TestDatabase
  /** has every scope */
  key: string
  /** every log line so far */
  lines: string[]
  get(url: string, headers?: Record<string, string>): Promise<Answer>
  /** POST with a fresh Idempotency-Key unless one is given */
  post(url: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  send(request: InjectOptions): Promise<Answer>
  /** a signed delivery of an event */
  deliver(event: unknown, more?: { secret?: string; atMs?: number; signature?: string }): Promise<Answer>
  close(): Promise<void>
}

/** @param options.beside another API process of the same installation: its database, its key */
export async function startApi(
  options: { reach?: Reach; livemode?: boolean; anywhere?: boolean; beside?: ApiUnderTest } = {},
): Promise<ApiUnderTest> {
  const { beside } = options
  const database = beside?.database ?? (await createDatabase())
  const key = beside?.key ?? makeApiKey()
  if (beside === undefined) await ensureApiKey(database.ownerUrl, key, SCOPES)
  const lines: string[] = []
  const app = await buildApi({
    pool: database.pool,
    reach: options.reach,
    webhookSecrets: [SECRET, ROLLED_SECRET],
    livemode: options.livemode ?? false,
    apiVersion: API_VERSION,
    metrics: createMetrics(),
    product: 'Product',
    anywhere: options.anywhere ?? false,
    log: createLogger('debug', { write: (line: string) => void lines.push(line) }),
  })

  async function send(request: InjectOptions): Promise<Answer> {
    const response = await app.inject(request)
    const json = String(response.headers['content-type'] ?? '').includes('json')
    const { method = 'GET', url } = request
    if (typeof url === 'string') {
      const { statusCode: status, headers, body: text } = response
      await assertConforms({ method, url, status, headers, text })
    }
    return {
      status: response.statusCode,
      headers: response.headers,
      text: response.body,
      body: json ? JSON.parse(response.body) : undefined,
    }
  }

  return {
    app,
    database,
    key,
    lines,
    send,
    get: (url, headers = {}) =>
      send({ method: 'GET', url, headers: { authorization: `Bearer ${key}`, ...headers } }),
    post: (url, body, headers = {}) =>
      send({
        method: 'POST',
        url,
        headers: {
          authorization: `Bearer ${key}`,
          'idempotency-key': randomUUID(),
          'content-type': 'application/json',
          ...headers,
        },
        payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
      }),
    deliver(event, { secret = SECRET, atMs = Date.now(), signature } = {}) {
      const payload = typeof event === 'string' ? event : JSON.stringify(event)
      return send({
        method: 'POST',
        url: '/webhooks/stripe',
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'stripe-signature': signature ?? sign(payload, secret, atMs),
        },
        payload,
      })
    },
    async close() {
      await app.close()
      if (beside === undefined) await database.drop()
    },
  }
}

/** The Stripe-Signature of a payload. */
export function sign(payload: string, secret = SECRET, atMs = Date.now()): string {
  return Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp: Math.floor(atMs / 1000) })
}

let events = 0

/** An event as Stripe sends it. */
export function stripeEvent(
  type: string,
  object: Record<string, unknown>,
  more: Record<string, unknown> = {},
) {
  events += 1
  return {
    id: `evt_test${events}`,
    object: 'event',
    type,
    api_version: API_VERSION,
    created: Math.floor(Date.now() / 1000),
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    data: { object },
    ...more,
  }
}

/** Puts credits into an account, as a paid plan would. */
export async function fund(database: TestDatabase, account: string, amount: string): Promise<void> {
  await database.owner.query(
    `select ledger_grant($1, $2, 'h', 'pack', $3, null, 100::smallint, null, null, null, 'system:sold', 'test', 'test', '{}')`,
    [account, randomUUID(), amount],
  )
}

/** Puts a price on sale. */
export async function sell(database: TestDatabase, plan: string, group = 'default'): Promise<void> {
  for (const interval of ['month', 'year']) {
    const terms = {
      priceId: `price_${plan}_${interval}`,
      lookupKey: `${plan}.${interval}.v1`,
      plan,
      planName: plan.toUpperCase(),
      group,
      interval,
      version: 'v1',
      credits: '1000',
      unitAmount: '2000',
      currency: 'usd',
      graceHours: 72,
      discountRule: 'full',
    }
    await database.owner.query(
      'insert into catalog_price (price_id, lookup_key, plan, interval, version, terms, on_sale) values ($1, $2, $3, $4, $5, $6, true)',
      [terms.priceId, terms.lookupKey, plan, interval, 'v1', JSON.stringify(terms)],
    )
  }
}

/** Writes a subscription's mirror, as its workflow would. */
export async function mirror(
  database: TestDatabase,
  more: { id: string; account: string; order?: string; status?: string },
) {
  await database.owner.query(
    `insert into subscription (id, account_id, order_id, role, plan, plan_group, interval, price_id, quantity, status,
       current_period_start, current_period_end, anchor, observed_at, created_at)
     values ($1, $2, $3, 'primary', 'pro', 'default', 'month', 'price_pro_month', 1, $4, now(), now() + interval '1 month',
       now(), now(), now())`,
    [more.id, more.account, more.order ?? null, more.status ?? 'active'],
  )
}
