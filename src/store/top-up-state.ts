/** The workflow's side of automatic top-up: what it decides by, its attempts, and what came of them. */
import type { Instant } from '../domain/calendar.ts'
import type { PackTerms } from '../domain/plan.ts'
import type { TopUpAttempt, TopUpObservation, TopUpPlan, TopUpSettings } from '../domain/top-up.ts'
import type { Client, Queryable } from './connect.ts'
import { readOrderFacts } from './purchase.ts'
import { CURRENCY, MONTH_MINOR } from './top-up.ts'

/** An attempt with what it takes to ask Stripe. */
export interface AttemptRow extends TopUpAttempt {
  account: string
  ordinal: number
  customer: string
  method: string
  amountMinor: string
  currency: string
  payment: string | null
}

/** Everything but what Stripe says. */
export type TopUpFacts = Omit<TopUpObservation, 'attempt' | 'charge' | 'method'>

/** What Postgres knows; undefined when the account never asked for it. */
export async function readTopUpFacts(
  database: Queryable,
  account: string,
): Promise<(TopUpFacts & { customer: string | null; returnUrl: string }) | undefined> {
  const { rows } = await database.query<{
    now: Date
    month_ends: Date
    enabled: boolean
    pack: string
    threshold: string
    monthly_max_minor: string
    generation: number
    declines: number
    next_attempt_at: Date | null
    month_minor: string
    currency: string | null
    available: string
    customer: string | null
    return_url: string
  }>(
    `select clock.now, (date_trunc('month', clock.now at time zone 'UTC') + interval '1 month') at time zone 'UTC'
              as month_ends,
            t.enabled, t.pack, t.threshold, t.monthly_max_minor, t.generation, t.declines, t.next_attempt_at,
            ${MONTH_MINOR} as month_minor, ${CURRENCY} as currency, b.available, a.stripe_customer_id as customer, t.return_url
       from (select business_now() as now) clock, top_up t
       join account a on a.id = t.account_id cross join lateral ledger_balance(t.account_id) b
      where t.account_id = $1`,
    [account],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  const settings: TopUpSettings = {
    enabled: row.enabled,
    pack: row.pack,
    threshold: row.threshold,
    monthlyMaxMinor: row.monthly_max_minor,
    currency: row.currency,
    generation: row.generation,
    declines: row.declines,
    nextAttemptAt: row.next_attempt_at?.toISOString() ?? null,
  }
  return {
    at: row.now.toISOString(),
    account,
    settings,
    available: row.available,
    order: await readOrderFacts(database, account, row.pack, row.currency ?? undefined),
    monthMinor: row.month_minor,
    monthEndsAt: row.month_ends.toISOString(),
    customer: row.customer,
    returnUrl: row.return_url,
  }
}

/** The attempt of this id; the one in flight when none is named. */
export async function readAttempt(
  database: Queryable,
  account: string,
  id: string | null = null,
): Promise<AttemptRow | undefined> {
  const { rows } = await database.query<{
    id: string
    ordinal: number
    generation: number
    state: TopUpAttempt['state']
    terms: PackTerms
    started_at: Date
    code: string | null
    customer: string
    payment_method: string
    amount_minor: string
    currency: string
    payment_id: string | null
  }>(
    `select t.id, t.ordinal, t.generation, t.state, k.terms, t.started_at, t.code, t.customer_id as customer,
            t.payment_method, t.amount_minor, t.currency, t.payment_id
       from top_up_attempt t join catalog_price k on k.price_id = t.price_id
      where t.account_id = $1 and case when $2::text is null then t.ended_at is null else t.id = $2 end`,
    [account, id],
  )
  const row = rows[0]
  if (row === undefined) return undefined
  return {
    account,
    id: row.id,
    ordinal: row.ordinal,
    generation: row.generation,
    state: row.state,
    terms: row.terms,
    startedAt: row.started_at.toISOString(),
    refused: row.code,
    customer: row.customer,
    method: row.payment_method,
    amountMinor: row.amount_minor,
    currency: row.currency,
    payment: row.payment_id,
  }
}

/** Payments, of these, that no attempt is known by that is in flight or was granted for: what they are, only Stripe knows. */
export async function unknownPayments(
  database: Queryable,
  account: string,
  payments: string[],
): Promise<string[]> {
  if (payments.length === 0) return []
  const { rows } = await database.query<{ payment: string }>(
    `select payment from unnest($2::text[]) as payment
      where not exists (select 1 from top_up_attempt t
                         where t.account_id = $1 and t.payment_id = payment and t.state not in ('declined', 'failed'))`,
    [account, [...new Set(payments)]],
  )
  return rows.map((row) => row.payment)
}

/**
 * Writes an attempt before Stripe is asked. Call it with the account locked. The database has one in flight at most.
 * @returns false when one is in flight already
 */
export async function insertAttempt(
  client: Client,
  attempt: {
    id: string
    account: string
    generation: number
    terms: PackTerms
    amountMinor: string
    customer: string
    method: string
  },
): Promise<boolean> {
  const { id, account, generation, terms, amountMinor, customer, method } = attempt
  const { rowCount } = await client.query(
    `insert into top_up_attempt (id, account_id, ordinal, generation, price_id, amount_minor, currency, customer_id,
                                 payment_method)
     select $1, $2, coalesce((select max(ordinal) from top_up_attempt where account_id = $2), 0) + 1, $3, $4, $5, $6, $7,
            $8
     on conflict (account_id) where state in ('charging', 'processing') do nothing`,
    [id, account, generation, terms.priceId, amountMinor, terms.currency, customer, method],
  )
  // due at once: whoever finds it goes on with it
  await client.query('update top_up set deadline_at = business_now() where account_id = $1', [account])
  return rowCount === 1
}

/** Notes what Stripe answered. What is over stays as it is. */
export async function keepCharge(
  database: Queryable,
  attempt: string,
  charge: { payment: string | null; code: string | null; processing: boolean },
): Promise<void> {
  await database.query(
    `update top_up_attempt
        set payment_id = coalesce($2, payment_id), code = $3,
            state = case when $4 then 'processing' else state end
      where id = $1 and ended_at is null`,
    [attempt, charge.payment, charge.code, charge.processing],
  )
}

/** Ends an attempt, once. Paid is paid, also when it had been taken for declined. @returns whether it ended by this */
export async function endAttempt(
  client: Queryable,
  attempt: string,
  end: {
    state: 'succeeded' | 'declined' | 'failed'
    payment?: string | null
    code?: string
    granted?: string
  },
): Promise<boolean> {
  const { rowCount } = await client.query(
    `update top_up_attempt
        set state = $2, payment_id = coalesce($3, payment_id), code = $4, granted = $5, ended_at = business_now()
      where id = $1 and (ended_at is null or ($2 = 'succeeded' and state <> 'succeeded'))`,
    [attempt, end.state, end.payment ?? null, end.code ?? null, end.granted ?? null],
  )
  return rowCount === 1
}

/** Notes when it looks again, and what has been counted. */
export async function keepTopUp(
  client: Queryable,
  account: string,
  generation: number,
  state: {
    deadline: Instant | null
    /** absent: as before */
    declines?: number
    nextAttemptAt?: Instant | null
    /** why it ends by itself */
    stopped?: Extract<TopUpPlan, { step: 'stop' }>['reason']
  },
): Promise<void> {
  await client.query(
    `update top_up
        set deadline_at = $3,
            declines = case when generation = $2 then coalesce($4, declines) else declines end,
            next_attempt_at = case when generation = $2 and $4::integer is not null then $5 else next_attempt_at end,
            enabled = enabled and not (generation = $2 and $6::text is not null),
            stopped = case when generation = $2 and enabled then coalesce($6, stopped) else stopped end
      where account_id = $1`,
    [
      account,
      generation,
      state.deadline,
      state.declines ?? null,
      state.nextAttemptAt ?? null,
      state.stopped ?? null,
    ],
  )
}
