// An event as an endpoint of an older release is told it: before 2025-03-31.basil invoices named their subscription and
// periods stood on the subscription. docs.stripe.com/changelog/basil
type Json = Record<string, unknown>

const OLD_VERSION = '2024-06-20'

export function inOldVersion<E extends { api_version: string | null; data: { object: Json } }>(event: E): E {
  const { object } = event.data
  const shapes: Record<string, (object: Json) => Json> = {
    invoice: oldInvoice,
    subscription: oldSubscription,
  }
  const shown = shapes[String(object['object'])]?.(object) ?? object
  return { ...event, api_version: OLD_VERSION, data: { ...event.data, object: shown } }
}

function oldInvoice({ parent, lines, payments: _payments, ...rest }: Json): Json {
  const { subscription = null, metadata = null } = inside(parent, 'subscription_details')
  const { data = [], ...list } = (lines ?? {}) as { data?: Json[] }
  return {
    ...rest,
    subscription,
    subscription_details: { metadata },
    paid: rest['status'] === 'paid',
    lines: { ...list, data: data.map(oldLine) },
  }
}

function oldLine({ parent, pricing, ...rest }: Json): Json {
  const from = inside(parent, 'subscription_item_details')
  const { price = null } = inside(pricing, 'price_details')
  const { subscription = null, proration = false } = from
  return { ...rest, type: 'subscription', subscription, proration, price: { id: price, object: 'price' } }
}

function oldSubscription({ items, ...rest }: Json): Json {
  const { data = [], ...list } = (items ?? {}) as { data?: Json[] }
  const [first] = data
  const { current_period_start, current_period_end } = first ?? {}
  const old = data.map(({ current_period_start: _start, current_period_end: _end, ...item }) => item)
  return { ...rest, current_period_start, current_period_end, items: { ...list, data: old } }
}

function inside(object: unknown, field: string): Json {
  return (((object ?? {}) as Json)[field] ?? {}) as Json
}
