/** Automatic top-up: what accounts have asked for, and who is low. The workflow's side is `top-up-state.ts`. */
import type { TopUpAttempt, TopUpStop } from '../domain/top-up.ts'
import type { Queryable } from './connect.ts'

export interface TopUpInput {
  pack: string
  /** credits */
  threshold: string
  monthlyMaxMinor: string
  /** null: the catalogue's */
  currency: string | null
  returnUrl: string
}

/** Sets it going, or going again: what was counted before counts no more. Call it with the account locked. */
export async function enableTopUp(client: Queryable, account: string, input: TopUpInput): Promise<void> {
  await client.query(
    // due at once: the account may be low already
    `insert into top_up (account_id, enabled, pack, threshold, monthly_max_minor, currency, return_url, deadline_at)
     values ($1, true, $2, $3, $4, $5, $6, business_now())
     on conflict (account_id) do update
        set enabled = true, pack = $2, threshold = $3, monthly_max_minor = $4, currency = $5, return_url = $6,
            declines = 0,
            generation = top_up.generation + 1, next_attempt_at = null, stopped = null,
            deadline_at = business_now(), updated_at = business_now()`,
    [account, input.pack, input.threshold, input.monthlyMaxMinor, input.currency, input.returnUrl],
  )
}

/** Ends it. A charge that is under way is not called back. @returns false when there is none */
export async function disableTopUp(client: Queryable, account: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `update top_up set enabled = false, stopped = null, updated_at = business_now() where account_id = $1`,
    [account],
  )
  return rowCount === 1
}

export interface TopUpRow {
  account: string
  enabled: boolean
  pack: string
  threshold: string
  monthly_max_minor: string
  /** null: before a catalogue was put in force */
  currency: string | null
  /** of this calendar month: charged, or about to be */
  month_minor: string
  return_url: string
  declines: number
  next_attempt_at: Date | null
  stopped: TopUpStop | null
  updated_at: Date
  /** the last attempt */
  attempt: string | null
  attempt_state: TopUpAttempt['state'] | null
  attempt_payment: string | null
  attempt_minor: string | null
  attempt_currency: string | null
  attempt_code: string | null
  attempt_granted: string | null
  attempt_at: Date | null
}

/** What it is charged in, of `top_up t`. */
export const CURRENCY = 'coalesce(t.currency, (select currency from catalog))'

/** What is charged, or may still be, in its currency in the calendar month that runs; of `top_up t`. */
export const MONTH_MINOR = `(select coalesce(sum(m.amount_minor), 0) from top_up_attempt m
   where m.account_id = t.account_id and m.currency = ${CURRENCY} and m.state in ('charging', 'processing', 'succeeded')
     and m.started_at >= date_trunc('month', business_now(), 'UTC'))`

/** What an account has asked for, and how it goes; undefined when it never asked. */
export async function readTopUp(database: Queryable, account: string): Promise<TopUpRow | undefined> {
  const { rows } = await database.query<TopUpRow>(
    `select t.account_id as account, t.enabled, t.pack, t.threshold, t.monthly_max_minor, t.return_url, t.declines,
            t.next_attempt_at, t.stopped, t.updated_at, ${MONTH_MINOR} as month_minor, ${CURRENCY} as currency, a.id as attempt,
            a.state as attempt_state, a.payment_id as attempt_payment, a.amount_minor as attempt_minor,
            a.currency as attempt_currency, a.code as attempt_code, a.granted as attempt_granted,
            a.started_at as attempt_at
       from top_up t left join lateral (
         select * from top_up_attempt where account_id = t.account_id order by ordinal desc limit 1) a on true
      where t.account_id = $1`,
    [account],
  )
  return rows[0]
}

/** Thresholds of the accounts that have one in force, in credits. */
export async function thresholds(database: Queryable, limit: number): Promise<Map<string, string>> {
  const { rows } = await database.query<{ account_id: string; threshold: string }>(
    'select account_id, threshold from top_up where enabled order by account_id limit $1',
    [limit],
  )
  return new Map(rows.map((row) => [row.account_id, row.threshold]))
}

/**
 * Accounts that are low, or may be once what is due has lapsed, and have nobody who waits for something: their workflow
 * is to look. From `after` on, in order.
 */
export async function lowAccounts(database: Queryable, after: string, limit: number): Promise<string[]> {
  const { rows } = await database.query<{ account_id: string }>(
    `select t.account_id from top_up t join wallet w on w.account_id = t.account_id
      where t.enabled and t.account_id > $1 and (t.deadline_at is null or t.deadline_at <= business_now())
        and (w.balance - w.held < t.threshold or w.next_lapse_at <= business_now())
      order by t.account_id limit $2`,
    [after, limit],
  )
  return rows.map((row) => row.account_id)
}
