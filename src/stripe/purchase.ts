/** Stripe's side of buying packs: the hosted page in payment mode, and the payment that it leads to. */
import type Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import type { PackPaymentFacts, PageFacts } from '../domain/purchase.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { instant, METADATA } from './fact.ts'
import { type CheckoutFacts, type CheckoutOrder, makePage, unlessMissing } from './gateway.ts'

export interface PackPageOrder extends CheckoutOrder {
  quantity: number
  /** keeps the card for payments without the customer; the page asks for consent */
  savesMethod: boolean
}

/** A page with its payment, if it has one. */
export interface PackPage {
  page: PageFacts
  payment: PackPaymentFacts | null
}

export type PurchaseGateway = ReturnType<typeof createPurchaseGateway>

export function createPurchaseGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
  /** The page as it is now; undefined when Stripe has none of that id. */
  async function packPage(session: string): Promise<PackPage | undefined> {
    const expand = ['line_items', 'payment_intent.latest_charge']
    const found = await unlessMissing(stripe.checkout.sessions.retrieve(session, { expand }))
    if (found === undefined) return undefined
    const { payment_intent: intent } = found
    return {
      page: pageFacts(found),
      payment: intent === null || typeof intent === 'string' ? null : paymentFacts(intent),
    }
  }

  return {
    /** Opens the hosted page of an order of packs, once. Codes may be used: what is granted follows what is paid. */
    async openPage(order: PackPageOrder): Promise<CheckoutFacts> {
      const metadata = { [METADATA.account]: order.account, [METADATA.order]: order.order }
      return await makePage(stripe, calls, order, {
        mode: 'payment',
        line_items: [{ price: order.price, quantity: order.quantity }],
        allow_promotion_codes: true,
        metadata,
        payment_intent_data: {
          metadata,
          ...(order.savesMethod ? { setup_future_usage: 'off_session' } : {}),
        },
      })
    },

    packPage,

    /** The page that a payment was made on; undefined when it was made on none. */
    async pageOfPayment(payment: string): Promise<PackPage | undefined> {
      const { data } = await stripe.checkout.sessions.list({ payment_intent: payment, limit: 1 })
      return data[0] && (await packPage(data[0].id))
    },

    /** The payment of an order by its own id; undefined when it is not this order's. */
    async packPayment(id: string, order: string): Promise<PackPaymentFacts | undefined> {
      const found = await unlessMissing(stripe.paymentIntents.retrieve(id, { expand: ['latest_charge'] }))
      return found?.metadata[METADATA.order] === order ? paymentFacts(found) : undefined
    },

    /** Closes an open page. What is open no more stays as it is: look again. */
    async closePage(session: string): Promise<void> {
      const page = await unlessMissing(stripe.checkout.sessions.retrieve(session))
      if (page?.status !== 'open') return
      try {
        await calls.set({
          key: stripeKey.expire(session),
          kind: 'expire',
          subject: session,
          send: (idempotencyKey) => stripe.checkout.sessions.expire(session, {}, { idempotencyKey }),
        })
      } catch (error) {
        const now = await unlessMissing(stripe.checkout.sessions.retrieve(session))
        if (now?.status === 'open') throw error
      }
    },
  }
}

function pageFacts(session: Stripe.Checkout.Session): PageFacts {
  return {
    id: session.id,
    status: session.status ?? 'open',
    paymentStatus: session.payment_status,
    expiresAt: instant(session.expires_at),
    currency: session.currency ?? '',
    total: String(session.amount_total ?? 0),
    lines: (session.line_items?.data ?? []).map((line) => ({
      price: line.price?.id ?? '',
      // where tax is inside the price it is inside both sides of what is granted: nobody gets less for it
      net: String(line.amount_subtotal - line.amount_discount),
    })),
  }
}

function paymentFacts(intent: Stripe.PaymentIntent): PackPaymentFacts {
  const charge = typeof intent.latest_charge === 'string' ? null : intent.latest_charge
  return {
    id: intent.id,
    status: intent.status,
    received: String(intent.amount_received),
    currency: intent.currency,
    paidAt: intent.status === 'succeeded' ? instant(charge?.created ?? intent.created) : null,
  }
}
