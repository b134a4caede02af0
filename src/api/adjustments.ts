/** /v1/adjustments: corrections of what an account has. Asked for by one person, made when another approves. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { businessNow } from '../clock.ts'
import type { AdjustmentPlan } from '../domain/approval.ts'
import { formatCredits, parseCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { approvalKey, idFrom, workflowId } from '../domain/id.ts'
import { requireAccount } from '../store/account.ts'
import { requestApproval } from '../store/approval.ts'
import { adoptOwner } from '../workflows/owner.ts'
import type { Api, ApiDeps } from './api.ts'
import { approvalExample, approvalView, viewApproval } from './approvals.ts'
import { actorOf } from './auth.ts'
import { describeFailure } from './failure.ts'
import { answerOnce, idempotencyHeaders, keyOf } from './idempotency.ts'
import { dryRunQuery, isDryRun, orPreview } from './preview.ts'
import {
  accountId,
  answers,
  creditsInput,
  creditsOutput,
  EXAMPLE,
  expiryInput,
  instant,
  metadataInput,
  metadataOutput,
  readInstant,
  reasonInput,
} from './schema.ts'

const asked = {
  account: accountId,
  amount: creditsInput,
  reason_code: reasonInput,
  metadata: metadataInput,
}

const credit = z.strictObject({
  ...asked,
  direction: z.literal('credit').describe('gives what is missing'),
  expires_at: expiryInput.optional(),
  priority: z
    .int()
    .min(0)
    .max(1000)
    .optional()
    .describe('the lower burns first among credits that expire together; 100'),
})

const debit = z.strictObject({
  ...asked,
  direction: z.literal('debit').describe('takes what should not be there'),
  overdraft: z
    .boolean()
    .optional()
    .describe('what is not available any more becomes a debt; otherwise it is refused then'),
})

const adjustmentInput = z
  .discriminatedUnion('direction', [credit, debit], {
    error: ({ code }) => (code === 'invalid_union' ? 'expected "direction": "credit" or "debit"' : undefined),
  })
  .meta({
    examples: [
      {
        account: EXAMPLE.account,
        direction: 'debit',
        amount: '12.5',
        reason_code: 'granted_twice',
        metadata: { ticket: '1207' },
      },
      {
        account: EXAMPLE.account,
        direction: 'credit',
        amount: '12.5',
        reason_code: 'outage',
        expires_at: EXAMPLE.farOff,
      },
    ],
  })

const adjustmentView = z
  .object({
    id: z.string().describe('of its approval: it is carried out once'),
    object: z.literal('adjustment'),
    account: z.string(),
    direction: z.enum(['credit', 'debit']),
    amount: creditsOutput,
    overdraft: z.boolean(),
    expires_at: instant.nullable(),
    priority: z.int(),
    reason_code: z.string(),
    approval: approvalView,
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Adjustment',
    examples: [
      {
        id: EXAMPLE.approval,
        object: 'adjustment',
        account: EXAMPLE.account,
        direction: 'debit',
        amount: '12.5',
        overdraft: false,
        expires_at: null,
        priority: 100,
        reason_code: 'granted_twice',
        approval: {
          ...approvalExample,
          state: 'pending',
          decided_by: null,
          decided_at: null,
          result: null,
          ended_at: null,
        },
        created_at: EXAMPLE.at,
        metadata: { ticket: '1207' },
      },
    ],
  })

type AdjustmentInput = z.infer<typeof adjustmentInput>

/** Registers the route. */
export function adjustmentRoutes(app: Api, deps: ApiDeps): void {
  app.post('/v1/adjustments', {
    config: { scope: 'adjustments' },
    schema: {
      summary: 'Ask for a correction of what an account has',
      description:
        'Nothing is done before another person approves it: `POST /v1/approvals/{id}/approve`. Then a credit is a lot of ' +
        'its own and repays a debt first, and a debit takes credits in the order of a spend. It shows as `adjustment` in ' +
        'the ledger and never counts as use.',
      tags: ['adjustments'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: adjustmentInput,
      response: answers(orPreview({ 201: adjustmentView }), [
        'account_not_found',
        'credits_invalid',
        'expiry_past',
        'idempotency_in_progress',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const plan = planOf(body)
      const id = idFrom('apr', randomUUID())
      let asked: string | undefined
      await answerOnce(deps, request, reply, {
        scope: body.account,
        operation: 'adjust',
        content: body,
        owner: null,
        input: { approval: id },
        status: 201,
        async begin(client) {
          const { account, reason_code: reasonCode, metadata } = body
          await requireAccount(client, account)
          if (plan.expiresAt !== null && plan.expiresAt <= (await businessNow(client)))
            throw new Refusal('expiry_past', 'expires_at must be in the future')
          const {
            id: standing,
            isNew,
            expiresAt,
          } = await requestApproval(client, {
            id,
            kind: 'adjustment',
            account,
            plan,
            key: approvalKey.adjustment(account, keyOf(request)),
            requestedBy: actorOf(request),
            reasonCode,
            metadata,
          })
          // its command was forgotten long ago
          if (!isNew)
            throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used for an adjustment', {
              approval: standing,
            })
          if (!isDryRun(request)) asked = id
          return [{ what: 'approval_expires', at: expiresAt }]
        },
        async view(database, { input }) {
          const approval = await viewApproval(database, input['approval'] ?? '')
          const { account, reason_code, created_at, metadata } = approval
          const { expiresAt: expires_at, ...asked } = plan
          return {
            id: approval.id,
            object: 'adjustment',
            account,
            ...asked,
            expires_at,
            reason_code,
            approval,
            created_at,
            metadata,
          }
        },
      })
      // so that it expires in time; the adopt duty finds it, too
      if (asked !== undefined && deps.reach !== undefined) {
        await adoptOwner(deps.reach, workflowId.approval(asked)).catch((error: unknown) => {
          request.log.warn(
            { approval: asked, failure: describeFailure(error) },
            'its workflow was not started',
          )
        })
      }
      return reply
    },
  })
}

/** What would be done. @throws Refusal `credits_invalid` */
function planOf(body: AdjustmentInput): AdjustmentPlan {
  const isCredit = body.direction === 'credit'
  return {
    direction: body.direction,
    amount: formatCredits(parseCredits(body.amount)),
    overdraft: isCredit ? false : (body.overdraft ?? false),
    expiresAt: isCredit ? (readInstant(body.expires_at) ?? null) : null,
    priority: isCredit ? (body.priority ?? 100) : 100,
  }
}
