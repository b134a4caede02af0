/**
 * Deliveries of notices: who has which, and what became of it. All times are machine times. Whoever sends one has a lease
 * on it; an e-mail is marked `sending` before a byte of it goes out, so that whatever dies after that leaves it in doubt,
 * and whatever dies before leaves it to be sent.
 */
import type { DeliveryState, Verdict } from '../domain/delivery.ts'
import { Refusal } from '../domain/error.ts'
import type { NoticeFacts } from '../domain/notice-view.ts'
import { resolveAlert } from './alert.ts'
import type { Queryable } from './connect.ts'
import { NOTICE_FIELDS, noticeOf, type NoticeRow } from './notice.ts'

/** The target of e-mails; every other target is a webhook endpoint's id. */
export const EMAIL = 'email'

/** Alerts. The first two are about a delivery; the last about a target that fails again and again. */
export const ALERT = {
  failed: 'notice_failed',
  inDoubt: 'notice_in_doubt',
  failing: 'delivery_failing',
} as const

/** A target that fails as often as this raises an alert: about four minutes. */
const FAILING_TRIES = 5
/** A page of one target is sent within this, or is somebody else's. */
const LEASE_S = 120

/** A delivery that is ours to send. */
export interface Claim {
  id: string
  target: string
  lease: string
  /** this one included */
  tries: number
  notice: NoticeFacts
}

/** Targets that something is due for: e-mail, and endpoints that are enabled. */
export async function dueTargets(database: Queryable): Promise<string[]> {
  const { rows } = await database.query<{ target: string }>(
    `select target from (select $1 as target union all select id from webhook_endpoint where enabled) one
      where exists (select from notice_delivery d where d.target = one.target and d.state = 'pending'
                       and d.next_attempt_at <= clock_timestamp())
      order by target`,
    [EMAIL],
  )
  return rows.map(({ target }) => target)
}

/** Takes up to `limit` deliveries of one target that are due, oldest first. Two senders never have the same one. */
export async function claimDeliveries(database: Queryable, target: string, limit: number): Promise<Claim[]> {
  const { rows } = await database.query<NoticeRow & { delivery: string; lease: string; attempts: number }>(
    `with due as (
       select id from notice_delivery
        where target = $1 and state = 'pending' and next_attempt_at <= clock_timestamp()
        order by next_attempt_at, id limit $2 for update skip locked
     ), taken as (
       update notice_delivery d
          set lease = gen_random_uuid(), attempts = d.attempts + 1,
              leased_until = clock_timestamp() + $3 * interval '1 second',
              -- who had it may die: then it is due again
              next_attempt_at = clock_timestamp() + $3 * interval '1 second'
         from due where d.id = due.id returning d.id, d.notice_id, d.lease, d.attempts
     )
     select taken.id as delivery, taken.lease, taken.attempts, ${NOTICE_FIELDS}
       from taken join notice n on n.id = taken.notice_id order by n.recorded_at, n.id`,
    [target, limit, LEASE_S],
  )
  return rows.map((row) => ({
    id: row.delivery,
    target,
    lease: row.lease,
    tries: row.attempts,
    notice: noticeOf(row),
  }))
}

/**
 * Marks an e-mail as going out now. From here on only an answer of the mail server, or a person, says what became of it.
 * @returns false when it is no longer ours: do not send it
 */
export async function markSending(database: Queryable, { id, lease }: Claim): Promise<boolean> {
  const { rowCount } = await database.query(
    `update notice_delivery set state = 'sending', leased_until = clock_timestamp() + $3 * interval '1 second'
      where id = $1 and lease = $2 and state = 'pending' and leased_until > clock_timestamp()`,
    [id, lease, LEASE_S],
  )
  return rowCount === 1
}

/** Gives back what was not tried. */
export async function releaseDelivery(database: Queryable, { id, lease }: Claim): Promise<void> {
  await database.query(
    `update notice_delivery
        set lease = null, leased_until = null, attempts = attempts - 1, next_attempt_at = clock_timestamp()
      where id = $1 and lease = $2 and state = 'pending'`,
    [id, lease],
  )
}

/**
 * Writes down what became of a delivery, with the alerts that follow from it, in one statement. Nothing happens when it
 * is no longer ours; but a server's answer that comes late still ends a doubt.
 */
export async function settleDelivery(database: Queryable, claim: Claim, verdict: Verdict): Promise<void> {
  const { state, waitMs = 0, code, detail } = verdict
  const alert = state === 'failed' ? ALERT.failed : state === 'in_doubt' ? ALERT.inDoubt : null
  const failing = state === 'pending' && claim.tries >= FAILING_TRIES
  await database.query(
    `with settled as (
       update notice_delivery
          set state = $3, status_code = $4, detail = left($5, 300), lease = null, leased_until = null,
              next_attempt_at = clock_timestamp() + $6 * interval '1 millisecond',
              finished_at = case when $3 <> 'pending' then clock_timestamp() end
        where id = $1 and lease = $2 and state in ('pending', 'sending', 'in_doubt') returning id, target
     ), health as (
       update webhook_endpoint e
          set failing_since = case when $3 in ('pending', 'failed') then coalesce(e.failing_since, clock_timestamp()) end,
              delivered_at = case when $3 = 'delivered' then clock_timestamp() else e.delivered_at end
         from settled where e.id = settled.target and $3 in ('pending', 'failed', 'delivered')
     ), resolved as (
       update alert a set resolved_at = clock_timestamp() from settled
        where a.resolved_at is null
          and (a.kind = $10 and a.subject = settled.id and $3 <> 'in_doubt'
               or a.kind = $8 and a.subject = settled.target and $3 = 'delivered')
     )
     insert into alert (kind, subject, detail)
     select $7, settled.id, coalesce($5, '') from settled where $7::text is not null
     union all
     select $8, settled.target, coalesce($5, '') from settled where $9
     on conflict (kind, subject) where resolved_at is null
     do update set times = alert.times + 1, last_at = clock_timestamp(), detail = excluded.detail`,
    [claim.id, claim.lease, state, code, detail, waitMs, alert, ALERT.failing, failing, ALERT.inDoubt],
  )
}

