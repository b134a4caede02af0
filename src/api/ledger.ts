/** /v1/accounts/:account: what an account has, now and then, where it came from, where it went, and what was used. */
import { z } from 'zod'
import { HOUR_MS } from '../domain/calendar.ts'
import { Refusal } from '../domain/error.ts'
import { readBalance, readBalanceAt } from '../ledger/balance.ts'
import { ENTRY_KINDS, FEATURES_MAX, readLedger, readUsage } from '../ledger/entry.ts'
import { requireAccount } from '../store/account.ts'
import type { Api, ApiDeps } from './api.ts'
import { ranOutOfTime } from './failure.ts'
import { isSequence, listOf, pageOf, pageQuery, readCursor } from './list.ts'
import { Problem } from './problem.ts'
import {
  accountParams,
  answers,
  creditsOutput,
  EXAMPLE,
  featureInput,
  instant,
  instantInput,
  metadataOutput,
  readInstant,
} from './schema.ts'

const balanceView = z
  .object({
    account: z.string(),
    balance: creditsOutput.describe('what is left of all lots, less the debt'),
    held: creditsOutput.describe('what open holds set aside'),
    available: creditsOutput.describe('what may be spent or held'),
    debt: creditsOutput.describe('what was overdrawn; the next grants repay it first'),
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
        held: '10',
        available: '77.5',
        debt: '0',
        lots: [
          { id: EXAMPLE.lot, source: 'plan', granted: '100', remaining: '87.5', expires_at: EXAMPLE.later },
        ],
      },
    ],
  })

const entryView = z
  .object({
    id: z.string(),
    object: z.literal('posting'),
    seq: z.string(),
    kind: z.enum(ENTRY_KINDS),
    amount: creditsOutput,
    balance_after: creditsOutput,
    feature: z.string().nullable(),
    actor: z.string(),
    reason_code: z.string(),
    source: z.record(z.string(), z.string()),
    lots: z.array(z.object({ id: z.string(), amount: creditsOutput })),
    occurred_at: instant,
    recorded_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Posting',
    examples: [
      {
        id: EXAMPLE.spend,
        object: 'posting',
        seq: '2',
        kind: 'spend',
        amount: '-12.5',
        balance_after: '87.5',
        feature: 'chat',
        actor: EXAMPLE.actor,
        reason_code: 'spend',
        source: {},
        lots: [{ id: EXAMPLE.lot, amount: '-12.5' }],
        occurred_at: EXAMPLE.at,
        recorded_at: EXAMPLE.at,
        metadata: { job: '42' },
      },
    ],
  })

const usageSums = {
  spends: z.string().describe('how many spends and captures'),
  spent: creditsOutput,
  reversed: creditsOutput.describe('given back in the period, whenever it was spent'),
  used: creditsOutput.describe('spent less reversed'),
}

const usageView = z
  .object({
    account: z.string(),
    from: instant,
    to: instant,
    by: z.enum(['feature', 'day', 'month']),
    total: z.object(usageSums),
    data: z
      .array(
        z.object({
          feature: z.string().nullable().describe('null: used without naming one, or added up by time'),
          at: instant.nullable().describe('when the day or month began, in UTC; null by feature'),
          ...usageSums,
        }),
      )
      .describe(`features: at most ${FEATURES_MAX}, most used first; days and months: those with any use`),
  })
  .meta({
    id: 'Usage',
    examples: [
      {
        account: EXAMPLE.account,
        from: EXAMPLE.at,
        to: EXAMPLE.later,
        by: 'feature',
        total: { spends: '3', spent: '14.5', reversed: '2', used: '12.5' },
        data: [
          { feature: 'chat', at: null, spends: '2', spent: '12.5', reversed: '2', used: '10.5' },
          { feature: 'images', at: null, spends: '1', spent: '2', reversed: '0', used: '2' },
        ],
      },
    ],
  })

/** The longest period of one answer. */
const USAGE_DAYS_MAX = 800

const period = {
  from: instantInput.describe('from this instant on').meta({ examples: [EXAMPLE.at] }),
  to: instantInput.describe('before it').meta({ examples: [EXAMPLE.later] }),
}

