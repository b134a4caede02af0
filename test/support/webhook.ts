/** Delivers events by hand: signed as Stripe signs them, as often and in whatever order a test wants. */
import Stripe from 'stripe'
import { eventually, type Stack } from './stack.ts'

/**
 * Posts one event to the webhook route with a fresh signature. Answers the status.
 * @param at one API's own address, instead of where Stripe would send it
 */
export async function deliver(
  stack: Stack,
  event: Stripe.Event | Record<string, unknown>,
  at: string = stack.apiUrl,
): Promise<number> {
  const payload = JSON.stringify(event)
  const secret = stack.deps.stripe.webhookSecrets[0] ?? ''
  const answer = await fetch(`${at}/webhooks/stripe`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload, secret }),
    },
    body: payload,
  })
  return answer.status
}

/** Every event that Stripe has about one customer, oldest first. */
export async function eventsOf(stack: Stack, customer: string): Promise<Stripe.Event[]> {
  const events: Stripe.Event[] = []
  for await (const event of stack.stripe.events.list({ limit: 100 })) {
    const object = event.data.object as { id?: string; customer?: string | null }
    if (object.customer === customer || object.id === customer) events.push(event)
  }
  return events.reverse()
}

/** The event's row has been settled by a run of its owner. */
export async function settledEvent(stack: Stack, id: string): Promise<void> {
  await eventually(`${id} settled`, async () => {
    const { rowCount } = await stack.database.pool.query(
      'select 1 from processed_webhook_events where event_id = $1 and settled_at is not null',
      [id],
    )
    return rowCount === 1
  })
}
