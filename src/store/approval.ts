/**
 * What needs two persons: asked for once, decided once, carried out once. The table refuses everything else by itself.
 * A caller's metadata is in `note`, where it can be erased.
 */
import { createHash, randomUUID } from 'node:crypto'
import {
  APPROVAL_OPEN_MS,
  type ApprovalKind,
  type ApprovalPlans,
  type ApprovalState,
} from '../domain/approval.ts'
import type { Instant } from '../domain/calendar.ts'
import { idFrom, noticeKey } from '../domain/id.ts'
import { recordAudit } from './audit.ts'
import type { Client, Queryable } from './connect.ts'
import { writeNotice } from './notice.ts'

/** What is asked for, by kind. */
export type ApprovalRequest = {
  [Kind in ApprovalKind]: {
    kind: Kind
    account: string
    plan: ApprovalPlans[Kind]
    /** from `approvalKey`: the same thing is asked for once, until it has expired */
    key: string
    /** `key_…`, or `SYSTEM` */
    requestedBy: string
    reasonCode: string
    /** `apr_…`, when it is told before it is written */
    id?: string | undefined
    /** a caller's own notes */
    metadata?: Record<string, string> | undefined
  }
}[ApprovalKind]

/** An approval as it is stored. */
export type Approval = {
  id: string
  account: string
  key: string
  planHash: string
  reasonCode: string
  requestedBy: string
  requestedAt: Instant
  expiresAt: Instant
  state: ApprovalState
  decidedBy: string | null
  decidedAt: Instant | null
  decisionReason: string | null
  /** the request that decided it */
  command: string | null
  result: Record<string, unknown> | null
  endedAt: Instant | null
} & { [Kind in ApprovalKind]: { kind: Kind; plan: ApprovalPlans[Kind] } }[ApprovalKind]

/** An approval that was asked for: a new one, or the one that stands. */
export interface Asked {
  id: string
  isNew: boolean
  /** whether the one that stands asks for the same */
  sameContent: boolean
  state: ApprovalState
  expiresAt: Instant
}

/**
 * Asks for an approval inside the caller's transaction, once per key: whoever asks for the same again gets the first,
 * unless it has expired. After the commit, wake `workflowId.approval(id)`; if nobody does, the adopt duty starts it.
 */
export async function requestApproval(client: Client, request: ApprovalRequest): Promise<Asked> {
  const { kind, account, plan, key, requestedBy, reasonCode, metadata = {} } = request
  const hash = planHash(request)
  await client.query(
    `update approval set state = 'expired', ended_at = expires_at
      where key = $1 and state = 'pending' and expires_at <= business_now()`,
    [key],
  )
  const { rows: made } = await client.query<{ id: string; expires_at: Date }>(
    `insert into approval (id, kind, account_id, key, plan, plan_hash, reason_code, requested_by, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, business_now() + $9 * interval '1 millisecond')
     on conflict (key) where state <> 'expired' do nothing returning id, expires_at`,
    [
      request.id ?? idFrom('apr', randomUUID()),
      kind,
      account,
      key,
      JSON.stringify(plan),
      hash,
      reasonCode,
      requestedBy,
      APPROVAL_OPEN_MS[kind],
    ],
  )
  const [fresh] = made
  if (fresh === undefined) return { ...(await standing(client, key, hash)), isNew: false }
  const { id } = fresh
  const expiresAt = fresh.expires_at.toISOString()
  if (Object.keys(metadata).length > 0) {
    await client.query('select approval_note($1, $2)', [id, JSON.stringify(metadata)])
  }
  await writeNotice(client, {
    account,
    kind: 'approval_requested',
    key: noticeKey.approval(id, 'requested'),
    cause: { approval: id },
    data: { approval: id, approvalKind: kind, requestedBy, expiresAt },
  })
  await recordAudit(client, {
    account,
    actor: requestedBy,
    action: 'approval',
    subject: id,
    reasonCode,
    detail: { state: 'pending', kind, plan_hash: hash },
  })
  return { id, isNew: true, sameContent: true, state: 'pending', expiresAt }
}

async function standing(client: Client, key: string, hash: string) {
  const { rows } = await client.query<{
    id: string
    plan_hash: string
    state: ApprovalState
    expires_at: Date
  }>(`select id, plan_hash, state, expires_at from approval where key = $1 and state <> 'expired'`, [key])
  const [row] = rows
  if (row === undefined) throw new Error('an approval is neither new nor there')
  const { id, state } = row
  return { id, sameContent: row.plan_hash === hash, state, expiresAt: row.expires_at.toISOString() }
}

/** The fingerprint of what is approved: of the plan, of whose it is, and of who asks for it and why. */
export function planHash(
  asked: Pick<ApprovalRequest, 'kind' | 'account' | 'key' | 'plan' | 'reasonCode' | 'requestedBy'>,
): string {
  const { kind, account, key, plan, reasonCode, requestedBy } = asked
  const fields = Object.entries(plan).sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([kind, account, key, fields, reasonCode, requestedBy]))
    .digest('base64url')
}

