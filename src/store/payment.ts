/** What was paid, and for whom. Written with the grant, because a refund has to find its way back from here. */
import type { LatePaymentPlan } from '../domain/approval.ts'
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
