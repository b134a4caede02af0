/** What was paid, and for whom. Written with the grant, because a refund has to find its way back from here. */
import type { Instant } from '../domain/calendar.ts'
import type { Queryable } from './connect.ts'

export interface PaymentInput {
  /** pi_…; or what was settled without one: in_…, cs_… */
  id: string
  account: string
  /** what it paid for: an invoice of a subscription, an order of packs, or an automatic top-up */
  subscription?: string | null
  invoice?: string | null
  order?: string | null
  topUp?: string | null
  amountMinor: string
  currency: string
  paidAt: Instant
}

/** Writes a payment once. */
export async function writePayment(client: Queryable, payment: PaymentInput): Promise<void> {
  await client.query(
    `insert into payment (id, account_id, subscription_id, invoice_id, amount_minor, currency, paid_at, order_id, top_up_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing`,
    [
      payment.id,
      payment.account,
      payment.subscription ?? null,
      payment.invoice ?? null,
      payment.amountMinor,
      payment.currency,
      payment.paidAt,
      payment.order ?? null,
      payment.topUp ?? null,
    ],
  )
}