/** It is expired from its deadline on, whether or not a workflow was there. */
const STATE_NOW = `case when state = 'pending' and expires_at <= business_now() then 'expired' else state end`

type Row = {
  kind: ApprovalKind
  plan: never
  requested_at: Date
  expires_at: Date
  decided_at: Date | null
  ended_at: Date | null
} & Omit<Approval, 'kind' | 'plan' | 'requestedAt' | 'expiresAt' | 'decidedAt' | 'endedAt'>

const COLUMNS = `id, kind, account_id as account, key, plan, plan_hash as "planHash", reason_code as "reasonCode",
  requested_by as "requestedBy", requested_at, expires_at, decided_by as "decidedBy", decided_at,
  decision_reason as "decisionReason", command_id as command, result, ended_at`

function approvalFrom(row: Row): Approval {
  const { requested_at, expires_at, decided_at, ended_at, ...rest } = row
  return {
    ...rest,
    requestedAt: requested_at.toISOString(),
    expiresAt: expires_at.toISOString(),
    decidedAt: decided_at?.toISOString() ?? null,
    endedAt: (ended_at ?? (rest.state === 'expired' ? expires_at : null))?.toISOString() ?? null,
  }
}

/** Reads an approval for whoever asks now; undefined when there is none. */
export async function findApproval(database: Queryable, id: string): Promise<Approval | undefined> {
  return await readOne(database, `${STATE_NOW} as state from approval where id = $1`, id)
}

/** Reads an approval as it is stored: its deadline may have come. */
export async function readApproval(database: Queryable, id: string): Promise<Approval | undefined> {
  return await readOne(database, 'state from approval where id = $1', id)
}

/** Locks an approval, after its account's wallet, and reads it as it is stored. */
export async function lockApproval(client: Client, id: string): Promise<Approval | undefined> {
  return await readOne(client, 'state from approval where id = $1 for update', id)
}

async function readOne(database: Queryable, from: string, id: string): Promise<Approval | undefined> {
  const { rows } = await database.query<Row>(`select ${COLUMNS}, ${from}`, [id])
  return rows[0] && approvalFrom(rows[0])
}

/** A caller's notes on what was asked for, until they are erased. */
export async function approvalMetadata(
  database: Queryable,
  ids: string[],
): Promise<Map<string, Record<string, string>>> {
  const { rows } = await database.query<{ subject: string; metadata: Record<string, string> }>(
    'select subject, metadata from note where subject = any($1)',
    [ids],
  )
  return new Map(rows.map(({ subject, metadata }) => [subject, metadata]))
}

export interface ApprovalFilter {
  limit: number
  after?: { at: string; id: string } | undefined
  state?: ApprovalState | undefined
  account?: string | undefined
  kind?: ApprovalKind | undefined
}

/** Approvals, newest first. */
export async function listApprovals(database: Queryable, filter: ApprovalFilter): Promise<Approval[]> {
  const { rows } = await database.query<Row>(
    `select ${COLUMNS}, ${STATE_NOW} as state from approval
      where ($1::timestamptz is null or (requested_at, id) < ($1, $2))
        and ($3::text is null or ${STATE_NOW} = $3) and ($4::text is null or account_id = $4)
        and ($5::text is null or kind = $5)
      order by requested_at desc, id desc limit $6`,
    [
      filter.after?.at ?? null,
      filter.after?.id ?? null,
      filter.state ?? null,
      filter.account ?? null,
      filter.kind ?? null,
      filter.limit,
    ],
  )
  return rows.map(approvalFrom)
}

/** Writes a decision down. @throws what the table says when it was decided before, by its requester, or too late */
export async function keepDecision(
  client: Client,
  id: string,
  decision: {
    state: 'approved' | 'rejected'
    by: string
    at: Instant
    reason: string | null
    command: string
  },
): Promise<void> {
  await client.query(
    `update approval set state = $2::text, decided_by = $3, decided_at = $4, decision_reason = $5, command_id = $6,
            ended_at = case when $2::text = 'rejected' then $4::timestamptz end
      where id = $1`,
    [id, decision.state, decision.by, decision.at, decision.reason, decision.command],
  )
}

/** Writes the end of one down that nobody decides any more, or that was carried out or could not be. */
export async function keepEnd(
  client: Client,
  id: string,
  end: { state: 'expired' | 'executed' | 'refused'; at: Instant; result: Record<string, unknown> | null },
): Promise<void> {
  await client.query('update approval set state = $2, ended_at = $3, result = $4 where id = $1', [
    id,
    end.state,
    end.at,
    end.result === null ? null : JSON.stringify(end.result),
  ])
}
