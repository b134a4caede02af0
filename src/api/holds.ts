/** /v1/holds, and holding: credits set aside for work whose price is known later. */
import { z } from 'zod'
import { parseCredits } from '../domain/credits.ts'
import { spendNamed } from '../domain/id.ts'
import {
  captureHold,
  type Hold,
  HOLD_STATES,
  listHolds,
  placeHold,
  readHold,
  releaseHold,
} from '../ledger/hold.ts'
import { requireAccount } from '../store/account.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf, requireScope } from './auth.ts'
import { idempotencyHeaders, keyOf, markReplayed } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { dryRunQuery, isDryRun, orPreview, sendRehearsal } from './preview.ts'
import {
  accountParams,
  answers,
  creditsInput,
  creditsOutput,
  EXAMPLE,
  featureInput,
  instant,
  metadataInput,
  metadataOutput,
  noQuery,
  overdraftInput,
} from './schema.ts'
import type { TopUpWatch } from './top-up-watch.ts'

const EXPIRES_IN_DEFAULT_S = 3_600
const EXPIRES_IN_MAX_S = 30 * 86_400

const holdInput = z
  .strictObject({
    amount: creditsInput,
    feature: featureInput.optional(),
    expires_in: z
      .int()
      .min(1)
      .max(EXPIRES_IN_MAX_S)
      .default(EXPIRES_IN_DEFAULT_S)
      .describe('seconds until it lapses'),
    metadata: metadataInput,
  })
  .meta({ examples: [{ amount: '12.5', feature: 'chat', expires_in: 600 }] })

const status = z.enum(HOLD_STATES)

const holdView = z
  .object({
    id: z.string(),
    object: z.literal('hold'),
    account: z.string(),
    status,
    amount: creditsOutput,
    captured: creditsOutput.describe('above `amount` when the work cost more'),
    feature: z.string().nullable(),
    created_at: instant,
    expires_at: instant,
    closed_at: instant.nullable().describe('since when nothing is set aside any more'),
    metadata: metadataOutput,
  })
  .meta({
    id: 'Hold',
    examples: [
      {
        id: EXAMPLE.hold,
        object: 'hold',
        account: EXAMPLE.account,
        status: 'open',
        amount: '12.5',
        captured: '0',
        feature: 'chat',
        created_at: EXAMPLE.at,
        expires_at: '2026-11-23T10:10:00.000Z',
        closed_at: null,
        metadata: {},
      },
    ],
  })

const holdParams = z.object({
  hold: z.string().meta({ examples: [EXAMPLE.hold] }),
})

const captureInput = z
  .strictObject({
    amount: creditsInput,
    final: z.boolean().default(true).describe('end the hold and free the rest of it'),
    overdraft: overdraftInput,
    feature: featureInput.optional().describe('that of the hold unless told otherwise'),
    metadata: metadataInput,
  })
  .meta({ examples: [{ amount: '9.75' }] })

const captureView = z
  .object({
    id: z.string().describe('a spend: it can be read and reversed as one'),
    hold: z.string(),
    amount: creditsOutput,
    balance: creditsOutput.describe('after this capture'),
    status: status.describe('of the hold, after this capture'),
  })
  .meta({
    id: 'Capture',
    examples: [
      { id: EXAMPLE.spend, hold: EXAMPLE.hold, amount: '9.75', balance: '90.25', status: 'captured' },
    ],
  })

const releaseView = z
  .object({
    id: z.string(),
    object: z.literal('hold'),
    status: z.literal('released'),
    amount: creditsOutput,
    captured: creditsOutput,
    closed_at: instant,
  })
  .meta({
    id: 'Release',
    examples: [
      {
        id: EXAMPLE.hold,
        object: 'hold',
        status: 'released',
        amount: '12.5',
        captured: '0',
        closed_at: EXAMPLE.at,
      },
    ],
  })

