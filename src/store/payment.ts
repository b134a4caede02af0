/** What was paid, and for whom. Written with the grant, because a refund has to find its way back from here. */
import type { LatePaymentPlan } from '../domain/approval.ts'
import type { PaymentStep } from '../domain/subscription.ts'
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

/** Whether a payment is written down as it was told, and its credits were granted by that posting. */
export async function grantStands(
  client: Queryable,
  account: string,
  { payment, amountMinor, currency, credits, posting }: LatePaymentPlan,
): Promise<boolean> {
  const { rowCount } = await client.query(
    `select 1 from payment m
       join lot l on l.account_id = m.account_id and l.payment_id = m.id
       join posting p on p.account_id = l.account_id and p.key = l.key
      where m.id = $1 and m.account_id = $2 and m.amount_minor = $3 and m.currency = $4
        and p.amount = $5 and posting_id(p.account_id, p.seq, p.kind) = $6`,
    [payment, account, amountMinor, currency, credits, posting],
  )
  return rowCount === 1
}
