/**
 * The shapes of the tables, for types and for ordinary queries. The migrations make the tables; a test compares the
 * two. Owns no query. The ledger's tables are not here: only its functions touch them.
 */
import { sql } from 'drizzle-orm'
import { DrizzleQueryError } from 'drizzle-orm/errors'
import { drizzle } from 'drizzle-orm/node-postgres'
import {
  bigint,
  boolean,
  customType,
  integer,
  jsonb,
  numeric,
  pgTable,
  text,
  timestamp,
} from 'drizzle-orm/pg-core'
import type { Dunning, Limits } from '../domain/catalog.ts'
import type { OrderState } from '../domain/checkout.ts'
import type { Kept, Terms } from '../domain/plan.ts'
import type { OwedPayment, PendingChange } from '../domain/subscription-facts.ts'
import type { Scope } from './api-key.ts'
import type { CommandOperation } from './command.ts'
import type { Client, Queryable } from './connect.ts'

/** A query builder over a pool, or over a client inside a transaction. */
export function orm(database: Queryable) {
  return drizzle({ client: database as Client })
}

/**
 * Runs a built query. An error of Postgres comes as the driver threw it: drizzle's own quotes every parameter in its
 * message, which would carry personal data into logs and histories (law 13).
 */
export async function run<T>(query: PromiseLike<T>): Promise<T> {
  try {
    return await query
  } catch (error) {
    throw error instanceof DrizzleQueryError ? (error.cause ?? new Error('a query failed')) : error
  }
}

/** A flat set of texts: a caller's metadata, or ids minted by us and by Stripe. */
export type Texts = Record<string, string>

const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' })
const businessTime = (name: string) => instant(name).notNull().default(sql`business_now()`)
const machineTime = (name: string) => instant(name).notNull().default(sql`clock_timestamp()`)
const credits = (name: string) => numeric(name, { precision: 24, scale: 8 })
const serial = () => bigint('id', { mode: 'bigint' }).primaryKey().generatedAlwaysAsIdentity()
const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })

export const account = pgTable('account', {
  id: text('id').primaryKey(),
  createdAt: businessTime('created_at'),
  stripeCustomerId: text('stripe_customer_id'),
})

/** The only table of personal data; `reply` repeats what was said of it. */
export const customer = pgTable('customer', {
  accountId: text('account_id').primaryKey(),
  externalId: text('external_id'),
  email: text('email'),
  name: text('name'),
  metadata: jsonb('metadata').$type<Texts>().notNull().default({}),
})

export const apiKey = pgTable('api_key', {
  id: text('id').primaryKey(),
  hash: bytea('hash').notNull(),
  scopes: text('scopes').array().$type<Scope[]>().notNull(),
  name: text('name').notNull(),
  createdAt: machineTime('created_at'),
  revokedAt: instant('revoked_at'),
})

export const catalogPrice = pgTable('catalog_price', {
  priceId: text('price_id').primaryKey(),
  lookupKey: text('lookup_key').notNull(),
  plan: text('plan').notNull(),
  interval: text('interval').$type<'month' | 'year'>(),
  version: text('version').notNull(),
  terms: jsonb('terms').$type<Kept>().notNull(),
  onSale: boolean('on_sale').notNull().default(false),
  kind: text('kind').$type<Terms['kind']>().notNull().default('plan'),
  commitmentMonths: integer('commitment_months'),
})

export const catalog = pgTable('catalog', {
  onlyRow: boolean('only_row').primaryKey().default(true),
  version: text('version').notNull(),
  currency: text('currency').notNull(),
  limits: jsonb('limits').$type<Limits>().notNull(),
  automaticTax: boolean('automatic_tax').notNull().default(false),
  dunning: jsonb('dunning').$type<Dunning>().notNull().default({ reminderDays: [] }),
})

export const checkout = pgTable('checkout', {
  id: text('id').primaryKey(),
  accountId: text('account_id').notNull(),
  plan: text('plan').notNull(),
  interval: text('interval').$type<'month' | 'year'>(),
  planGroup: text('plan_group'),
  priceId: text('price_id'),
  successUrl: text('success_url').notNull(),
  cancelUrl: text('cancel_url').notNull(),
  state: text('state').$type<OrderState>().notNull().default('opening'),
  sessionId: text('session_id'),
  url: text('url'),
  subscriptionId: text('subscription_id'),
  metadata: jsonb('metadata').$type<Texts>().notNull().default({}),
  expiresAt: instant('expires_at'),
  deadlineAt: instant('deadline_at'),
  createdAt: businessTime('created_at'),
  kind: text('kind').$type<'plan' | 'pack'>().notNull().default('plan'),
  quantity: integer('quantity').notNull().default(1),
  amountMinor: bigint('amount_minor', { mode: 'bigint' }),
  currency: text('currency'),
  savesMethod: boolean('saves_method').notNull().default(false),
  granted: credits('granted'),
  paymentId: text('payment_id'),
  paidAt: instant('paid_at'),
  orderedAt: machineTime('ordered_at'),
})

