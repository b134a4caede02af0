/** /v1/spends and spending: what was used, and giving it back. */
import { z } from 'zod'
import { parseCredits } from '../domain/credits.ts'
import { spendNamed } from '../domain/id.ts'
import { readSpend, reverseSpend, type SpendView } from '../ledger/reversal.ts'
import { spend } from '../ledger/spend.ts'
import { SpendQueue } from '../ledger/spend-queue.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf, requireScope } from './auth.ts'
import { idempotencyHeaders, keyOf, markReplayed } from './idempotency.ts'
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
  reasonInput,
} from './schema.ts'
import type { TopUpWatch } from './top-up-watch.ts'

const spendInput = z
  .strictObject({
    amount: creditsInput,
    feature: featureInput.optional().describe('what the credits were used for'),
    overdraft: overdraftInput,
    metadata: metadataInput,
  })
  .meta({ examples: [{ amount: '12.5', feature: 'chat', metadata: { job: '42' } }] })

const spentView = z
  .object({ id: z.string(), amount: creditsOutput, balance: creditsOutput.describe('after this spend') })
  .meta({ id: 'Spent', examples: [{ id: EXAMPLE.spend, amount: '12.5', balance: '87.5' }] })

const spendParams = z.object({
  spend: z.string().meta({ examples: [EXAMPLE.spend] }),
})

const spendView = z
  .object({
    id: z.string(),
    object: z.literal('spend'),
    account: z.string(),
    hold: z.string().nullable().describe('the hold that it captured'),
    amount: creditsOutput,
    reversed: creditsOutput.describe('what was given back of it'),
    feature: z.string().nullable(),
    actor: z.string(),
    balance: creditsOutput.describe('right after it'),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Spend',
    examples: [
      {
        id: EXAMPLE.spend,
        object: 'spend',
        account: EXAMPLE.account,
        hold: null,
        amount: '12.5',
        reversed: '2.5',
        feature: 'chat',
        actor: EXAMPLE.actor,
        balance: '87.5',
        created_at: EXAMPLE.at,
        metadata: { job: '42' },
      },
    ],
  })

const reversalInput = z
  .strictObject({
    amount: creditsInput.optional(),
    reason_code: reasonInput.default('reversal'),
    metadata: metadataInput,
  })
  .meta({ examples: [{ amount: '2.5', reason_code: 'bad_answer' }] })

const reversalView = z
  .object({
    id: z.string(),
    object: z.literal('reversal'),
    account: z.string(),
    spend: z.string(),
    amount: creditsOutput,
    lapsed: creditsOutput.describe('of it: what had expired meanwhile and was gone again at once'),
    balance: creditsOutput.describe('after this reversal'),
    reason_code: z.string(),
    created_at: instant,
  })
  .meta({
    id: 'Reversal',
    examples: [
      {
        id: EXAMPLE.posting,
        object: 'reversal',
        account: EXAMPLE.account,
        spend: EXAMPLE.spend,
        amount: '2.5',
        lapsed: '0',
        balance: '90',
        reason_code: 'bad_answer',
        created_at: EXAMPLE.at,
      },
    ],
  })

/** Registers the routes. */
export function spendRoutes(app: Api, { pool }: ApiDeps, watch: TopUpWatch): void {
  // spends that wait in this process at the same moment share a round trip
  const queue = new SpendQueue(pool)

  app.post('/v1/accounts/:account/spend', {
    config: { scope: 'spend' },
    schema: {
      summary: 'Spend credits, soonest to expire first',
      description:
        'One round trip to Postgres. Never takes more than is available: 402 `insufficient_credits`, unless it is told ' +
        'to overdraw, which needs the scope `overdraft`, too.',
      tags: ['spends'],
      params: accountParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: spendInput,
      response: answers(orPreview({ 200: spentView }), [
        'account_not_found',
        'balance_limit',
        'credits_invalid',
        'insufficient_credits',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      if (body.overdraft) requireScope(request, 'overdraft')
      const input = {
        account: request.params.account,
        key: keyOf(request),
        amount: parseCredits(body.amount),
        feature: body.feature,
        overdraft: body.overdraft,
        metadata: body.metadata,
        actor: actorOf(request),
      }
      if (isDryRun(request)) {
        // never by way of the queue: a batch is committed with the spends of others
        return sendRehearsal(pool, reply, {
          account: input.account,
          async act(client, key) {
            await spend(client, { ...input, key })
          },
        })
      }
      const { replayed, ...result } = await queue.spend(input).catch((error: unknown) => {
        watch.refused(input.account, error)
        throw error
      })
      watch.seen(input.account, result.balance)
      markReplayed(reply, replayed)
      return result
    },
  })

  app.get('/v1/spends/:spend', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a spend, and what was given back of it',
      tags: ['spends'],
      params: spendParams,
      querystring: noQuery,
      response: answers({ 200: spendView }, ['spend_not_found']),
    },
    handler: async ({ params }) => viewOf(await readSpend(pool, params.spend)),
  })

  app.post('/v1/spends/:spend/reverse', {
    config: { scope: 'reverse' },
    schema: {
      summary: 'Give a spend back, or part of it',
      description:
        'All that is left of it unless told otherwise, to the lots it drew on, the last first; what has expired meanwhile lapses at once. Parts add up to the spend at ' +
        'most: 409 `reversal_too_large`, then `spend_reversed`, with what is `left`.',
      tags: ['spends'],
      params: spendParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: reversalInput,
      response: answers(orPreview({ 200: reversalView }), [
        'balance_limit',
        'credits_invalid',
        'reversal_too_large',
        'spend_not_found',
        'spend_reversed',
      ]),
    },
    async handler(request, reply) {
      const { body, params } = request
      const input = {
        spend: params.spend,
        key: keyOf(request),
        amount: body.amount === undefined ? undefined : parseCredits(body.amount),
        actor: actorOf(request),
        reasonCode: body.reason_code,
        metadata: body.metadata,
      }
      if (isDryRun(request)) {
        return sendRehearsal(pool, reply, {
          // it names its account, whether or not there is such a spend
          account: spendNamed(params.spend)?.account ?? '',
          async act(client, key) {
            await reverseSpend(client, { ...input, key })
          },
        })
      }
      const { replayed, occurredAt, ...result } = await reverseSpend(pool, input)
      request.trace['account'] = result.account
      markReplayed(reply, replayed)
      return {
        ...result,
        object: 'reversal' as const,
        spend: params.spend,
        reason_code: body.reason_code,
        created_at: occurredAt,
      }
    },
  })
}

function viewOf({ occurredAt, ...spend }: SpendView): z.infer<typeof spendView> {
  return { ...spend, object: 'spend', created_at: occurredAt }
}