/** Registers the routes. */
export function ledgerRoutes(app: Api, { pool }: ApiDeps): void {
  app.get('/v1/accounts/:account/balance', {
    config: { scope: 'read' },
    schema: {
      summary: 'What an account has right now, or had at any instant that is over',
      description:
        'An instant is reckoned back to from now: that takes about two seconds for a million postings since. When it would take ' +
        'more than 15 seconds, 422 `too_much_to_read`; `balance_after` of `ledger?to=…&limit=1` has the balance alone at once.',
      tags: ['accounts'],
      params: accountParams,
      querystring: z.strictObject({
        at: instantInput
          .optional()
          .describe('business time; lots show the expiry that they have now. 400 `instant_not_over`'),
      }),
      response: answers({ 200: balanceView }, ['account_not_found', 'instant_not_over', 'too_much_to_read']),
    },
    async handler({ params: { account }, query }) {
      const at = readInstant(query.at)
      const balance = await (at === undefined
        ? readBalance(pool, account)
        : inTime(readBalanceAt(pool, account, at), 'a later instant, or the ledger’s balance_after'))
      if (balance === undefined) throw new Refusal('account_not_found', `there is no account ${account}`)
      return balance
    },
  })

  app.get('/v1/accounts/:account/ledger', {
    config: { scope: 'read' },
    schema: {
      summary: 'Where the credits came from and went, newest first',
      description:
        'Quick by `kind` and by time, however many postings there are. A `feature` that is rarely used is looked for posting ' +
        'by posting; what takes more than 15 seconds is answered 422 `too_much_to_read`: ask for a shorter period.',
      tags: ['accounts'],
      params: accountParams,
      querystring: z.strictObject({
        ...pageQuery,
        feature: featureInput.optional(),
        kind: z.enum(ENTRY_KINDS).optional(),
        from: period.from.optional(),
        to: period.to.optional(),
      }),
      response: answers({ 200: listOf(entryView) }, [
        'account_not_found',
        'cursor_invalid',
        'too_much_to_read',
      ]),
    },
    async handler({ params: { account }, query }) {
      const list = `ledger:${account}`
      const [before] = readCursor(list, query.cursor, [isSequence]) ?? []
      await requireAccount(pool, account)
      const reading = readLedger(pool, account, {
        limit: query.limit + 1,
        before,
        feature: query.feature,
        kind: query.kind,
        from: readInstant(query.from),
        to: readInstant(query.to),
      })
      const rows = await inTime(reading, 'a shorter period')
      const view = (row: (typeof rows)[number]) => ({ ...row, object: 'posting' as const })
      return pageOf(list, rows, query.limit, view, (row) => [row.seq])
    },
  })

  app.get('/v1/accounts/:account/usage', {
    config: { scope: 'read' },
    schema: {
      summary: 'What was used in a period, by feature, day or month',
      description:
        'Adds up the postings of the period, which takes about two seconds for a million of them. When it would take more than ' +
        '15 seconds, 422 `too_much_to_read`: ask for shorter periods, and add up their answers.',
      tags: ['accounts'],
      params: accountParams,
      querystring: z
        .strictObject({ ...period, by: z.enum(['feature', 'day', 'month']) })
        .refine(({ from, to }) => {
          const length = new Date(to).getTime() - new Date(from).getTime()
          return length > 0 && length <= USAGE_DAYS_MAX * 24 * HOUR_MS
        }, `expected from before to, at most ${USAGE_DAYS_MAX} days apart`),
      response: answers({ 200: usageView }, ['account_not_found', 'too_much_to_read']),
    },
    async handler({ params: { account }, query: { by, ...query } }) {
      const [from, to] = [readInstant(query.from), readInstant(query.to)]
      await requireAccount(pool, account)
      const { total, parts } = await inTime(readUsage(pool, account, { from, to, by }), 'a shorter period')
      return { account, from, to, by, total, data: parts }
    },
  })
}

/**
 * Waits for an answer that a wallet with very many postings may be too large for.
 * @param instead what to ask for then
 * @throws Problem `too_much_to_read` when Postgres gave up: it would do so again
 */
async function inTime<T>(reading: Promise<T>, instead: string): Promise<T> {
  try {
    return await reading
  } catch (error) {
    if (!ranOutOfTime(error)) throw error
    throw new Problem('too_much_to_read', `this takes too long to read at once; ask for ${instead}`)
  }
}
