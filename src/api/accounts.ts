/** /v1/accounts: accounts. What they have is in `ledger.ts`, using it in `spends.ts` and `holds.ts`. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { idFrom } from '../domain/id.ts'
import { type Account, createAccount, listAccounts, requireAccount } from '../store/account.ts'
import type { Api, ApiDeps } from './api.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import { accountParams, answers, EXAMPLE, instant, metadataInput, metadataOutput, noQuery } from './schema.ts'

/** An address that mail can go to; RFC 5321 4.5.3.1 limits it and what stands before its @. */
const emailInput = z
  .email()
  .max(254)
  .regex(/^[^@]{1,64}@/, 'at most 64 characters before the @')

const externalId = z.string().min(1).max(255)

const accountInput = z
  .strictObject({
    external_id: externalId.optional().describe('your id of the customer; unique'),
    email: emailInput.optional(),
    name: z.string().min(1).max(255).optional(),
    metadata: metadataInput,
  })
  .meta({
    examples: [{ external_id: 'team-42', email: 'ada@example.com', name: 'Ada', metadata: { tier: 'beta' } }],
  })

const accountView = z
  .object({
    id: z.string(),
    object: z.literal('account'),
    external_id: z.string().nullable(),
    email: z.string().nullable(),
    name: z.string().nullable(),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Account',
    examples: [
      {
        id: EXAMPLE.account,
        object: 'account',
        external_id: 'team-42',
        email: 'ada@example.com',
        name: 'Ada',
        created_at: EXAMPLE.at,
        metadata: { tier: 'beta' },
      },
    ],
  })

/** Registers the routes. */
export function accountRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps

  app.post('/v1/accounts', {
    config: { scope: 'accounts' },
    schema: {
      summary: 'Make an account',
      tags: ['accounts'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: accountInput,
      response: answers(orPreview({ 201: accountView }), ['external_id_taken', 'idempotency_in_progress']),
    },
    async handler(request, reply) {
      const { body } = request
      return answerOnce(deps, request, reply, {
        scope: 'accounts',
        operation: 'create',
        content: body,
        owner: null,
        input: { account: idFrom('acc', randomUUID()) },
        status: 201,
        async begin(client, { input }) {
          await createAccount(client, input['account'] ?? '', {
            externalId: body.external_id ?? null,
            email: body.email ?? null,
            name: body.name ?? null,
            metadata: body.metadata,
          })
        },
        view: async (database, { input }) => viewOf(await requireAccount(database, input['account'] ?? '')),
      })
    },
  })

  app.get('/v1/accounts', {
    config: { scope: 'read' },
    schema: {
      summary: 'List accounts, newest first',
      tags: ['accounts'],
      querystring: z.strictObject({ ...pageQuery, external_id: externalId.optional() }),
      response: answers({ 200: listOf(accountView) }, ['cursor_invalid']),
    },
    async handler({ query }) {
      const after = positionIn('accounts', query.cursor)
      const rows = await listAccounts(pool, { limit: query.limit + 1, after, externalId: query.external_id })
      return pageOf('accounts', rows, query.limit, viewOf, (row) => [row.createdAt.toISOString(), row.id])
    },
  })

  app.get('/v1/accounts/:account', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read an account',
      tags: ['accounts'],
      params: accountParams,
      querystring: noQuery,
      response: answers({ 200: accountView }, ['account_not_found']),
    },
    handler: async ({ params }) => viewOf(await requireAccount(pool, params.account)),
  })
}

function viewOf(account: Account): z.infer<typeof accountView> {
  return {
    id: account.id,
    object: 'account',
    external_id: account.externalId,
    email: account.email,
    name: account.name,
    created_at: account.createdAt.toISOString(),
    metadata: account.metadata,
  }
}