/** Registers the routes. */
export function holdRoutes(app: Api, { pool }: ApiDeps, watch: TopUpWatch): void {
  app.post('/v1/accounts/:account/holds', {
    config: { scope: 'spend' },
    schema: {
      summary: 'Set credits aside',
      description:
        'Soonest to expire first, never more than is available: 402 `insufficient_credits`. At its deadline a hold lapses ' +
        'and frees what it set aside; what expired meanwhile lapses then.',
      tags: ['holds'],
      params: accountParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: holdInput,
      response: answers(orPreview({ 201: holdView }), [
        'account_not_found',
        'credits_invalid',
        'insufficient_credits',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const input = {
        account: request.params.account,
        key: keyOf(request),
        amount: parseCredits(body.amount),
        seconds: body.expires_in,
        feature: body.feature,
        actor: actorOf(request),
        metadata: body.metadata,
      }
      if (isDryRun(request)) {
        return sendRehearsal(pool, reply, {
          account: input.account,
          async act(client, key) {
            const { hold } = await placeHold(client, { ...input, key })
            return [{ what: 'hold_lapses', at: hold.expiresAt }]
          },
        })
      }
      const { replayed, hold, available } = await placeHold(pool, input).catch((error: unknown) => {
        watch.refused(input.account, error)
        throw error
      })
      if (available !== null) watch.seen(input.account, available)
      markReplayed(reply, replayed)
      return reply.code(201).send(viewOf(hold))
    },
  })

  app.get('/v1/accounts/:account/holds', {
    config: { scope: 'read' },
    schema: {
      summary: 'List the holds of an account, newest first',
      tags: ['holds'],
      params: accountParams,
      querystring: z.strictObject({ ...pageQuery, status: status.optional() }),
      response: answers({ 200: listOf(holdView) }, ['account_not_found', 'cursor_invalid']),
    },
    async handler({ params: { account }, query }) {
      const list = `holds:${account}`
      const after = positionIn(list, query.cursor)
      await requireAccount(pool, account)
      const rows = await listHolds(pool, account, { limit: query.limit + 1, after, status: query.status })
      return pageOf(list, rows, query.limit, viewOf, (row) => [row.createdAt, row.id])
    },
  })

  app.get('/v1/holds/:hold', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a hold',
      tags: ['holds'],
      params: holdParams,
      querystring: noQuery,
      response: answers({ 200: holdView }, ['hold_not_found']),
    },
    handler: async ({ params }) => viewOf(await readHold(pool, params.hold)),
  })

  app.post('/v1/holds/:hold/capture', {
    config: { scope: 'spend' },
    schema: {
      summary: 'Turn a hold into a spend: of part of it, all of it, or more',
      description:
        'First from what the hold set aside; the excess, or all of it once the hold has lapsed, from what is available: ' +
        '402 `insufficient_credits`, `available` being the most that could be captured.',
      tags: ['holds'],
      params: holdParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: captureInput,
      response: answers(orPreview({ 200: captureView }), [
        'balance_limit',
        'credits_invalid',
        'hold_closed',
        'hold_not_found',
        'insufficient_credits',
      ]),
    },
    async handler(request, reply) {
      const { body, params } = request
      if (body.overdraft) requireScope(request, 'overdraft')
      const input = {
        hold: params.hold,
        key: keyOf(request),
        amount: parseCredits(body.amount),
        final: body.final,
        overdraft: body.overdraft,
        feature: body.feature,
        actor: actorOf(request),
        metadata: body.metadata,
      }
      if (isDryRun(request)) {
        return sendRehearsal(pool, reply, {
          account: (await readHold(pool, params.hold)).account,
          async act(client, key) {
            await captureHold(client, { ...input, key })
          },
        })
      }
      const { replayed, ...capture } = await captureHold(pool, input)
      // its posting names the account; what other holds set aside is not known here
      const { account } = spendNamed(capture.id) ?? {}
      if (account !== undefined) watch.seen(account, capture.balance)
      markReplayed(reply, replayed)
      return { ...capture, hold: params.hold }
    },
  })

  app.post('/v1/holds/:hold/release', {
    config: { scope: 'spend' },
    schema: {
      summary: 'End a hold and free what it set aside',
      description: 'One that has lapsed can be released, too: then it cannot be captured any more.',
      tags: ['holds'],
      params: holdParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: z
        .strictObject({})
        .nullish()
        .meta({ examples: [{}] }),
      response: answers(orPreview({ 200: releaseView }), ['hold_closed', 'hold_not_found']),
    },
    async handler(request, reply) {
      const { hold } = request.params
      const input = { hold, key: keyOf(request), actor: actorOf(request) }
      if (isDryRun(request)) {
        return sendRehearsal(pool, reply, {
          account: (await readHold(pool, hold)).account,
          async act(client, key) {
            await releaseHold(client, { ...input, key })
          },
        })
      }
      const { replayed, closedAt, ...released } = await releaseHold(pool, input)
      markReplayed(reply, replayed)
      return {
        ...released,
        id: hold,
        object: 'hold' as const,
        status: 'released' as const,
        closed_at: closedAt,
      }
    },
  })
}

function viewOf(hold: Hold): z.infer<typeof holdView> {
  const { createdAt, expiresAt, closedAt, ...same } = hold
  return { ...same, object: 'hold', created_at: createdAt, expires_at: expiresAt, closed_at: closedAt }
}
