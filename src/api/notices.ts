/** /v1/notices: what accounts were told, as it was written with its cause, and what became of its deliveries. */
import { z } from 'zod'
import { mailOf } from '../domain/mail.ts'
import { isEmailed, NOTICE_KINDS, type NoticeKind, type PlannedNotice } from '../domain/notice.ts'
import { noticeView as viewOf } from '../domain/notice-view.ts'
import { requireAccount } from '../store/account.ts'
import { deliveriesOf, type Delivery } from '../store/delivery.ts'
import { listNotices, requireNotice } from '../store/notice.ts'
import type { Api, ApiDeps } from './api.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { accountId, answers, EXAMPLE, instant, noQuery } from './schema.ts'

const kind = z.enum(NOTICE_KINDS as [NoticeKind, ...NoticeKind[]])

export const noticeView = z
  .object({
    id: z.string().describe('the webhook-id of its deliveries'),
    object: z.literal('notice'),
    account: z.string(),
    kind,
    type: z.string().describe('what webhook endpoints ask for'),
    cause: z.record(z.string(), z.string()).describe('ids of what brought it about'),
    data: z.record(z.string(), z.string().nullable()).describe('by kind: ids, amounts, times and links'),
    created_at: instant.describe('business time'),
  })
  .meta({
    id: 'Notice',
    examples: [
      {
        id: EXAMPLE.notice,
        object: 'notice',
        account: EXAMPLE.account,
        kind: 'credits_granted',
        type: 'credits.granted',
        cause: { posting: EXAMPLE.posting, subscription: 'sub_1Q0000000000000000000000' },
        data: {
          posting: EXAMPLE.posting,
          amount: '20',
          balance: '87.5',
          reason: 'renewal',
          expires_at: EXAMPLE.later,
          subscription: 'sub_1Q0000000000000000000000',
        },
        created_at: EXAMPLE.at,
      },
    ],
  })

export const DELIVERY_STATES = ['pending', 'sending', 'delivered', 'failed', 'in_doubt', 'skipped'] as const

export const deliveryView = z
  .object({
    id: z.string(),
    object: z.literal('delivery'),
    notice: z.string(),
    type: z.string(),
    channel: z.enum(['email', 'webhook']),
    endpoint: z.string().nullable().describe('of a webhook'),
    state: z
      .enum(DELIVERY_STATES)
      .describe(
        'pending: it is tried, again if need be; in_doubt: the mail server has it or has not, nobody knows, and only a ' +
          'person sends it again; skipped: there was nowhere to send it',
      ),
    attempts: z.int().describe('since it was last asked for'),
    status_code: z.int().nullable().describe('what the receiver, or the mail server, last answered'),
    detail: z.string().nullable().describe('the beginning of that answer, or why there was none'),
    asked_at: instant,
    next_attempt_at: instant.nullable(),
    finished_at: instant.nullable(),
  })
  .meta({
    id: 'Delivery',
    examples: [
      {
        id: EXAMPLE.delivery,
        object: 'delivery',
        notice: EXAMPLE.notice,
        type: 'credits.granted',
        channel: 'webhook',
        endpoint: EXAMPLE.endpoint,
        state: 'pending',
        attempts: 1,
        status_code: 503,
        detail: 'upstream is down',
        asked_at: EXAMPLE.at,
        next_attempt_at: EXAMPLE.later,
        finished_at: null,
      },
    ],
  })

const previewView = z
  .object({
    object: z.literal('notice_preview'),
    notice: z.string(),
    emailed: z.boolean().describe('whether notices of its kind are e-mailed at all'),
    subject: z.string(),
    text: z.string(),
    html: z.string(),
  })
  .meta({
    id: 'NoticePreview',
    examples: [
      {
        object: 'notice_preview',
        notice: EXAMPLE.notice,
        emailed: true,
        subject: '20 credits were added · Product',
        text: 'Product\n\n20 credits were added to your account.\n',
        html: '<!doctype html>…',
      },
    ],
  })

const params = z.object({ notice: z.string().meta({ examples: [EXAMPLE.notice] }) })

/** Registers the routes. */
export function noticeRoutes(app: Api, { pool, product }: ApiDeps): void {
  app.get('/v1/notices', {
    config: { scope: 'read' },
    schema: {
      summary: 'Notices, newest first',
      tags: ['notices'],
      querystring: z.strictObject({ ...pageQuery, account: accountId.optional(), kind: kind.optional() }),
      response: answers({ 200: listOf(noticeView) }, ['account_not_found', 'cursor_invalid']),
    },
    async handler({ query }) {
      const list = `notices:${query.account ?? ''}:${query.kind ?? ''}`
      const after = positionIn(list, query.cursor)
      if (query.account !== undefined) await requireAccount(pool, query.account)
      const page = { limit: query.limit + 1, after, account: query.account, kind: query.kind }
      const rows = await listNotices(pool, page)
      return pageOf(list, rows, query.limit, viewOf, (row) => [row.createdAt.toISOString(), row.id])
    },
  })

  app.get('/v1/notices/:notice', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a notice',
      tags: ['notices'],
      params,
      querystring: noQuery,
      response: answers({ 200: noticeView }, ['notice_not_found']),
    },
    handler: async (request) => viewOf(await requireNotice(pool, request.params.notice)),
  })

  app.get('/v1/notices/:notice/preview', {
    config: { scope: 'read' },
    schema: {
      summary: 'The e-mail of a notice, as it is sent',
      description: 'The same text and HTML, byte for byte, whether or not a mail server is configured.',
      tags: ['notices'],
      params,
      querystring: noQuery,
      response: answers({ 200: previewView }, ['notice_not_found']),
    },
    async handler(request) {
      const { id, kind, data } = await requireNotice(pool, request.params.notice)
      // what was written under a kind has that kind's data
      const notice = { kind, data } as unknown as PlannedNotice
      const emailed = isEmailed(notice)
      return { object: 'notice_preview' as const, notice: id, emailed, ...mailOf(notice, product) }
    },
  })

  app.get('/v1/notices/:notice/deliveries', {
    config: { scope: 'read' },
    schema: {
      summary: 'What became of a notice: by e-mail, and at each webhook endpoint',
      tags: ['notices'],
      params,
      querystring: noQuery,
      response: answers({ 200: listOf(deliveryView) }, ['notice_not_found']),
    },
    async handler(request) {
      const { id } = await requireNotice(pool, request.params.notice)
      return { data: (await deliveriesOf(pool, id)).map(deliveryOf), has_more: false, next_cursor: null }
    },
  })
}

export function deliveryOf(delivery: Delivery): z.infer<typeof deliveryView> {
  const { id, notice, event, endpoint, state, attempts, statusCode, detail } = delivery
  return {
    id,
    object: 'delivery',
    notice,
    type: event,
    channel: endpoint === null ? 'email' : 'webhook',
    endpoint,
    state,
    attempts,
    status_code: statusCode,
    detail,
    asked_at: delivery.askedAt.toISOString(),
    next_attempt_at: delivery.nextAttemptAt?.toISOString() ?? null,
    finished_at: delivery.finishedAt?.toISOString() ?? null,
  }
}
