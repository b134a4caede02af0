/** A notice as programs see it: what the API answers, and the body of its webhook. Both are the same, field by field. */
import type { NoticeKind } from './notice.ts'

export interface NoticeFacts {
  id: string
  account: string
  kind: NoticeKind
  event: string
  cause: Record<string, string>
  data: Record<string, string | null>
  createdAt: Date
}

export function noticeView({ id, account, kind, event, cause, data, createdAt }: NoticeFacts) {
  return {
    id,
    object: 'notice' as const,
    account,
    kind,
    type: event,
    cause,
    data: dataView(data),
    created_at: createdAt.toISOString(),
  }
}

/** What a notice carries, by the names that programs see. */
export function dataView(data: object): Record<string, string | null> {
  const entries = Object.entries(data as Record<string, string | null>)
  return Object.fromEntries(entries.map(([name, value]) => [snake(name), value]))
}

/** What a webhook carries, by the rules of Standard Webhooks. The same text at every try: it is what is signed. */
export function webhookBody(notice: NoticeFacts): string {
  return JSON.stringify({
    type: notice.event,
    timestamp: notice.createdAt.toISOString(),
    data: noticeView(notice),
  })
}

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