export const subscription = pgTable('subscription', {
  id: text('id').primaryKey(),
  accountId: text('account_id').notNull(),
  orderId: text('order_id'),
  role: text('role').$type<'primary' | 'duplicate' | 'fallback'>().notNull(),
  plan: text('plan'),
  planGroup: text('plan_group').notNull(),
  interval: text('interval').$type<'month' | 'year'>(),
  priceId: text('price_id'),
  quantity: integer('quantity').notNull(),
  status: text('status').notNull(),
  currentPeriodStart: instant('current_period_start'),
  currentPeriodEnd: instant('current_period_end'),
  anchor: instant('anchor').notNull(),
  cancelAt: instant('cancel_at'),
  endedAt: instant('ended_at'),
  deadlineAt: instant('deadline_at'),
  attention: text('attention'),
  observedAt: instant('observed_at').notNull(),
  createdAt: instant('created_at').notNull(),
  metadata: jsonb('metadata').$type<Texts>().notNull().default({}),
  keptBy: text('kept_by'),
  pendingChange: jsonb('pending_change').$type<PendingChange>(),
  paused: boolean('paused').notNull().default(false),
  payment: jsonb('payment').$type<OwedPayment>(),
  news: integer('news').notNull().default(0),
})

export const entitlement = pgTable('entitlement', {
  key: text('key').primaryKey(),
  accountId: text('account_id').notNull(),
  subscriptionId: text('subscription_id').notNull(),
  paymentId: text('payment_id').notNull(),
  amount: credits('amount').notNull(),
  dueAt: instant('due_at').notNull(),
  periodEnd: instant('period_end').notNull(),
  expiresAt: instant('expires_at'),
  source: jsonb('source').$type<Texts>().notNull(),
  grantedAt: instant('granted_at'),
  carry: numeric('carry').default('0'),
  cut: credits('cut').notNull().default('0'),
})

export const payment = pgTable('payment', {
  id: text('id').primaryKey(),
  accountId: text('account_id').notNull(),
  subscriptionId: text('subscription_id'),
  invoiceId: text('invoice_id'),
  amountMinor: bigint('amount_minor', { mode: 'bigint' }).notNull(),
  currency: text('currency').notNull(),
  paidAt: instant('paid_at').notNull(),
  orderId: text('order_id'),
  topUpId: text('top_up_id'),
})

export const inbox = pgTable('processed_webhook_events', {
  eventId: text('event_id').primaryKey(),
  type: text('type').notNull(),
  apiVersion: text('api_version'),
  livemode: boolean('livemode').notNull(),
  objectId: text('object_id'),
  owner: text('owner'),
  payload: jsonb('payload').notNull(),
  createdAt: instant('created_at').notNull(),
  receivedAt: machineTime('received_at'),
  signalledAt: instant('signalled_at'),
  settledAt: instant('settled_at'),
  wakes: integer('wakes').notNull().default(0),
  attempts: integer('attempts').notNull().default(0),
  nextAttemptAt: machineTime('next_attempt_at'),
  parkedAt: instant('parked_at'),
  parkedReason: text('parked_reason'),
})

export const command = pgTable('command', {
  id: text('id').primaryKey(),
  scope: text('scope').notNull(),
  operation: text('operation').$type<CommandOperation>().notNull(),
  key: text('key').notNull(),
  requestHash: text('request_hash').notNull(),
  owner: text('owner'),
  input: jsonb('input').$type<Texts>().notNull(),
  state: text('state').$type<'pending' | 'done' | 'refused'>().notNull().default('pending'),
  statusCode: integer('status_code'),
  result: jsonb('result').$type<Record<string, unknown>>(),
  attempts: integer('attempts').notNull().default(0),
  nextAttemptAt: machineTime('next_attempt_at'),
  createdAt: machineTime('created_at'),
  finishedAt: instant('finished_at'),
})

/** What a command was answered, byte for byte. Erasable: it may repeat personal data. */
export const reply = pgTable('reply', {
  commandId: text('command_id').primaryKey(),
  accountId: text('account_id'),
  statusCode: integer('status_code').notNull(),
  body: text('body').notNull(),
  createdAt: machineTime('created_at'),
})

export const dutyRun = pgTable('duty_run', {
  id: serial(),
  duty: text('duty').notNull(),
  startedAt: machineTime('started_at'),
  finishedAt: instant('finished_at'),
  result: jsonb('result'),
})

export const alert = pgTable('alert', {
  id: serial(),
  kind: text('kind').notNull(),
  subject: text('subject').notNull(),
  detail: text('detail').notNull(),
  times: integer('times').notNull().default(1),
  raisedAt: machineTime('raised_at'),
  lastAt: machineTime('last_at'),
  resolvedAt: instant('resolved_at'),
})
