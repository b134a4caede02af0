// What an invoice would be: the change is really made, its invoice read, and all of it taken back; so a preview cannot
// differ from what then happens. docs.stripe.com/api/invoices/create_preview,
// docs.stripe.com/billing/subscriptions/prorations#preview-proration
import { turnPeriod } from './cycle.ts'
import { StripeFault } from './error.ts'
import { finalize } from './invoicing.ts'
import { resume } from './pause.ts'
import { firstInvoice, newSubscription, type NewSubscription } from './subscribing.ts'
import { cancelAtOnce, changeSubscription, type Change } from './subscription-change.ts'
import type { Invoice } from './wire.ts'
import type { World } from './world.ts'

/** The invoice that a change of a subscription makes at once, or else the next one. */
export function previewChange(
  world: World,
  subId: string,
  change: Change & { cancel_now?: boolean | undefined; resume_at?: 'now' | undefined },
): Invoice {
  return shown(world, () => {
    const before = world.need('subscription', subId)
    const { cancel_now: ends, resume_at: resumes, ...rest } = change
    if (ends) {
      const prorate = change.proration_behavior !== 'none'
      return cancelAtOnce(world, subId, { prorate, invoice_now: true }).latest_invoice
    }
    if (resumes !== undefined) {
      // what is paid shows in no preview, so nobody is charged for one
      const how = { anchor: 'now', behavior: 'none', payment: 'resume_on_payment_success' } as const
      resume(world, before, how)
      return world.need('subscription', subId).latest_invoice
    }
    const asked = Object.values(rest).some((value) => value !== undefined)
    const after = asked
      ? changeSubscription(world, before, { ...rest, payment_behavior: 'default_incomplete' })
      : before
    if (after.latest_invoice !== before.latest_invoice) return after.latest_invoice
    turnPeriod(world, subId)
    const next = world.need('subscription', subId).latest_invoice
    return next === before.latest_invoice ? null : next
  })
}

/** The first invoice of a subscription that does not exist yet. */
export function previewNew(world: World, fields: NewSubscription): Invoice {
  return shown(world, () => firstInvoice(world, newSubscription(world, fields).id).id)
}

function shown(world: World, act: () => string | Invoice | null): Invoice {
  const invoice = world.imagine(() => {
    const made = act()
    const id = made === null ? undefined : typeof made === 'string' ? made : made.id
    const found = id === undefined ? undefined : world.store.get('invoice', id)
    return found?.status === 'draft' ? finalize(world, found.id) : found
  })
  if (!invoice)
    throw new StripeFault(404, {
      type: 'invalid_request_error',
      code: 'invoice_upcoming_none',
      message: 'No upcoming invoices for customer',
    })
  const { _payment: _none, ...rest } = invoice
  return {
    ...rest,
    id: `upcoming_${invoice.id}`,
    amount_paid: 0,
    amount_remaining: invoice.amount_due,
    attempt_count: 0,
    attempted: false,
    automatically_finalizes_at: null,
    billing_reason: 'upcoming',
    effective_at: null,
    hosted_invoice_url: null,
    invoice_pdf: null,
    lines: { ...invoice.lines, url: `/v1/invoices/upcoming_${invoice.id}/lines` },
    next_payment_attempt: invoice.created,
    number: null,
    status: 'draft',
    status_transitions: { finalized_at: null, marked_uncollectible_at: null, paid_at: null, voided_at: null },
  }
}
