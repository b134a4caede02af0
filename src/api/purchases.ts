/** /v1/purchases: packs of credits, bought on a hosted page and granted as what was paid for them. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { Exact, formatCredits } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { idFrom, workflowId } from '../domain/id.ts'
import { decideOrder } from '../domain/purchase-limit.ts'
import { requireAccount } from '../store/account.ts'
import type { Client, Queryable } from '../store/connect.ts'
import {
  findPurchase,
  insertPurchase,
  listPurchases,
  observeOrder,
  type PurchaseRow,
} from '../store/purchase.ts'
import type { Api, ApiDeps } from './api.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { listOf, pageOf, pageQuery, positionIn } from './list.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import {
  accountId,
  answers,
  checkoutView,
  creditsOutput,
  currencyInput,
  EXAMPLE,
  instant,
  metadataInput,
  metadataOutput,
  minorUnits,
  noQuery,
  returnUrl,
} from './schema.ts'

const purchaseInput = z
  .strictObject({
    account: accountId,
    pack: z.string().min(1).max(63).describe('the id of a pack in /v1/catalog'),
    quantity: z.int().min(1).max(100_000).default(1),
    currency: currencyInput,
    success_url: returnUrl.describe('where the customer goes after paying'),
    cancel_url: returnUrl.describe('where the customer goes after giving up'),
    save_payment_method: z
      .boolean()
      .default(false)
      .describe('keep the card for automatic top-up; the page asks the customer for consent'),
    metadata: metadataInput,
  })
  .meta({
    examples: [
      {
        account: EXAMPLE.account,
        pack: 'credits_25',
        quantity: 2,
        success_url: 'https://product.example/thanks?session={CHECKOUT_SESSION_ID}',
        cancel_url: 'https://product.example/credits',
        metadata: { cart: '7' },
      },
    ],
  })

type PurchaseInput = z.infer<typeof purchaseInput>

const paymentView = z.object({
  id: z.string().describe('Stripe’s payment intent; its session when nothing was due'),
  amount_minor: minorUnits.describe('what was paid, with tax'),
  currency: z.string(),
  paid_at: instant,
})

const purchaseView = z
  .object({
    id: z.string(),
    object: z.literal('purchase'),
    status: z
      .enum(['opening', 'open', 'processing', 'paid', 'late', 'abandoned', 'failed'])
      .describe(
        'processing: the customer is done and the money is on its way; late: paid after it had ended, granted and ' +
          'shown to a person',
      ),
    account: z.string(),
    pack: z.string(),
    quantity: z.int(),
    credits: creditsOutput.describe('when all of the list price is paid'),
    amount_minor: minorUnits.describe('list price × quantity, without tax'),
    currency: z.string(),
    checkout: checkoutView.nullable().describe('the hosted page, while it is open'),
    granted: creditsOutput.nullable().describe('of what was paid; null until then'),
    payment: paymentView.nullable(),
    created_at: instant,
    metadata: metadataOutput,
  })
  .meta({
    id: 'Purchase',
    examples: [
      {
        id: EXAMPLE.order,
        object: 'purchase',
        status: 'open',
        account: EXAMPLE.account,
        pack: 'credits_25',
        quantity: 2,
        credits: '50',
        amount_minor: '5000',
        currency: 'usd',
        checkout: {
          id: 'cs_test_a1',
          url: 'https://checkout.stripe.com/c/pay/cs_test_a1',
          expires_at: EXAMPLE.later,
        },
        granted: null,
        payment: null,
        created_at: EXAMPLE.at,
        metadata: { cart: '7' },
      },
    ],
  })

/** Registers the routes. */
export function purchaseRoutes(app: Api, deps: ApiDeps): void {
  const { pool } = deps

  app.post('/v1/purchases', {
    config: { scope: 'purchases' },
    schema: {
      summary: 'Buy a pack of credits by a hosted checkout',
      description:
        'Send the customer to `checkout.url`. What is paid is granted: a code that takes half of the price takes half ' +
        'of the credits. Answers 202 with a command when the page takes longer to open. Limits are the catalogue’s, ' +
        'by list price, and what is open counts.',
      tags: ['purchases'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: purchaseInput,
      response: answers(orPreview({ 201: purchaseView, 202: commandView }), [
        'account_not_found',
        'checkout_expired',
        'idempotency_in_progress',
        'pack_not_found',
        'purchase_day_limit',
        'purchase_limit',
        'purchase_rate',
        'stripe_refused',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const id = idFrom('ord', randomUUID())
      return answerOnce(deps, request, reply, {
        scope: body.account,
        operation: 'open',
        content: body,
        owner: workflowId.checkout(id),
        input: { purchase: id },
        foresee: {
          account: body.account,
          pack: body.pack,
          quantity: `${body.quantity}`,
          saves_method: `${body.save_payment_method}`,
          ...(body.currency === undefined ? {} : { currency: body.currency }),
        },
        status: 201,
        begin: (client) => order(client, id, body),
        async view(database, { input }, result) {
          const row = await requirePurchase(database, input['purchase'] ?? '')
          const checkout = checkoutView.safeParse(result['checkout']).data ?? null
          // as the page was when it opened, also when nobody could be told before the order went on
          return { ...viewOf(row), status: 'open', granted: null, payment: null, checkout }
        },
      })
    },
  })

  app.get('/v1/purchases', {
    config: { scope: 'read' },
    schema: {
      summary: 'Purchases of an account, newest first',
      tags: ['purchases'],
      querystring: z.strictObject({ ...pageQuery, account: accountId }),
      response: answers({ 200: listOf(purchaseView) }, ['account_not_found', 'cursor_invalid']),
    },
    async handler({ query }) {
      const kind = `purchases:${query.account}`
      const after = positionIn(kind, query.cursor)
      await requireAccount(pool, query.account)
      const rows = await listPurchases(pool, query.account, { limit: query.limit + 1, after })
      return pageOf(kind, rows, query.limit, viewOf, (row) => [row.created_at.toISOString(), row.id])
    },
  })

  app.get('/v1/purchases/:id', {
    config: { scope: 'read' },
    schema: {
      summary: 'Read a purchase',
      tags: ['purchases'],
      params: z.object({ id: z.string().meta({ examples: [EXAMPLE.order] }) }),
      querystring: noQuery,
      response: answers({ 200: purchaseView }, ['purchase_not_found']),
    },
    handler: async ({ params }) => viewOf(await requirePurchase(pool, params.id)),
  })
}

/** Writes an order that is within the limits; its workflow opens the page. */
async function order(client: Client, id: string, input: PurchaseInput): Promise<void> {
  const { account, quantity, metadata } = input
  const decision = decideOrder(await observeOrder(client, account, input), input)
  if ('refused' in decision) {
    const { code, detail, data } = decision.refused
    throw new Refusal(code, detail, data)
  }
  await insertPurchase(client, {
    id,
    accountId: account,
    quantity,
    successUrl: input.success_url,
    cancelUrl: input.cancel_url,
    savesMethod: input.save_payment_method,
    metadata,
    order: decision.order,
  })
}

async function requirePurchase(database: Queryable, id: string): Promise<PurchaseRow> {
  const row = await findPurchase(database, id)
  if (row === undefined) throw new Refusal('purchase_not_found', `there is no purchase ${id}`)
  return row
}

function viewOf(row: PurchaseRow): z.infer<typeof purchaseView> {
  const { session_id: session, url, expires_at, terms, payment_id: payment, paid_at: paidAt } = row
  return {
    id: row.id,
    object: 'purchase',
    status: row.state,
    account: row.account,
    pack: terms.pack,
    quantity: row.quantity,
    credits: formatCredits(new Exact(terms.credits).times(row.quantity)),
    amount_minor: row.amount_minor,
    currency: row.currency,
    checkout:
      session === null || row.state !== 'open'
        ? null
        : { id: session, url, expires_at: expires_at?.toISOString() ?? null },
    granted: row.granted === null ? null : formatCredits(row.granted),
    payment:
      payment === null || paidAt === null
        ? null
        : {
            id: payment,
            amount_minor: row.paid_minor ?? '0',
            currency: row.currency,
            paid_at: paidAt.toISOString(),
          },
    created_at: row.created_at.toISOString(),
    metadata: row.metadata,
  }
}
