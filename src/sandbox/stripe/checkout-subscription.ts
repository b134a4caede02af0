// The subscription and first invoice of a paid Checkout session.
import type { Applied } from './balance.ts'
import { finalize, settle } from './invoicing.ts'
import { redeemableOf } from './checkout-total.ts'
import { ratesNamed } from './tax.ts'
import { firstInvoice, newSubscription, trialEnd } from './subscribing.ts'
import type { CheckoutSession, Price } from './wire.ts'
import type { World } from './world.ts'

/** `prepaid`: what was already collected and taken from the balance; no intent when nothing was due. */
export function draftInvoiceOfSession(
  world: World,
  session: CheckoutSession,
  customer: string,
  method: string | null,
  prepaid: { intent: string | undefined; applied: Applied },
): Partial<CheckoutSession> {
  const data = session._data
  const end = data.trial_end !== null && data.trial_end <= world.at ? 'now' : (data.trial_end ?? undefined)
  const sub = newSubscription(world, {
    customer,
    items: session._lines
      .filter((line) => line.price?.recurring)
      .map((line) => ({
        price: line.price as Price,
        quantity: line.quantity ?? 1,
        metadata: {},
        taxRates: ratesNamed(world, line._rates ?? [], 'line_items'),
      })),
    status: 'active',
    metadata: data.metadata,
    default_payment_method: method,
    trial_end: trialEnd(world.at, end, data.trial_days ?? undefined),
    missing_payment_method: data.missing_payment_method,
    billing_mode: data.billing_mode,
    description: data.description,
    collection_method: 'charge_automatically',
    days_until_due: null,
    save_default_payment_method: 'off',
    terms: {
      discounts: redeemableOf(world, session),
      automaticTax: session.automatic_tax.enabled,
      taxRates: data.tax_rates ?? [],
    },
  })
  const draft = firstInvoice(world, sub.id)
  const open = finalize(world, draft.id, prepaid)
  if (open.status === 'open') settle(world, open.id)
  return { subscription: sub.id, invoice: draft.id }
}
