/** Payments without the customer: the card that was kept, one charge of it, and what became of a charge. */
import Stripe from 'stripe'
import type { Instant } from '../domain/calendar.ts'
import { stripeKey } from '../domain/id.ts'
import type { ChargeFacts } from '../domain/top-up.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { instant, madeSince, METADATA } from './fact.ts'
import { unlessMissing } from './gateway.ts'

export interface ChargeOrder {
  account: string
  /** of the account's attempts: the key in Stripe is made of the two */
  ordinal: number
  attempt: string
  customer: string
  method: string
  amountMinor: string
  currency: string
  /** when the attempt was written: its payment is no older */
  startedAt: Instant
}

type Named = Pick<ChargeOrder, 'customer' | 'attempt' | 'startedAt'>

export type PaymentGateway = ReturnType<typeof createPaymentGateway>

export function createPaymentGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
  const gateway = {
    /** The card that a customer is charged with: the default of his invoices, or the last that was kept. */
    async keptMethod(customer: string): Promise<string | null> {
      const found = await unlessMissing(stripe.customers.retrieve(customer))
      if (found === undefined || found.deleted) return null
      const preferred = found.invoice_settings.default_payment_method
      if (preferred !== null) return typeof preferred === 'string' ? preferred : preferred.id
      const { data } = await stripe.customers.listPaymentMethods(customer, { type: 'card', limit: 1 })
      return data[0]?.id ?? null
    },

    /**
     * Charges a kept card, once for an attempt, and answers its payment; or why Stripe made none. A card that is declined
     * has a payment that says so.
     */
    async charge(order: ChargeOrder): Promise<ChargeFacts | { refused: string }> {
      const params: Stripe.PaymentIntentCreateParams = {
        amount: Number.parseInt(order.amountMinor, 10),
        currency: order.currency,
        customer: order.customer,
        payment_method: order.method,
        off_session: true,
        confirm: true,
        metadata: { [METADATA.account]: order.account, [METADATA.topUp]: order.attempt },
      }
      try {
        return await calls.make({
          key: stripeKey.topUp(order.account, order.ordinal),
          kind: 'top_up',
          subject: order.attempt,
          send: async (idempotencyKey) =>
            chargeFacts(await stripe.paymentIntents.create(params, { idempotencyKey }).catch(declined)),
          read: async (id) => (await gateway.chargeNamed(id, order.attempt)) ?? undefined,
          find: async () => (await gateway.chargeOf(order)) ?? undefined,
        })
      } catch (error) {
        if (error instanceof Stripe.errors.StripeCardError) return { refused: error.code ?? 'card_declined' }
        // a key that is in use, or an object that is locked, says nothing of the charge
        const { statusCode } = error instanceof Stripe.errors.StripeInvalidRequestError ? error : {}
        if (statusCode === 409 || statusCode === 429) throw error
        if (error instanceof Stripe.errors.StripeInvalidRequestError)
          return { refused: error.code ?? 'invalid_request' }
        throw error
      }
    },

    /** The payment of an attempt, found by what it says of itself; null when there is none. */
    async chargeOf({ customer, attempt, startedAt }: Named): Promise<ChargeFacts | null> {
      const payments = stripe.paymentIntents.list({
        customer,
        created: { gte: madeSince(startedAt) },
        limit: 100,
        expand: ['data.latest_charge'],
      })
      for await (const intent of payments)
        if (intent.metadata[METADATA.topUp] === attempt) return chargeFacts(intent)
      return null
    },

    /** A payment by its own id; null when it is not this attempt's. */
    async chargeNamed(payment: string, attempt: string): Promise<ChargeFacts | null> {
      const found = await gateway.named(payment)
      return found?.attempt === attempt ? found.charge : null
    },

    /** A payment by its own id, and the attempt that it says it is of; null when it is no top-up's. */
    async named(payment: string): Promise<{ attempt: string; charge: ChargeFacts } | null> {
      const expand = ['latest_charge']
      const found = await unlessMissing(stripe.paymentIntents.retrieve(payment, { expand }))
      const attempt = found?.metadata[METADATA.topUp]
      return found === undefined || attempt === undefined ? null : { attempt, charge: chargeFacts(found) }
    },
  }
  return gateway
}

/** The payment of a card that was declined, when there is one. */
function declined(error: unknown): Stripe.PaymentIntent {
  if (error instanceof Stripe.errors.StripeCardError && error.payment_intent !== undefined)
    return error.payment_intent
  throw error
}

function chargeFacts(intent: Stripe.PaymentIntent): ChargeFacts {
  const { latest_charge: charge, last_payment_error: error } = intent
  const at = charge === null || typeof charge === 'string' ? intent.created : charge.created
  return {
    id: intent.id,
    status: intent.status,
    received: String(intent.amount_received),
    currency: intent.currency,
    paidAt: intent.status === 'succeeded' ? instant(at) : null,
    code: error?.code ?? null,
  }
}
