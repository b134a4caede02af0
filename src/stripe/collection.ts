/** How Stripe collects: whether a payment waits for its customer, and the page where he sees to it himself. */
import type Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { unlessMissing } from './gateway.ts'

export type CollectionGateway = ReturnType<typeof createCollectionGateway>

export function createCollectionGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
  return {
    /** Whether a payment waits for something that only its customer can do, such as confirming it at his bank. */
    async waitsForCustomer(intent: string): Promise<boolean> {
      const found = await unlessMissing(stripe.paymentIntents.retrieve(intent))
      return found?.status === 'requires_action'
    },

    /**
     * Opens Stripe's own page for a customer: cards, invoices, and what its settings allow. Stripe lists no such pages;
     * one whose address was lost is seen by nobody and ends by itself.
     */
    async openPortal(customer: string, returnUrl: string, command: string): Promise<string> {
      const params = { customer, return_url: returnUrl }
      const session = await calls.set({
        key: stripeKey.step('portal', command),
        kind: 'portal',
        subject: customer,
        send: (idempotencyKey) => stripe.billingPortal.sessions.create(params, { idempotencyKey }),
      })
      return session.url
    },
  }
}
