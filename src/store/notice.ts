/**
 * The outbox: a notice is written in the transaction of what it tells, with a delivery for each who is told. Who sends
 * them is `activities/notify.ts`; what becomes of a delivery is in `delivery.ts`. Rows hold ids and amounts, no address.
 */
import { isEmailed, NOTICES, type PlannedNotice } from '../domain/notice.ts'
import type { Queryable } from './connect.ts'

/**
 * Writes a notice inside the caller's transaction, once per account and key: a second time changes nothing. Its
 * deliveries are written with it: by e-mail if its kind is, and to each webhook endpoint that asks for its type.
 * @returns whether it is new
 */
export async function writeNotice(client: Queryable, notice: PlannedNotice): Promise<boolean> {
  const { rows } = await client.query<{ fresh: boolean }>(
    `with fresh as (
       insert into notice (id, account_id, kind, event, key, cause, data, emailed)
       values (notice_id($1, $4), $1, $2, $3, $4, $5, $6, $7)
       on conflict (account_id, key) do nothing returning id, event, emailed
     ), told as (
       insert into notice_delivery (id, notice_id, endpoint_id)
       select delivery_id(fresh.id, target.endpoint), fresh.id, target.endpoint
         from fresh cross join lateral (
           select null::text as endpoint where fresh.emailed
           union all
           select id from webhook_endpoint where enabled and (events is null or fresh.event = any (events))
         ) target
     )
     select exists (select from fresh) as fresh`,
    [
      notice.account,
      notice.kind,
      NOTICES[notice.kind].event,
      notice.key,
      JSON.stringify(notice.cause),
      JSON.stringify(notice.data),
      isEmailed(notice),
    ],
  )
  return rows[0]?.fresh ?? false
}
