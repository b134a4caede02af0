/**
 * `?dry_run=true`: what a POST would do, answered 200 as a Preview. Nothing is written, the Idempotency-Key is not used up,
 * and what was answered under it before is not asked for.
 */
import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { businessNow } from '../clock.ts'
import { DATES, effectsOf, factsOf, type Foresight, type PlannedDate } from '../domain/effect.ts'
import { NOTICES } from '../domain/notice.ts'
import { dataView } from '../domain/notice-view.ts'
import { ENTRY_KINDS } from '../ledger/entry.ts'
import { type Rehearsal, rehearse } from '../ledger/rehearsal.ts'
import type { Client, Pool } from '../store/connect.ts'
import type { PreviewInput } from '../workflows/message.ts'
import { askPreview, type Reach } from '../workflows/owner.ts'
import { describeFailure } from './failure.ts'
import { type Code, Problem, refusalIn, statusOf } from './problem.ts'
import { creditsOutput, EXAMPLE, instant } from './schema.ts'

/** The query of every command. */
export const dryRunQuery = z.strictObject({
  dry_run: z
    .enum(['true', 'false'])
    .optional()
    .describe('`true`: answers 200 with a Preview, does nothing, and does not use the Idempotency-Key up'),
})

/** How long a caller waits for the preview of a command that a workflow carries out. */
const WAIT_MS = 10_000

/** Whether a request only asks what it would do. */
export function isDryRun(request: FastifyRequest): boolean {
  return (request.query as z.infer<typeof dryRunQuery> | undefined)?.dry_run === 'true'
}

const postingView = z.object({
  kind: z.enum(ENTRY_KINDS),
  amount: creditsOutput.describe('what it does to the balance'),
  balance_after: creditsOutput,
  feature: z.string().nullable(),
  reason_code: z.string(),
  lots: z.array(
    z.object({
      lot: z.string().nullable().describe('null: a lot that this command makes'),
      source: z.string(),
      amount: creditsOutput.describe('below zero is drawn'),
      expires_at: instant.nullable(),
    }),
  ),
})

const callView = z
  .object({
    method: z.enum(['POST', 'DELETE']),
    path: z.string().describe('`{…}`: an id that an earlier call makes'),
    params: z.record(z.string(), z.string().nullable()).describe('null: made by an earlier call'),
  })
  .describe('a call that changes something in Stripe; personal data that goes along is left out')

const effectsView = z.object({
  postings: z.array(postingView),
  stripe: z.array(callView),
  notices: z.array(
    z.object({ kind: z.string(), type: z.string(), data: z.record(z.string(), z.string().nullable()) }),
  ),
  dates: z.array(z.object({ what: z.enum(DATES), at: instant })),
})

const balanceView = z.object({
  balance: creditsOutput,
  held: creditsOutput,
  available: creditsOutput,
  debt: creditsOutput,
  lots: z.array(
    z.object({
      lot: z.string().nullable(),
      source: z.string(),
      remaining: creditsOutput,
      expires_at: instant.nullable(),
    }),
  ),
})

export const previewView = z
  .object({
    object: z.literal('preview'),
    operation: z.string(),
    at: instant.describe('business time that it was looked at'),
    outcome: z.enum(['done', 'refused']),
    refusal: z
      .looseObject({ code: z.string(), status: z.int(), detail: z.string() })
      .nullable()
      .describe('what the request would be answered, with the facts of that problem'),
    effects: effectsView.describe(
      'of a refused request: what is done all the same, such as lapses that are due',
    ),
    balance: balanceView
      .nullable()
      .describe('of the account afterwards; null: the command touches no wallet'),
  })
  .meta({
    id: 'Preview',
    examples: [
      {
        object: 'preview',
        operation: 'spend',
        at: EXAMPLE.at,
        outcome: 'done',
        refusal: null,
        effects: {
          postings: [
            {
              kind: 'spend',
              amount: '-12.5',
              balance_after: '87.5',
              feature: 'chat',
              reason_code: 'spend',
              lots: [{ lot: EXAMPLE.lot, source: 'plan', amount: '-12.5', expires_at: EXAMPLE.later }],
            },
          ],
          stripe: [],
          notices: [],
          dates: [],
        },
        balance: {
          balance: '87.5',
          held: '0',
          available: '87.5',
          debt: '0',
          lots: [{ lot: EXAMPLE.lot, source: 'plan', remaining: '87.5', expires_at: EXAMPLE.later }],
        },
      },
    ],
  })

type View = z.infer<typeof previewView>

/**
 * The good answers of a command: its own, and a Preview for 200, which only `sendPreview` answers. The command's own goes
 * first, because a schema that fits is looked for in this order, and a preview is rare.
 */
