/** Changes of a subscription in Stripe, each under a key of its command; and what one would cost. */
import Stripe from 'stripe'
import { stripeKey } from '../domain/id.ts'
import type { InvoiceFacts } from '../domain/subscription-facts.ts'
import type { SubscriptionStep } from '../domain/subscription-step.ts'
import { type Calls, FORGETFUL } from './call.ts'
import { releaseSchedule, setSchedule } from './schedule.ts'
import { invoiceFacts } from './subscription-facts.ts'

type Change = Extract<SubscriptionStep, { do: 'change' }>
type Schedule = Extract<SubscriptionStep, { do: 'schedule' }>
/** A step that Stripe bills at once. */
export type BilledStep = Extract<SubscriptionStep, { do: 'change' | 'resume' }>

export type ChangeGateway = ReturnType<typeof createChangeGateway>

export function createChangeGateway(stripe: Stripe, calls: Calls = FORGETFUL) {
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
        await voidInvoice(step.invoice, once)
        return
      case 'release':
        await releaseSchedule(stripe, step.schedule, once)
        return
      case 'change': {
        const params = { ...billing(step), payment_behavior: 'pending_if_incomplete' as const }
        await stripe.subscriptions.update(subscription, params, once)
        return
      }
    }
  }

  /** What is void already stays so. */
  async function voidInvoice(invoice: string, once: Stripe.RequestOptions): Promise<void> {
    try {
      await stripe.invoices.voidInvoice(invoice, {}, once)
    } catch (error) {
      if (!(error instanceof Stripe.errors.StripeInvalidRequestError)) throw error
      if ((await stripe.invoices.retrieve(invoice)).status !== 'void') throw error
    }
  }

  return {
    /**
     * Takes one step of a command, decided from what Stripe holds. Taken again under the same command, it changes
     * nothing more.
     */
    async take(subscription: string, step: SubscriptionStep, command: string): Promise<void> {
      if (step.do === 'schedule') return await setSchedule(stripe, calls, subscription, step, command)
      await calls.set({
        key: stripeKey.step(step.do, command),
        kind: step.do,
        subject: subscription,
        send: (idempotencyKey) => send(subscription, step, { idempotencyKey }),
      })
    },

    /** Lets go of a subscription by a schedule that has nothing more to do. */
    async letGo(schedule: string): Promise<void> {
      await calls.set({
        key: stripeKey.letGo(schedule),
        kind: 'release',
        subject: schedule,
        send: (idempotencyKey) => releaseSchedule(stripe, schedule, { idempotencyKey }),
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
