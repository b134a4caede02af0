/**
 * The outbox: a notice is written in the transaction of what it tells, with a delivery for each who is told. Who sends
 * them is `activities/notify.ts`; what becomes of a delivery is in `delivery.ts`. Rows hold ids and amounts, no address.
 */
import { Refusal } from '../domain/error.ts'
import { isEmailed, type NoticeKind, NOTICES, type PlannedNotice } from '../domain/notice.ts'
import type { NoticeFacts } from '../domain/notice-view.ts'
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

/** Which of these keys an account was told. */
export async function toldKeys(database: Queryable, account: string, keys: string[]): Promise<string[]> {
  if (keys.length === 0) return []
  const { rows } = await database.query<{ key: string }>(
    'select key from notice where account_id = $1 and key = any ($2)',
    [account, keys],
  )
  return rows.map(({ key }) => key)
}

export interface NoticeRow {
  id: string
  account_id: string
  kind: NoticeKind
  event: string
  cause: Record<string, string>
  data: Record<string, string | null>
  created_at: Date
}

/** The columns of `noticeOf`, of a table that the query calls `n`. */
export const NOTICE_FIELDS = 'n.id, n.account_id, n.kind, n.event, n.cause, n.data, n.created_at'

export function noticeOf(row: NoticeRow): NoticeFacts {
  const { id, account_id: account, kind, event, cause, data, created_at: createdAt } = row
  return { id, account, kind, event, cause, data, createdAt }
}

/** Reads a notice. @throws Refusal `notice_not_found` */
export async function requireNotice(database: Queryable, id: string): Promise<NoticeFacts> {
  const { rows } = await database.query<NoticeRow>(`select ${NOTICE_FIELDS} from notice n where n.id = $1`, [
    id,
  ])
  if (rows[0] === undefined) throw new Refusal('notice_not_found', `there is no notice ${id}`)
  return noticeOf(rows[0])
}

/** Notices, newest first. */
export async function listNotices(
  database: Queryable,
  page: {
    limit: number
    after?: { at: string; id: string } | undefined
    account?: string | undefined
    kind?: NoticeKind | undefined
  },
): Promise<NoticeFacts[]> {
  const { rows } = await database.query<NoticeRow>(
    `select ${NOTICE_FIELDS} from notice n
      where ($1::text is null or n.account_id = $1) and ($2::text is null or n.kind = $2)
        and ($3::timestamptz is null or (n.created_at, n.id) < ($3, $4))
      order by n.created_at desc, n.id desc limit $5`,
    [page.account ?? null, page.kind ?? null, page.after?.at ?? null, page.after?.id ?? null, page.limit],
  )
  return rows.map(noticeOf)
}
