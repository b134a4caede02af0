// A subscription's invoice as a draft.
import { amountsOf } from './invoice-total.ts'
import { sweepPending } from './invoice-item.ts'
import type { Invoice, InvoiceLine, Subscription } from './wire.ts'
import type { World } from './world.ts'

export interface DraftFields {
  reason: string
  lines: InvoiceLine[]
  /** Seconds until it finalises by itself; null leaves it a draft. */
  finalizesIn: number | null
  periodStart: number
}

export function draftInvoice(world: World, sub: Subscription, fields: DraftFields): Invoice {
  const customer = world.need('customer', sub.customer)
  const id = world.id('in')
  const asked = [...sweepPending(world, sub, id), ...fields.lines]
  const { lineData, ...amounts } = amountsOf(world, sub, asked)
  const { total } = amounts
  const finalizesAt = fields.finalizesIn === null ? null : world.at + fields.finalizesIn
  const lines = lineData.map((line) => ({ ...line, invoice: id }))
  if (finalizesAt !== null && fields.finalizesIn !== 0)
    world.deadlines.set('invoice.finalize', id, finalizesAt * 1000)
  return world.create('invoice', {
    id,
    object: 'invoice',
    account_country: 'US',
    account_name: 'Perennial sandbox',
    account_tax_ids: null,
    amount_due: total,
    amount_overpaid: 0,
    amount_paid: 0,
    amount_paid_off_stripe: 0,
    amount_remaining: total,
    amount_shipping: 0,
    application: null,
    attempt_count: 0,
    attempted: false,
    auto_advance: fields.finalizesIn !== null,
    automatically_finalizes_at: fields.finalizesIn === 0 ? null : finalizesAt,
    billing_reason: fields.reason,
    collection_method: sub.collection_method,
    created: world.at,
    currency: sub.currency,
    custom_fields: null,
    customer: sub.customer,
    customer_account: null,
    customer_address: customer.address ?? null,
    customer_email: customer.email,
    customer_name: customer.name ?? null,
    customer_phone: customer.phone ?? null,
    customer_shipping: null,
    customer_tax_exempt: customer.tax_exempt ?? 'none',
    customer_tax_ids: [],
    default_payment_method: null,
    default_source: null,
    description: null,
    due_date: null,
    effective_at: null,
    ending_balance: null,
    footer: null,
    from_invoice: null,
    hosted_invoice_url: null,
    invoice_pdf: null,
    issuer: { type: 'self' },
    last_finalization_error: null,
    latest_revision: null,
    lines: {
      object: 'list',
      data: lines,
      has_more: false,
      total_count: lines.length,
      url: `/v1/invoices/${id}/lines`,
    },
    livemode: false,
    metadata: {},
    next_payment_attempt: fields.finalizesIn === 0 ? null : finalizesAt,
    number: null,
    on_behalf_of: null,
    parent: {
      quote_details: null,
      subscription_details: { metadata: sub.metadata, subscription: sub.id },
      type: 'subscription_details',
    },
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: world.at,
    period_start: fields.periodStart,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    receipt_number: null,
    rendering: null,
    shipping_cost: null,
    shipping_details: null,
    starting_balance: customer.balance,
    statement_descriptor: null,
    status: 'draft',
    status_transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
    test_clock: null,
    webhooks_delivered_at: null,
    ...amounts,
  } as unknown as Invoice)
}
