// What a request asks of a subscription's items: which prices and quantities it has afterwards.
import { resolvePrice } from './catalogue.ts'
import { invalid } from './error.ts'
import { mergeMetadata } from './param.ts'
import { checkItems, newItem, planOf } from './subscribing.ts'
import type { Subscription, SubscriptionItem } from './wire.ts'
import type { World } from './world.ts'

export interface AskedItem {
  id?: string | undefined
  price?: string | undefined
  quantity?: number | undefined
  deleted?: boolean | undefined
  metadata?: Record<string, string> | null | undefined
}

/** The items after the change, with their periods as before; new ones share the present period. */
export function changedItems(world: World, sub: Subscription, asked: AskedItem[]): SubscriptionItem[] {
  asked.forEach(({ id }, i) => {
    if (id !== undefined && !sub.items.data.some((item) => item.id === id))
      throw invalid(`No such subscription item: '${id}'`, `items[${i}][id]`, 'resource_missing')
  })
  const kept = sub.items.data.flatMap((item) => {
    const index = asked.findIndex(({ id }) => id === item.id)
    const change = asked[index]
    if (!change) return [item]
    if (change.deleted) return []
    const price =
      change.price === undefined || change.price === item.price.id
        ? item.price
        : resolvePrice(world, change.price, undefined, `items[${index}]`)
    const quantity = quantityOf(change.quantity ?? item.quantity ?? 1, index)
    const metadata = mergeMetadata(item.metadata, change.metadata)
    return [{ ...item, price, plan: planOf(price), quantity, metadata }]
  })
  const first = sub.items.data[0]
  const added = asked.flatMap((change, index) => {
    if (change.id !== undefined) return []
    const price = resolvePrice(world, change.price, undefined, `items[${index}]`)
    if (sub.items.data.some((item) => item.price.id === price.id))
      throw invalid(
        `Cannot add multiple subscription items with the same plan: ${price.id}`,
        `items[${index}][price]`,
      )
    const fields = {
      price,
      quantity: quantityOf(change.quantity ?? 1, index),
      metadata: mergeMetadata({}, change.metadata),
    }
    const [start, end] = [first?.current_period_start ?? world.at, first?.current_period_end ?? world.at]
    return [newItem(world, sub.id, fields, start, end)]
  })
  const items = [...kept, ...added]
  if (items.length === 0) throw invalid('A subscription must have at least one active plan.', 'items')
  checkItems(
    items.map(({ price, quantity }) => ({ price, quantity: quantity ?? 1, metadata: {} })),
    sub.currency,
  )
  return items
}

function quantityOf(quantity: number, index: number): number {
  if (quantity < 0) throw invalid('Invalid non-negative integer', `items[${index}][quantity]`)
  return quantity
}
