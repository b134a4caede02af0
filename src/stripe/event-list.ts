/** Stripe's list of events, which it keeps for thirty days, and whose an object is that one of them tells of. */
import type Stripe from 'stripe'
import type { Instant } from '../domain/calendar.ts'
import { nounOf, ownerOf } from './event.ts'
import { API_VERSION, unlessMissing } from './gateway.ts'

const PAGE_MAX = 100

export interface EventPage {
  /** as Stripe lists them, newest first; in the API version that the account had when they were made */
  events: unknown[]
  /** where the next page goes on; undefined: this was the last */
  next: string | undefined
}

export type EventGateway = ReturnType<typeof createEventGateway>

export function createEventGateway(stripe: Stripe) {
  return {
    /** The version that events are understood in. */
    version: API_VERSION,

    /**
     * One page, newest first.
     * @param from not older than this
     * @param after goes on behind this event; when Stripe has forgotten it, nothing older is left
     */
    async page(from: Instant, after: string | null): Promise<EventPage> {
      const found = await unlessMissing(
        stripe.events.list({
          limit: PAGE_MAX,
          created: { gte: Math.floor(Date.parse(from) / 1000) },
          ...(after === null ? {} : { starting_after: after }),
        }),
      )
      if (found === undefined) return { events: [], next: undefined }
      return { events: found.data, next: found.has_more ? found.data.at(-1)?.id : undefined }
    },

    /**
     * The owner of an object as it is now, whatever the event about it said.
     * @returns null when the object is gone, or nobody's
     */
    async ownerNow(type: string, id: string): Promise<string | null> {
      const object = await read(stripe, type, id)
      return object === undefined ? null : ownerOf(type, object)
    },
  }
}

/** Reads the object that an event of this type tells of. */
async function read(stripe: Stripe, type: string, id: string): Promise<unknown> {
  switch (nounOf(type)) {
    case 'checkout.session':
      return await unlessMissing(stripe.checkout.sessions.retrieve(id))
    case 'customer.subscription':
      return await unlessMissing(stripe.subscriptions.retrieve(id))
    case 'invoice':
      return await unlessMissing(stripe.invoices.retrieve(id))
    case 'payment_intent':
      return await unlessMissing(stripe.paymentIntents.retrieve(id))
    case 'subscription_schedule':
      return await unlessMissing(stripe.subscriptionSchedules.retrieve(id))
    case 'customer.deleted':
      // its owner looks whether it is gone, and needs nothing else
      return { id }
    default:
      return undefined
  }
}
