/** /v1/accounts: accounts, what they have, where it went, and spending it. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { parseCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { idFrom } from '../domain/id.ts'
import { readBalance, readLedger } from '../ledger/balance.ts'
import { spend } from '../ledger/spend.ts'
import { type Account, createAccount, listAccounts, requireAccount } from '../store/account.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf } from './auth.ts'
import { answerOnce, idempotencyHeaders, keyOf, markReplayed } from './idempotency.ts'
import { isSequence, listOf, pageOf, pageQuery, positionIn, readCursor } from './list.ts'
import {
  accountParams,
  answers,
  creditsInput,
  creditsOutput,
  EXAMPLE,
  instant,
  metadataInput,
  metadataOutput,
  noQuery,
} from './schema.ts'

const externalId = z.string().min(1).max(255)

const accountInput = z
  .strictObject({
    external_id: externalId.optional().describe('your id of the customer; unique'),
    email: z.email().max(254).optional(),
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

const balanceView = z
  .object({
    account: z.string(),
    balance: creditsOutput,
    held: creditsOutput,
    available: creditsOutput,
    debt: creditsOutput,
    lots: z.array(
      z.object({
        id: z.string(),
        source: z.string(),
        granted: creditsOutput,
        remaining: creditsOutput,
        expires_at: instant.nullable(),
      }),
    ),
  })
  .meta({
    id: 'Balance',
    examples: [
      {
        account: EXAMPLE.account,
        balance: '87.5',
        held: '0',
        available: '87.5',
        debt: '0',
        lots: [{ id: 'lot_1', source: 'plan', granted: '100', remaining: '87.5', expires_at: EXAMPLE.later }],
      },
    ],
  })

const entryView = z
  .object({
    id: z.string(),
    object: z.literal('posting'),
    seq: z.string(),
    kind: z.string(),
    amount: creditsOutput,
    balance_after: creditsOutput,
    feature: z.string().nullable(),
    actor: z.string(),
    reason_code: z.string(),
    source: z.record(z.string(), z.string()),
    lots: z.array(z.object({ id: z.string(), amount: creditsOutput })),
    occurred_at: instant,
    recorded_at: instant,
  })
  .meta({
    id: 'Posting',
    examples: [
      {
        id: 'spd_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256_2',
        object: 'posting',
        seq: '2',
        kind: 'spend',
        amount: '-12.5',
        balance_after: '87.5',
        feature: 'chat',
        actor: 'key_0f3a9c1e5b7d2468',
        reason_code: 'spend',
        source: {},
        lots: [{ id: 'lot_1', amount: '-12.5' }],
        occurred_at: EXAMPLE.at,
        recorded_at: EXAMPLE.at,
      },
    ],
  })

const spendInput = z
  .strictObject({
    amount: creditsInput,
    feature: z
      .string()
      .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a slug: lower-case letters, digits, dots, _ and -')
      .optional()
      .describe('what the credits were used for'),
  })
  .meta({ examples: [{ amount: '12.5', feature: 'chat' }] })

const spendView = z
  .object({ id: z.string(), amount: creditsOutput, balance: creditsOutput.describe('after this spend') })
  .meta({
    id: 'Spend',
    examples: [{ id: 'spd_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256_2', amount: '12.5', balance: '87.5' }],
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
      querystring: noQuery,
      body: accountInput,
      response: answers({ 201: accountView }, ['external_id_taken', 'idempotency_in_progress']),
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

  app.get('/v1/accounts/:account/balance', {
    config: { scope: 'read' },
    schema: {
      summary: 'What an account has right now',
      tags: ['accounts'],
      params: accountParams,
      querystring: noQuery,
      response: answers({ 200: balanceView }, ['account_not_found']),
    },
    async handler({ params }) {
      const balance = await readBalance(pool, params.account)
      if (balance === undefined) throw noAccount(params.account)
      return balance
    },
  })

  app.get('/v1/accounts/:account/ledger', {
    config: { scope: 'read' },
    schema: {
      summary: 'Where the credits came from and went, newest first',
      tags: ['accounts'],
      params: accountParams,
      querystring: z.strictObject(pageQuery),
      response: answers({ 200: listOf(entryView) }, ['account_not_found', 'cursor_invalid']),
    },
    async handler({ params, query }) {
      const kind = `ledger:${params.account}`
      const [before] = readCursor(kind, query.cursor, [isSequence]) ?? []
      await requireAccount(pool, params.account)
      const rows = await readLedger(pool, params.account, { limit: query.limit + 1, before })
      const view = (row: (typeof rows)[number]) => ({ ...row, object: 'posting' as const })
      return pageOf(kind, rows, query.limit, view, (row) => [row.seq])
    },
  })

  app.post('/v1/accounts/:account/spend', {
    config: { scope: 'spend' },
    schema: {
      summary: 'Spend credits, soonest to expire first',
      description:
        'One round trip to Postgres. Never takes more than is available: 402 `insufficient_credits`.',
      tags: ['accounts'],
      params: accountParams,
      headers: idempotencyHeaders,
      querystring: noQuery,
      body: spendInput,
      response: answers({ 200: spendView }, ['account_not_found', 'credits_invalid', 'insufficient_credits']),
    },
    async handler(request, reply) {
      const { replayed, ...result } = await spend(pool, {
        account: request.params.account,
        key: keyOf(request),
        amount: parseCredits(request.body.amount),
        feature: request.body.feature,
        actor: actorOf(request),
      })
      markReplayed(reply, replayed)
      return result
    },
  })
}

function noAccount(id: string): Refusal {
  return new Refusal('account_not_found', `there is no account ${id}`)
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
