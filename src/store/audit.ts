/** Who did what and why, append-only. Ids and codes only: no personal data, no free text of callers. */
import type { Queryable } from './connect.ts'

export interface AuditEntry {
  account: string | null
  actor: string
  action: string
  subject: string
  reasonCode: string
  detail: Record<string, unknown>
}

export async function recordAudit(client: Queryable, entry: AuditEntry): Promise<void> {
  await client.query(
    `insert into audit_log (account_id, actor, action, subject, reason_code, detail) values ($1, $2, $3, $4, $5, $6)`,
    [entry.account, entry.actor, entry.action, entry.subject, entry.reasonCode, JSON.stringify(entry.detail)],
  )
}
