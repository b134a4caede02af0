/** /v1/portal_sessions: Stripe's own page, where a customer sees invoices, changes cards and what its settings allow. */
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { workflowId } from '../domain/id.ts'
import { requireAccount } from '../store/account.ts'
import type { Api, ApiDeps } from './api.ts'
import { commandView } from './commands.ts'
import { answerOnce, idempotencyHeaders } from './idempotency.ts'
import { dryRunQuery, orPreview } from './preview.ts'
import { accountId, answers, EXAMPLE, returnUrl } from './schema.ts'

const portalInput = z
  .strictObject({ account: accountId, return_url: returnUrl.describe('where the page leads back to') })
  .meta({ examples: [{ account: EXAMPLE.account, return_url: 'https://product.example/billing' }] })

const portalView = z
  .object({
    object: z.literal('portal_session'),
    account: z.string(),
    url: z.string().describe('opens once, and only for a few minutes'),
  })
  .meta({
    id: 'PortalSession',
    examples: [
      {
        object: 'portal_session',
        account: EXAMPLE.account,
        url: 'https://billing.stripe.com/p/session/test_1',
      },
    ],
  })

/** Registers the route. */
export function portalSessionRoutes(app: Api, deps: ApiDeps): void {
  app.post('/v1/portal_sessions', {
    config: { scope: 'subscriptions' },
    schema: {
      summary: 'Open Stripe’s page for a customer: invoices, cards, plan',
      description: 'What a customer changes there is seen as if it had been asked for here.',
      tags: ['subscriptions'],
      headers: idempotencyHeaders,
      querystring: dryRunQuery,
      body: portalInput,
      response: answers(orPreview({ 201: portalView, 202: commandView }), [
        'account_not_found',
        'customer_not_found',
        'idempotency_in_progress',
        'stripe_refused',
      ]),
    },
    async handler(request, reply) {
      const { body } = request
      const { stripeCustomerId: customer } = await requireAccount(deps.pool, body.account)
      if (customer === null) throw new Refusal('customer_not_found', 'the account has bought nothing yet')
      return answerOnce(deps, request, reply, {
        scope: body.account,
        operation: 'portal',
        content: body,
        owner: workflowId.customer(customer),
        input: { account: body.account, return_url: body.return_url },
        status: 201,
        async begin() {},
        async view(_database, _command, result) {
          return { object: 'portal_session', account: body.account, url: result['url'] }
        },
      })
    },
  })
}
