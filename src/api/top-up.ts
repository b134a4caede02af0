/** /v1/accounts/:account/top_up: a pack is bought by itself when credits run low. */
import { z } from 'zod'
import { formatCredits, parseCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { workflowId } from '../domain/id.ts'
import { requireAccount } from '../store/account.ts'
import type { Client, Queryable } from '../store/connect.ts'
import { packOnSale } from '../store/price-list.ts'
import { disableTopUp, enableTopUp, readTopUp, type TopUpRow } from '../store/top-up.ts'
import type { PreviewInput } from '../workflows/message.ts'
import type { Api, ApiDeps } from './api.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { dryRunQuery, isDryRun, orPreview } from './preview.ts'
import {
  accountParams,
  answers,
  creditsInput,
  creditsOutput,
  currencyInput,
  EXAMPLE,
  instant,
  minorUnits,
  noQuery,
  returnUrl,
} from './schema.ts'
import type { TopUpWatch } from './top-up-watch.ts'

const minorInput = z
  .string()
  .regex(/^[1-9]\d{0,11}$/, 'an amount in minor units as a string, such as "2000" for $20.00')
  .meta({ examples: ['10000'] })

const topUpOn = z.strictObject({
  enabled: z.literal(true),
  pack: z.string().min(1).max(63).describe('the id of a pack in /v1/catalog'),
  threshold: creditsInput.describe('credits: below this, one pack is bought'),
  monthly_max_minor: minorInput.describe('most that it charges in a calendar month (UTC), in minor units'),
  currency: currencyInput,
  return_url: returnUrl.describe(
    'where the customer goes after a page on which his bank wants him to pay himself',
  ),
})

const topUpOff = z.strictObject({ enabled: z.literal(false).describe('keeps what was set') })

const topUpInput = z
  .discriminatedUnion('enabled', [topUpOn, topUpOff], {
    error: ({ code }) => (code === 'invalid_union' ? 'expected "enabled": true or false' : undefined),
  })
  .meta({
    examples: [
      {
        enabled: true,
        pack: 'credits_25',
        threshold: '5',
        monthly_max_minor: '10000',
        return_url: 'https://product.example/credits',
      },
      { enabled: false },
    ],
  })

type TopUpOn = z.infer<typeof topUpOn>

const attemptView = z.object({
  id: z.string(),
  status: z.enum(['charging', 'processing', 'succeeded', 'declined', 'failed']),
  amount_minor: minorUnits,
  currency: z.string(),
  payment: z.string().nullable().describe('Stripe’s payment intent'),
  granted: creditsOutput.nullable(),
  decline_code: z.string().nullable().describe('in Stripe’s words'),
  created_at: instant,
})

const topUpView = z
  .object({
    object: z.literal('top_up'),
    account: z.string(),
    enabled: z.boolean().describe('false also once it has stopped by itself: see `stopped`'),
    pack: z.string(),
    threshold: creditsOutput,
    monthly_max_minor: minorUnits,
    currency: z.string().nullable().describe('what it charges, and counts; null: nothing is on sale'),
    month_minor: minorUnits.describe('charged in it, or about to be, in the calendar month that runs'),
    return_url: z.string(),
    declines: z.int().describe('in a row; the third stops it'),
    next_attempt_at: instant.nullable().describe('after a decline: not before'),
    stopped: z
      .enum(['declines', 'no_payment_method', 'pack_not_on_sale'])
      .nullable()
      .describe('why it stopped by itself; enabling it sets it going again'),
    last_attempt: attemptView.nullable(),
    updated_at: instant,
  })
  .meta({
    id: 'TopUp',
    examples: [
      {
        object: 'top_up',
        account: EXAMPLE.account,
        enabled: true,
        pack: 'credits_25',
        threshold: '5',
        monthly_max_minor: '10000',
        currency: 'usd',
        month_minor: '2500',
        return_url: 'https://product.example/credits',
        declines: 0,
        next_attempt_at: null,
        stopped: null,
        last_attempt: {
          id: 'top_6c1f0b7e2d9a4853b4c7d1e2f3a50698',
          status: 'succeeded',
          amount_minor: '2500',
          currency: 'usd',
          payment: 'pi_3QxYzA',
          granted: '25',
          decline_code: null,
          created_at: EXAMPLE.at,
        },
        updated_at: EXAMPLE.at,
      },
    ],
  })

/** Registers the routes. */
export function topUpRoutes(app: Api, deps: ApiDeps, watch: TopUpWatch): void {
  const { pool } = deps

  app.post('/v1/accounts/:account/top_up', {
    config: { scope: 'purchases' },
    schema: {
      summary: 'Have a pack bought by itself when credits run low, or no longer',
      description:
        'Charges the card that a hosted checkout has kept, one payment at a time. A decline is tried again after one ' +
        'hour, then after six; the third in a row stops it. Enabling it again begins the counts anew.',
      tags: ['purchases'],
      params: accountParams,
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: topUpInput,
      response: answers(orPreview({ 200: topUpView }), [
        'account_not_found',
        'credits_invalid',
        'idempotency_in_progress',
        'pack_not_found',
        'payment_method_missing',
        'top_up_not_found',
      ]),
    },
    async handler(request, reply) {
      const { body, params } = request
      const { account } = params
      // read before anything is looked up: no state of things makes a malformed amount right
      const settings = body.enabled
        ? { ...body, threshold: formatCredits(parseCredits(body.threshold)) }
        : undefined
      const answer = await answerOnce(deps, request, reply, {
        scope: account,
        operation: 'set_top_up',
        content: body,
        owner: null,
        input: {},
        afterwards: settings && charging(account, settings),
        status: 200,
        begin: (client) =>
          settings === undefined ? disable(client, account) : enable(client, account, settings),
        view: async (database) => viewOf(await requireTopUp(database, account)),
      })
      if (body.enabled && !isDryRun(request)) watch.wake(account)
      return answer
    },
  })

  app.get('/v1/accounts/:account/top_up', {
    config: { scope: 'read' },
    schema: {
      summary: 'Automatic top-up of an account, and how it goes',
      tags: ['purchases'],
      params: accountParams,
      querystring: noQuery,
      response: answers({ 200: topUpView }, ['account_not_found', 'top_up_not_found']),
    },
    async handler({ params: { account } }) {
      await requireAccount(pool, account)
      return viewOf(await requireTopUp(pool, account))
    },
  })
}

async function disable(client: Client, account: string): Promise<void> {
  await requireAccount(client, account)
  if (!(await disableTopUp(client, account))) throw none(account)
}

async function enable(client: Client, account: string, settings: TopUpOn): Promise<void> {
  const { stripeCustomerId } = await requireAccount(client, account)
  const { pack, threshold, monthly_max_minor: monthlyMaxMinor, return_url: returnUrl } = settings
  const terms = await packOnSale(client, pack, settings.currency)
  if (terms === undefined) throw new Refusal('pack_not_found', 'no such pack is on sale')
  if (stripeCustomerId === null) {
    throw new Refusal('payment_method_missing', 'no checkout of this account has kept a card yet')
  }
  // the one that was agreed to, also when the catalogue's becomes another
  const agreed = { pack, threshold, monthlyMaxMinor, currency: terms.currency, returnUrl }
  await enableTopUp(client, account, agreed)
}

/** What an account that is low is charged at once, as a preview asks it. */
function charging(account: string, settings: TopUpOn): PreviewInput {
  const { pack, threshold, monthly_max_minor, currency } = settings
  const input = { pack, threshold, monthly_max_minor, ...(currency === undefined ? {} : { currency }) }
  return { operation: 'top_up', subject: workflowId.topUp(account), input }
}

const none = (account: string) =>
  new Refusal('top_up_not_found', `${account} never asked for automatic top-up`)

async function requireTopUp(database: Queryable, account: string): Promise<TopUpRow> {
  const row = await readTopUp(database, account)
  if (row === undefined) throw none(account)
  return row
}

function viewOf(row: TopUpRow): z.infer<typeof topUpView> {
  const { attempt, attempt_state: status, attempt_at: at } = row
  return {
    object: 'top_up',
    account: row.account,
    enabled: row.enabled,
    pack: row.pack,
    threshold: formatCredits(row.threshold),
    monthly_max_minor: row.monthly_max_minor,
    currency: row.currency,
    month_minor: row.month_minor,
    return_url: row.return_url,
    declines: row.declines,
    next_attempt_at: row.next_attempt_at?.toISOString() ?? null,
    stopped: row.stopped,
    last_attempt:
      attempt === null || status === null || at === null
        ? null
        : {
            id: attempt,
            status,
            amount_minor: row.attempt_minor ?? '0',
            currency: row.attempt_currency ?? '',
            payment: row.attempt_payment,
            granted: row.attempt_granted === null ? null : formatCredits(row.attempt_granted),
            decline_code: row.attempt_code,
            created_at: at.toISOString(),
          },
    updated_at: row.updated_at.toISOString(),
  }
}
