/** /v1/approvals: what needs two persons. Whoever decides has a key of their own, and it is not the one that asked. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { businessNow } from '../clock.ts'
import { APPROVAL_KINDS, APPROVAL_STATES, type Verdict, VERDICTS, whyNotDecide } from '../domain/approval.ts'
import { Refusal } from '../domain/error.ts'
import { workflowId } from '../domain/id.ts'
import { type Approval, approvalMetadata, findApproval, listApprovals } from '../store/approval.ts'
import type { Queryable } from '../store/connect.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf } from './auth.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import { accountId, answers, EXAMPLE, instant, metadataOutput, noQuery, reasonInput } from './schema.ts'

const state = z.enum(APPROVAL_STATES)
const kind = z.enum(APPROVAL_KINDS)
const facts = z.record(z.string(), z.union([z.string(), z.boolean(), z.number(), z.null()]))

export const approvalExample = {
  id: EXAMPLE.approval,
  object: 'approval' as const,
  kind: 'adjustment' as const,
  account: EXAMPLE.account,
  state: 'executed' as const,
  plan: { direction: 'debit', amount: '12.5', overdraft: false, expires_at: null, priority: 100 },
  reason_code: 'granted_twice',
  requested_by: EXAMPLE.actor,
  expires_at: EXAMPLE.later,
  decided_by: EXAMPLE.otherActor,
  decided_at: EXAMPLE.at,
  decision_reason_code: null,
  result: { posting: EXAMPLE.posting, amount: '-12.5', balance: '75' },
  ended_at: EXAMPLE.at,
  created_at: EXAMPLE.at,
  metadata: { ticket: '1207' },
}

export const approvalView = z
  .object({
    id: z.string(),
    object: z.literal('approval'),
    kind,
    account: z.string(),
    state: state.describe(
      'pending, then rejected, expired, or approved; what is approved is executed, or refused when it cannot be done any more',
    ),
    plan: facts.describe('exactly as it is carried out'),
    reason_code: z.string(),
    requested_by: z.string().describe('key_… of the person, or `system`'),
    expires_at: instant.describe('business time; nobody decides from then on'),
    decided_by: z.string().nullable(),
    decided_at: instant.nullable(),
    decision_reason_code: z.string().nullable().describe('of a rejection'),
    result: facts.nullable().describe('what was done, or why it could not be done any more'),
    ended_at: instant.nullable(),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Approval',
    examples: [approvalExample],
  })

const params = z.object({ id: z.string().meta({ examples: [EXAMPLE.approval] }) })

const BODY = {
  approve: z
    .strictObject({})
    .nullish()
    .meta({ examples: [{}] }),
  reject: z.strictObject({ reason_code: reasonInput }).meta({ examples: [{ reason_code: 'not_justified' }] }),
}

const SUMMARY: Record<Verdict, string> = {
  approve: 'Approve: the stored plan is carried out at once, and once',
  reject: 'Reject: nothing is done',
}

/** Registers the routes. */
export function approvalRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps

  app.get('/v1/approvals', {
    config: { scope: 'read' },
    schema: {
      summary: 'What was asked for, newest first',
      tags: ['approvals'],
      querystring: z.strictObject({
        ...pageQuery,
        state: state.optional(),
        account: accountId.optional(),
        kind: kind.optional(),
      }),
      response: answers({ 200: listOf(approvalView) }, ['cursor_invalid']),
    },
    async handler({ query }) {
      const { limit, cursor, ...filter } = query
      const list = `approvals:${JSON.stringify([filter.state, filter.account, filter.kind])}`
      const after = positionIn(list, cursor)
      const rows = await listApprovals(pool, { ...filter, limit: limit + 1, after })
      const notes = await approvalMetadata(
        pool,
        rows.map(({ id }) => id),
      )
      return pageOf(
        list,
        rows,
        limit,
        (row) => viewOf(row, notes.get(row.id)),
        (row) => [row.requestedAt, row.id],
      )
    },
  })

  app.get('/v1/approvals/:id', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read an approval',
      tags: ['approvals'],
      params,
      querystring: noQuery,
      response: answers({ 200: approvalView }, ['approval_not_found']),
    },
    handler: async (request) => await viewApproval(pool, request.params.id),
  })

  for (const verdict of VERDICTS) {
    app.post(`/v1/approvals/:id/${verdict}`, {
      config: { scope: 'approvals' },
      schema: {
        summary: SUMMARY[verdict],
        description: 'Needs another key than the one that asked. A key stands for a person: give nobody two.',
        tags: ['approvals'],
        params,
        headers: idempotencyHeaders,
        querystring: dryRunQuery,
        body: BODY[verdict],
        response: answers(orPreview({ 200: approvalView, 202: commandView }), [
          'approval_decided',
          'approval_expired',
          'approval_not_found',
          ...(verdict === 'approve' ? (['approval_stale'] as const) : []),
          'approver_is_requester',
          'idempotency_in_progress',
        ]),
      },
      async handler(request, reply) {
        const approval = await requireApproval(pool, request.params.id)
        const actor = actorOf(request)
        return answerOnce(deps, request, reply, {
          scope: approval.account,
          operation: verdict,
          content: { approval: approval.id, ...request.body },
          owner: workflowId.approval(approval.id),
          input: { approval: approval.id, actor, ...reasonOf(request) },
          status: 200,
          // so that a refusal that is certain takes no key; its workflow decides
          async begin(client) {
            const now = await requireApproval(client, approval.id)
            const refusal = whyNotDecide(now, { actor, at: await businessNow(client) })
            if (refusal !== undefined) throw new Refusal(refusal.code, refusal.detail, { approval: now.id })
          },
          view: (database, { input }) => viewApproval(database, input['approval'] ?? ''),
        })
      },
    })
  }
}

function reasonOf({ body }: FastifyRequest): { reason_code?: string } {
  const reason = BODY.reject.safeParse(body)
  return reason.success ? reason.data : {}
}

async function requireApproval(database: Queryable, id: string): Promise<Approval> {
  const approval = await findApproval(database, id)
  if (approval === undefined) throw new Refusal('approval_not_found', `there is no approval ${id}`)
  return approval
}

/** An approval as it is now, with its caller's notes. @throws Refusal `approval_not_found` */
export async function viewApproval(database: Queryable, id: string): Promise<z.infer<typeof approvalView>> {
  const approval = await requireApproval(database, id)
  return viewOf(approval, (await approvalMetadata(database, [id])).get(id))
}

function viewOf(approval: Approval, metadata: Record<string, string> = {}): z.infer<typeof approvalView> {
  return {
    id: approval.id,
    object: 'approval',
    kind: approval.kind,
    account: approval.account,
    state: approval.state,
    plan: factsOf(approval.plan),
    reason_code: approval.reasonCode,
    requested_by: approval.requestedBy,
    expires_at: approval.expiresAt,
    decided_by: approval.decidedBy,
    decided_at: approval.decidedAt,
    decision_reason_code: approval.decisionReason,
    result: approval.result === null ? null : factsOf(approval.result),
    ended_at: approval.endedAt,
    created_at: approval.requestedAt,
    metadata,
  }
}

/** Names as everywhere in this API. */
function factsOf(plan: object): z.infer<typeof facts> {
  const named = Object.entries(plan).map(([name, value]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value,
  ])
  return facts.parse(Object.fromEntries(named))
}