export function orPreview<T extends Record<number, z.ZodType>>(good: T): T {
  const own = good[200]
  if (own === undefined) return { ...good, 200: previewView }
  const examples = [own, previewView].flatMap((each) => each.meta()?.examples ?? [])
  return { ...good, 200: z.union([own, previewView]).meta({ examples }) }
}

/** Refusals of a request that is not well formed, which no state of things would make right. */
const MALFORMED: ReadonlySet<Code> = new Set(['credits_invalid', 'endpoint_url_refused'])

/**
 * Answers what a command would do.
 * @param minted ids that were made for it and are no more: null in the answer
 */
export function sendPreview(reply: FastifyReply, foresight: Foresight, minted: string[] = []): FastifyReply {
  return reply.code(200).send(viewOf(operationOf(reply.request), foresight, minted))
}

/**
 * Answers what a dry run is refused for, wherever it was: that is what it asked. Not what is not valid or not allowed:
 * that is answered as without `dry_run`.
 * @returns whether it was answered
 */
export async function sendForeseenRefusal(
  pool: Pool,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<boolean> {
  const refusal = isDryRun(request) ? refusalIn(error) : undefined
  if (refusal === undefined || MALFORMED.has(refusal.code)) return false
  const at = await businessNow(pool)
  sendPreview(reply, { at, refusal: factsOf(refusal), effects: effectsOf({}), balance: null })
  return true
}

/** What a command is called: the last word of its path that is no parameter, one of them where it is many. */
function operationOf({ routeOptions: { url = '' } }: FastifyRequest): string {
  const words = url.split('/').filter((word) => word !== '' && !word.startsWith(':'))
  return (words.at(-1) ?? '').replace(/s$/, '')
}

/** What one function of the ledger would do to a wallet. */
export interface LedgerCommand {
  /** whose wallet */
  account: string
  /** does it under a key that nobody has used, and says what dates it made */
  act: (client: Client, key: string) => Promise<PlannedDate[] | void>
  /** as of a rehearsal: one statement unless told otherwise */
  refusalLeaves?: Rehearsal['refusalLeaves']
}

/** Answers what a function of the ledger would do. */
export async function sendRehearsal(
  pool: Pool,
  reply: FastifyReply,
  { account, act, refusalLeaves = 'lapses' }: LedgerCommand,
): Promise<FastifyReply> {
  const foresight = await rehearse(pool, {
    account,
    act: async (client) => (await act(client, randomUUID())) ?? [],
    refusalLeaves,
  })
  return sendPreview(reply, foresight)
}

/** Asks what a workflow would do. @throws Problem `unavailable` when nobody could say in time */
export async function askWorkflow(
  reach: Reach | undefined,
  request: FastifyRequest,
  asked: PreviewInput,
): Promise<Foresight> {
  if (reach !== undefined) {
    try {
      return await askPreview(reach, randomUUID(), asked, WAIT_MS)
    } catch (error) {
      const { operation, subject: workflow } = asked
      request.log.warn({ operation, workflow, failure: describeFailure(error) }, 'a preview was not answered')
    }
  }
  throw new Problem('unavailable', 'nobody could say in time what this would do; ask again', {
    headers: { 'retry-after': '1' },
  })
}

function viewOf(operation: string, { at, refusal, effects, balance }: Foresight, minted: string[]): View {
  const { postings, stripe, notices, dates } = effects
  return {
    object: 'preview',
    operation,
    at,
    outcome: refusal === null ? 'done' : 'refused',
    refusal: refusal && {
      ...refusal.data,
      code: refusal.code,
      status: statusOf(refusal.code),
      detail: refusal.detail,
    },
    effects: {
      postings: postings.map(({ balanceAfter, reasonCode, lots, ...same }) => ({
        ...same,
        balance_after: balanceAfter,
        reason_code: reasonCode,
        lots: lots.map(expiring),
      })),
      stripe,
      notices: notices.map(({ kind, data }) => ({
        kind,
        type: NOTICES[kind].event,
        data: without(minted, dataView(data)),
      })),
      dates,
    },
    balance: balance && { ...balance, lots: balance.lots.map(expiring) },
  }
}

function without(minted: string[], data: Record<string, string | null>): Record<string, string | null> {
  const known = (value: string | null) => (value !== null && minted.includes(value) ? null : value)
  return Object.fromEntries(Object.entries(data).map(([name, value]) => [name, known(value)]))
}

function expiring<T extends { expiresAt: string | null }>({ expiresAt, ...same }: T) {
  return { ...same, expires_at: expiresAt }
}
