/** /v1/grants: credits that were not bought, given by people with a reason. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { type Exact, parseCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { grantNotice } from '../domain/grant-notice.ts'
import { postingKey } from '../domain/id.ts'
import { GIFT_KINDS, type GiftInput, give } from '../ledger/gift.ts'
import type { GrantResult } from '../ledger/post.ts'
import { type Client, transaction } from '../store/connect.ts'
import { writeNotice } from '../store/notice.ts'
import { catalogInForce } from '../store/price-list.ts'
import type { Api, ApiDeps } from './api.ts'
import { actorOf } from './auth.ts'
import { idempotencyHeaders, keyOf, markReplayed } from './idempotency.ts'
import { dryRunQuery, isDryRun, orPreview, sendRehearsal } from './preview.ts'
import {
  accountId,
  answers,
  creditsInput,
  creditsOutput,
  EXAMPLE,
  expiryInput,
  instant,
  metadataInput,
  readInstant,
  reasonInput,
} from './schema.ts'

const kind = z.enum(GIFT_KINDS)

const grantInput = z
  .strictObject({
    account: accountId,
    amount: creditsInput,
    kind,
    reason_code: reasonInput,
    expires_at: expiryInput.optional(),
    priority: z
      .int()
      .min(0)
      .max(1000)
      .default(100)
      .describe('the lower burns first among credits that expire together'),
    metadata: metadataInput,
  })
  .meta({
    examples: [
      {
        account: EXAMPLE.account,
        amount: '25',
        kind: 'goodwill',
        reason_code: 'outage',
        expires_at: EXAMPLE.farOff,
      },
    ],
  })

const grantView = z
  .object({
    id: z.string(),
    object: z.literal('grant'),
    account: z.string(),
    lot: z.string(),
    amount: creditsOutput,
    kind,
    balance: creditsOutput.describe('after this grant'),
    reason_code: z.string(),
    expires_at: instant.nullable(),
    priority: z.int(),
    created_at: instant,
  })
  .meta({
    id: 'Grant',
    examples: [
      {
        id: EXAMPLE.posting,
        object: 'grant',
        account: EXAMPLE.account,
        lot: EXAMPLE.lot,
        amount: '25',
        kind: 'goodwill',
        balance: '112.5',
        reason_code: 'outage',
        expires_at: EXAMPLE.later,
        priority: 100,
        created_at: EXAMPLE.at,
      },
    ],
  })

/** Registers the routes. */
export function grantRoutes(app: Api, { pool }: ApiDeps): void {
  app.post('/v1/grants', {
    config: { scope: 'grants' },
    schema: {
      summary: 'Give credits as goodwill or promotion',
      description:
        'A debt is repaid first. Above the limit of the catalogue it needs the scope `grants:large`, too: 403 `grant_limit`.',
      tags: ['grants'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: grantInput,
      response: answers(orPreview({ 201: grantView }), [
        'account_not_found',
        'balance_limit',
        'credits_invalid',
        'expiry_past',
        'grant_limit',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const amount = parseCredits(body.amount)
      const expiresAt = readInstant(body.expires_at)
      const gift = {
        account: body.account,
        key: keyOf(request),
        kind: body.kind,
        amount,
        expiresAt,
        priority: body.priority,
        actor: actorOf(request),
        reasonCode: body.reason_code,
        metadata: body.metadata,
      }
      if (isDryRun(request)) {
        return sendRehearsal(pool, reply, {
          account: body.account,
          refusalLeaves: 'nothing',
          async act(client, key) {
            await giveAndTell(client, request, { ...gift, key })
          },
        })
      }
      const granted = await transaction(pool, (client) => giveAndTell(client, request, gift))
      markReplayed(reply, granted.outcome === 'replayed')
      return reply.code(201).send({
        id: granted.posting,
        object: 'grant',
        account: body.account,
        lot: granted.lot,
        amount: granted.amount,
        kind: body.kind,
        balance: granted.balanceAfter,
        reason_code: body.reason_code,
        expires_at: expiresAt ?? null,
        priority: body.priority,
        created_at: granted.occurredAt.toISOString(),
      })
    },
  })
}

/**
 * Gives credits, and writes the notice of it with them. What was given before is answered whatever the limit is now.
 * @throws Refusal `grant_limit`, which takes back what was given; and those of `give`
 */
async function giveAndTell(client: Client, request: FastifyRequest, gift: GiftInput): Promise<GrantResult> {
  const granted = await give(client, gift)
  const { account, amount: asked, kind, expiresAt = null } = gift
  // only now is it known to be one of ours: a caller may have sent any text
  request.trace['account'] = account
  if (granted.outcome === 'replayed') return granted
  await requireBelowLimit(client, request, asked)
  const { posting, amount, balanceAfter: balance } = granted
  const key = postingKey.grant(gift.key)
  const arrival = { account, key, posting, amount, balance, reason: kind, expiresAt, subscription: null }
  await writeNotice(client, grantNotice(arrival))
  return granted
}

/** @throws Refusal `grant_limit` */
async function requireBelowLimit(client: Client, request: FastifyRequest, amount: Exact): Promise<void> {
  if (request.holder?.scopes.includes('grants:large') === true) return
  // without a catalogue there is no limit to stay below
  const limit = (await catalogInForce(client))?.limits.grantMax ?? '0'
  if (amount.lte(limit)) return
  throw new Refusal('grant_limit', `above ${limit} credits this needs the scope grants:large`, {
    limit,
    scope: 'grants:large',
  })
}
