/** Changes of a subscription in Stripe, each under a key of its command; and what one would cost. */
import type Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import type { InvoiceFacts } from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { instant } from './fact.ts'
import { invoiceFacts } from './subscription-facts.ts'

type Change = Extract<SubscriptionStep, { do: 'change' }>
type Schedule = Extract<SubscriptionStep, { do: 'schedule' }>
/** A step that Stripe bills at once. */
export type BilledStep = Extract<SubscriptionStep, { do: 'change' | 'resume' }>

export type ChangeGateway = ReturnType<typeof createChangeGateway>

export function createChangeGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
  async function schedule(subscription: string, step: Schedule, command: string): Promise<void> {
    const { now, next: later, startsAnew } = step
    const key = (kind: 'schedule' | 'phases') => ({
      key: stripeKey.step(kind, command),
      kind,
      subject: subscription,
    })
    const found =
      step.schedule === null
        ? await calls.set({
            ...key('schedule'),
            send: (idempotencyKey) =>
              // docs.stripe.com/api/subscription_schedules/create: a subscription has one at most, and names it
              stripe.subscriptionSchedules.create({ from_subscription: subscription }, { idempotencyKey }),
          })
        : await stripe.subscriptionSchedules.retrieve(step.schedule)
    const start = found.current_phase?.start_date
    const params: Stripe.SubscriptionScheduleUpdateParams = {
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
    }
    await calls.set({
      ...key('phases'),
      send: (idempotencyKey) => stripe.subscriptionSchedules.update(found.id, params, { idempotencyKey }),
    })
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

  /** The one call of a step. */
  async function send(
    subscription: string,
    step: Exclude<SubscriptionStep, Schedule>,
    once: Stripe.RequestOptions,
  ): Promise<void> {
    switch (step.do) {
      case 'cancel':
        await stripe.subscriptions.update(subscription, { cancel_at_period_end: true }, once)
        return
      case 'go_on': {
        const params = step.by === 'cancel_at' ? { cancel_at: '' as const } : { cancel_at_period_end: false }
        await stripe.subscriptions.update(subscription, params, once)
        return
      }
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
      case 'change': {
        const params = { ...billing(step), payment_behavior: 'pending_if_incomplete' as const }
        await stripe.subscriptions.update(subscription, params, once)
        return
      }
    }
  }

  return {
    /**
     * Takes one step of a command, decided from what Stripe holds. Taken again under the same command, it changes
     * nothing more.
     */
    async take(subscription: string, step: SubscriptionStep, command: string): Promise<void> {
      if (step.do === 'schedule') return await schedule(subscription, step, command)
      await calls.set({
        key: stripeKey.step(step.do, command),
        kind: step.do,
        subject: subscription,
        send: (idempotencyKey) => send(subscription, step, { idempotencyKey }),
      })
    },

    /** The invoice that a change or the end of a pause would make, as facts; it exists nowhere. */
    async preview(subscription: string, step: BilledStep): Promise<InvoiceFacts> {
      const invoice = await stripe.invoices.createPreview({
        subscription,
        subscription_details: step.do === 'resume' ? { resume_at: 'now' } : billing(step),
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
