/** How Stripe collects: whether a payment waits for its customer, and the page where he sees to it himself. */
import type Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import { unlessMissing } from './gateway.ts'

export type CollectionGateway = ReturnType<typeof createCollectionGateway>

export function createCollectionGateway(stripe: Stripe) {
  return {
    /** Whether a payment waits for something that only its customer can do, such as confirming it at his bank. */
    async waitsForCustomer(intent: string): Promise<boolean> {
      const found = await unlessMissing(stripe.paymentIntents.retrieve(intent))
      return found?.status === 'requires_action'
    },

    /** Opens Stripe's own page for a customer, once a command: cards, invoices, and what its settings allow. */
    async openPortal(customer: string, returnUrl: string, command: string): Promise<string> {
      const session = await stripe.billingPortal.sessions.create(
        { customer, return_url: returnUrl },
        { idempotencyKey: stripeKey.step('portal', command) },
      )
      return session.url
    },
  }
}
