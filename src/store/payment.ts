/** What was paid, and for whom. Written with the grant, because a refund has to find its way back from here. */
import type { PaymentStep } from '../domain/subscription-facts.ts'
import type { Queryable } from './connect.ts'

/** Writes a payment once. */
export async function writePayment(
  client: Queryable,
  payment: PaymentStep & { account: string; subscription: string | null },
): Promise<void> {
  await client.query(
    `insert into payment (id, account_id, subscription_id, invoice_id, amount_minor, currency, paid_at)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
    [
      payment.id,
      payment.account,
      payment.subscription,
      payment.invoice,
      payment.amountMinor,
      payment.currency,
      payment.paidAt,
    ],
  )
}
