/**
 * Holds: credits set aside for work whose price is known later. Placing one posts nothing; capturing it is a spend. It
 * ends at its deadline by itself, and can be captured after that from what is then available.
 */
import { type Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { holdKey, postingKey } from '../domain/id.ts'
import type { Queryable } from '../store/connect.ts'
import { contentHash, metadataHash, metadataText, sortedMetadata } from './content.ts'
import { insufficient } from './spend.ts'

export const HOLD_STATES = ['open', 'captured', 'released', 'lapsed'] as const
export type HoldStatus = (typeof HOLD_STATES)[number]

/** A hold. Times are business time. */
export interface Hold {
  id: string
  account: string
  status: HoldStatus
  amount: string
  /** more than `amount` when the work cost more */
  captured: string
  feature: string | null
  createdAt: string
  expiresAt: string
  /** since when nothing is set aside any more */
  closedAt: string | null
  /** the caller's own notes, until they are erased */
  metadata: Record<string, string>
}

export interface HoldInput {
  account: string
  /** the caller's Idempotency-Key */
  key: string
  amount: Exact
  /** how long until it lapses */
  seconds: number
  feature?: string | undefined
  actor: string
  metadata?: Record<string, string> | undefined
}

/**
 * Sets credits aside, soonest to expire first; never more than is available. A replay answers the hold as it was placed,
 * whatever has become of it and of its notes: all of it is in the request or never changes. `available` is what was left,
 * and null at a replay.
 * @throws Refusal `insufficient_credits` (nothing was written), `idempotency_key_reused`, `account_not_found`
 */
export async function placeHold(
  database: Queryable,
  input: HoldInput,
): Promise<{ replayed: boolean; hold: Hold; available: string | null }> {
  const amount = formatCredits(input.amount)
  const key = holdKey.place(input.key)
  const feature = input.feature ?? null
  const hash = contentHash({
    amount,
    seconds: String(input.seconds),
    feature,
    ...metadataHash(key, input.metadata),
  })
  const { rows } = await database.query<{
    outcome: 'held' | 'replayed' | 'key_reused' | 'insufficient' | 'no_account'
    id: string
    /** null at a replay */
    available: string | null
    placed_at: Date
    expires_at: Date
  }>({
    name: 'ledger_hold',
    text: 'select * from ledger_hold($1,$2,$3,$4,$5,$6,$7,$8)',
    values: [
      input.account,
      key,
      hash,
      amount,
      input.seconds,
      feature,
      input.actor,
      metadataText(input.metadata),
    ],
  })
  const row = rows[0]
  if (row === undefined) throw new Error('Postgres did not answer a hold')
  if (row.outcome === 'no_account') {
    throw new Refusal('account_not_found', `there is no account ${input.account}`)
  }
  if (row.outcome === 'key_reused') throw reused('hold', row.id)
  if (row.outcome === 'insufficient') throw insufficient(row.available ?? '0', input.amount)
  return {
    replayed: row.outcome === 'replayed',
    available: row.available === null ? null : formatCredits(row.available),
    hold: {
      id: row.id,
      account: input.account,
      status: 'open',
      amount,
      captured: '0',
      feature,
      createdAt: row.placed_at.toISOString(),
      expiresAt: row.expires_at.toISOString(),
      closedAt: null,
      metadata: sortedMetadata(input.metadata),
    },
  }
}

export interface CaptureInput {
  hold: string
  /** the caller's Idempotency-Key */
  key: string
  /** above what is held, too: the excess is a spend */
  amount: Exact
  /** ends the hold and frees the rest of it */
  final: boolean
  /** records work already done, whatever the balance; the shortfall becomes debt */
  overdraft?: boolean | undefined
  /** the hold's unless told otherwise */
  feature?: string | undefined
  actor: string
  metadata?: Record<string, string> | undefined
}

/** As first given, also at a replay. */
export interface CaptureResult {
  replayed: boolean
  /** of the posting: it can be read and reversed as a spend */
  id: string
  amount: string
  balance: string
  /** of the hold, right after this capture */
  status: HoldStatus
}

/**
 * Captures a hold, first from what it set aside. One that has lapsed is captured from what is available.
 * @throws Refusal `hold_not_found`; `hold_closed` with its status: captured or released before;
 *   `insufficient_credits`, `available` being the most that could be captured; `idempotency_key_reused`
 */
export async function captureHold(database: Queryable, input: CaptureInput): Promise<CaptureResult> {
  const amount = formatCredits(input.amount)
  const key = postingKey.capture(input.key)
  const { hold, final, overdraft = false, feature = null } = input
  const hash = contentHash({
    hold,
    amount,
    final,
    overdraft,
    feature,
    ...metadataHash(key, input.metadata),
  })
  const { rows } = await database.query<{
    outcome: 'captured' | 'replayed' | 'key_reused' | 'insufficient' | 'closed' | 'no_hold'
    id: string
    amount: string
    balance_after: string
    available: string
    state: HoldStatus
  }>({
    name: 'ledger_capture',
    text: 'select outcome, id, amount, balance_after, available, state from ledger_capture($1,$2,$3,$4,$5,$6,$7,$8,$9)',
    values: [hold, key, hash, amount, final, overdraft, feature, input.actor, metadataText(input.metadata)],
  })
  const row = rows[0]
  if (row === undefined) throw new Error('Postgres did not answer a capture')
  if (row.outcome === 'no_hold') throw noHold(hold)
  if (row.outcome === 'closed') throw closed(hold, row.state)
  if (row.outcome === 'key_reused') throw reused('capture', row.id)
  if (row.outcome === 'insufficient') throw insufficient(row.available, input.amount)
  return {
    replayed: row.outcome === 'replayed',
    id: row.id,
    amount: formatCredits(row.amount),
    balance: formatCredits(row.balance_after),
    status: row.state,
  }
}

/** As first given, also at a replay. */
export interface ReleaseResult {
  replayed: boolean
  amount: string
  captured: string
  closedAt: string
}

/**
 * Ends a hold and frees what it set aside. One that has lapsed can be released: then nobody captures it any more.
 * @throws Refusal `hold_not_found`; `hold_closed` with its status: captured or released before;
 *   `idempotency_key_reused`: for another hold
 */
export async function releaseHold(
  database: Queryable,
  { hold, key, actor }: { hold: string; key: string; actor: string },
): Promise<ReleaseResult> {
  const { rows } = await database.query<{
    outcome: 'released' | 'replayed' | 'key_reused' | 'closed' | 'no_hold'
    state: HoldStatus
    amount: string
    captured: string
    closed_at: Date
  }>({
    name: 'ledger_release',
    text: 'select outcome, state, amount, captured, closed_at from ledger_release($1,$2,$3)',
    values: [hold, holdKey.release(key), actor],
  })
  const row = rows[0]
  if (row === undefined) throw new Error('Postgres did not answer a release')
  if (row.outcome === 'no_hold') throw noHold(hold)
  if (row.outcome === 'closed') throw closed(hold, row.state)
  if (row.outcome === 'key_reused') {
    throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used to release another hold')
  }
  return {
    replayed: row.outcome === 'replayed',
    amount: formatCredits(row.amount),
    captured: formatCredits(row.captured),
    closedAt: row.closed_at.toISOString(),
  }
}

/** One that is past its deadline has lapsed, swept or not. */
const SELECT = `
  select h.id, h.account_id, h.amount, h.captured, h.feature, h.placed_at, h.expires_at, n.metadata, l.status,
         case when l.status <> h.state then h.expires_at else h.closed_at end as closed_at
    from (select business_now() as now) clock cross join hold h
    cross join lateral (
      select case when h.state = 'open' and h.expires_at <= clock.now then 'lapsed' else h.state end as status) l
    left join note n on n.subject = h.id`

interface HoldRow {
  id: string
  account_id: string
  status: HoldStatus
  amount: string
  captured: string
  feature: string | null
  placed_at: Date
  expires_at: Date
  closed_at: Date | null
  metadata: Record<string, string> | null
}

function holdOf(row: HoldRow): Hold {
  return {
    id: row.id,
    account: row.account_id,
    status: row.status,
    amount: formatCredits(row.amount),
    captured: formatCredits(row.captured),
    feature: row.feature,
    createdAt: row.placed_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    closedAt: row.closed_at?.toISOString() ?? null,
    metadata: sortedMetadata(row.metadata ?? {}),
  }
}

/** Reads a hold as it is at this instant. @throws Refusal `hold_not_found` */
export async function readHold(database: Queryable, id: string): Promise<Hold> {
  const { rows } = await database.query<HoldRow>(`${SELECT} where h.id = $1`, [id])
  if (rows[0] === undefined) throw noHold(id)
  return holdOf(rows[0])
}

/** Holds of an account as they are at this instant, newest first. */
export async function listHolds(
  database: Queryable,
  account: string,
  page: {
    limit: number
    after?: { at: string; id: string } | undefined
    status?: HoldStatus | undefined
  },
): Promise<Hold[]> {
  const { rows } = await database.query<HoldRow>(
    `${SELECT}
      where h.account_id = $1 and ($2::text is null or l.status = $2)
        and ($3::timestamptz is null or (h.placed_at, h.id) < ($3, $4))
      order by h.placed_at desc, h.id desc limit $5`,
    [account, page.status ?? null, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows.map(holdOf)
}

function noHold(id: string): Refusal {
  return new Refusal('hold_not_found', `there is no hold ${id}`)
}

function closed(id: string, status: HoldStatus): Refusal {
  return new Refusal('hold_closed', `the hold ${id} was ${status} before`, { hold_status: status })
}

function reused(what: string, id: string): Refusal {
  return new Refusal('idempotency_key_reused', `this Idempotency-Key was used for another ${what}`, { id })
}