/** Mails whose sender is gone: nobody knows whether the server has them, so a person is told. @returns how many */
export async function doubtDeserted(database: Queryable): Promise<number> {
  const { rowCount } = await database.query(
    `with deserted as (
       update notice_delivery
          set state = 'in_doubt', finished_at = clock_timestamp(),
              detail = 'whoever sent it ended before the mail server answered'
        where state = 'sending' and leased_until < clock_timestamp() returning id, detail
     )
     insert into alert (kind, subject, detail) select $1, id, detail from deserted
     on conflict (kind, subject) where resolved_at is null
     do update set times = alert.times + 1, last_at = clock_timestamp(), detail = excluded.detail`,
    [ALERT.inDoubt],
  )
  return rowCount ?? 0
}

/** A delivery as operators and callers see it. */
export interface Delivery {
  id: string
  notice: string
  /** null: by e-mail */
  endpoint: string | null
  event: string
  state: DeliveryState
  attempts: number
  statusCode: number | null
  detail: string | null
  askedAt: Date
  /** of `pending` */
  nextAttemptAt: Date | null
  finishedAt: Date | null
}

interface DeliveryRow {
  id: string
  notice_id: string
  endpoint_id: string | null
  event: string
  state: DeliveryState
  attempts: number
  status_code: number | null
  detail: string | null
  asked_at: Date
  next_attempt_at: Date
  finished_at: Date | null
}

const SELECT = `select d.id, d.notice_id, d.endpoint_id, n.event, d.state, d.attempts, d.status_code, d.detail,
                       d.asked_at, d.next_attempt_at, d.finished_at
                  from notice_delivery d join notice n on n.id = d.notice_id`

function deliveryOf(row: DeliveryRow): Delivery {
  return {
    id: row.id,
    notice: row.notice_id,
    endpoint: row.endpoint_id,
    event: row.event,
    state: row.state,
    attempts: row.attempts,
    statusCode: row.status_code,
    detail: row.detail,
    askedAt: row.asked_at,
    nextAttemptAt: row.state === 'pending' ? row.next_attempt_at : null,
    finishedAt: row.finished_at,
  }
}

/** What became of a notice: by e-mail first. */
export async function deliveriesOf(database: Queryable, notice: string): Promise<Delivery[]> {
  const { rows } = await database.query<DeliveryRow>(
    `${SELECT} where d.notice_id = $1 order by d.endpoint_id nulls first`,
    [notice],
  )
  return rows.map(deliveryOf)
}

/** Deliveries of one target, or of one state, or both; newest first. */
export async function listDeliveries(
  database: Queryable,
  page: {
    limit: number
    target?: string | undefined
    state?: DeliveryState | undefined
    after?: { at: string; id: string } | undefined
  },
): Promise<Delivery[]> {
  const { rows } = await database.query<DeliveryRow>(
    `${SELECT}
      where ($1::text is null or d.target = $1) and ($2::text is null or d.state = $2)
        and ($3::timestamptz is null or (d.asked_at, d.id) < ($3, $4))
      order by d.asked_at desc, d.id desc limit $5`,
    [page.target ?? null, page.state ?? null, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows.map(deliveryOf)
}

/**
 * Has a delivery made once more, whatever became of it; a person says so. Its webhook id or Message-ID stays the same.
 * @param target whose it must be, if the caller knows
 * @throws Refusal `delivery_not_found`; `delivery_sending` while it is going out
 */
export async function resendDelivery(client: Queryable, id: string, target?: string): Promise<Delivery> {
  const { rows } = await client.query<{ state: DeliveryState }>(
    `select state from notice_delivery where id = $1 and ($2::text is null or target = $2) for update`,
    [id, target ?? null],
  )
  const state = rows[0]?.state
  if (state === undefined) throw new Refusal('delivery_not_found', `there is no delivery ${id}`)
  if (state === 'sending') throw new Refusal('delivery_sending', 'it is being sent right now')
  await client.query(
    `update notice_delivery
        set state = 'pending', attempts = 0, asked_at = date_trunc('milliseconds', clock_timestamp()), next_attempt_at = clock_timestamp(),
            lease = null, leased_until = null, status_code = null, detail = null, finished_at = null
      where id = $1`,
    [id],
  )
  await resolveAlert(client, ALERT.failed, id)
  await resolveAlert(client, ALERT.inDoubt, id)
  return requireDelivery(client, id)
}

/** Reads a delivery. @throws Refusal `delivery_not_found` */
export async function requireDelivery(database: Queryable, id: string): Promise<Delivery> {
  const { rows } = await database.query<DeliveryRow>(`${SELECT} where d.id = $1`, [id])
  if (rows[0] === undefined) throw new Refusal('delivery_not_found', `there is no delivery ${id}`)
  return deliveryOf(rows[0])
}
