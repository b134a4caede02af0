/** Changes of a subscription in Stripe, each under a key of its command; and what one would cost. */
import type Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import type { InvoiceFacts } from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { instant } from './fact.ts'
import { invoiceFacts } from './subscription-facts.ts'

type Change = Extract<SubscriptionStep, { do: 'change' }>
type Schedule = Extract<SubscriptionStep, { do: 'schedule' }>

export type ChangeGateway = ReturnType<typeof createChangeGateway>

export function createChangeGateway(stripe: Stripe) {
  async function schedule(subscription: string, step: Schedule, command: string): Promise<void> {
    const { now, next: later, startsAnew } = step
    const found =
      step.schedule === null
        ? await stripe.subscriptionSchedules.create(
            { from_subscription: subscription },
            { idempotencyKey: stripeKey.step('schedule', command) },
          )
        : await stripe.subscriptionSchedules.retrieve(step.schedule)
    const start = found.current_phase?.start_date
    await stripe.subscriptionSchedules.update(
      found.id,
      {
        end_behavior: 'release',
        proration_behavior: 'none',
        phases: [
          {
            items: [{ price: now.priceId, quantity: now.quantity }],
            ...(start === undefined ? {} : { start_date: start }),
            end_date: Date.parse(step.at) / 1000,
            proration_behavior: 'none',
          },
          {
            items: [{ price: later.priceId, quantity: later.quantity }],
            duration: { interval: later.interval, interval_count: 1 },
            proration_behavior: 'none',
            ...(startsAnew ? { billing_cycle_anchor: 'phase_start' as const } : {}),
          },
        ],
      },
      { idempotencyKey: stripeKey.step('phases', command) },
    )
    // set, read again, compare: a schedule that does not hold what it was told would bill the old price
    const kept = await stripe.subscriptionSchedules.retrieve(found.id)
    const next = kept.phases.at(-1)
    const [item] = next?.items ?? []
    const price = typeof item?.price === 'string' ? item.price : item?.price.id
    if (
      kept.status !== 'active' ||
      price !== later.priceId ||
      (item?.quantity ?? 1) !== later.quantity ||
      instant(next?.start_date) !== step.at
    ) {
      throw new Error(`the schedule ${found.id} does not hold the change that it was told`)
    }
  }

  return {
    /** Takes one step of a command. Taken again under the same command, it changes nothing more. */
    async take(subscription: string, step: SubscriptionStep, command: string): Promise<void> {
      const once = { idempotencyKey: stripeKey.step(step.do, command) }
      switch (step.do) {
        case 'cancel':
          await stripe.subscriptions.update(subscription, { cancel_at_period_end: true }, once)
          return
        case 'go_on':
          await stripe.subscriptions.update(
            subscription,
            step.by === 'cancel_at' ? { cancel_at: '' } : { cancel_at_period_end: false },
            once,
          )
          return
        case 'collect':
          await stripe.subscriptions.update(subscription, { pause_collection: '' }, once)
          return
        case 'resume':
          await stripe.subscriptions.resume(subscription, {}, once)
          return
        case 'void':
          await stripe.invoices.voidInvoice(step.invoice, {}, once)
          return
        case 'release':
          await stripe.subscriptionSchedules.release(step.schedule, {}, once)
          return
        case 'change':
          await stripe.subscriptions.update(
            subscription,
            {
              ...billing(step),
              payment_behavior: 'pending_if_incomplete',
            },
            once,
          )
          return
        case 'schedule':
          await schedule(subscription, step, command)
      }
    },

    /** The invoice that a change would make, as facts; it exists nowhere. */
    async preview(subscription: string, step: Change): Promise<InvoiceFacts> {
      const invoice = await stripe.invoices.createPreview({
        subscription,
        subscription_details: billing(step),
      })
      return invoiceFacts(invoice, invoice.lines.data)
    },
  }
}

function billing({ item, priceId, quantity, startsAnew }: Change) {
  return {
    items: [{ id: item, price: priceId, quantity }],
    proration_behavior: 'always_invoice' as const,
    ...(startsAnew ? { billing_cycle_anchor: { type: 'now' as const } } : {}),
  }
}
