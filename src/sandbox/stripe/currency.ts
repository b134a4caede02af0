// A customer is billed in one currency at a time. docs.stripe.com/billing/customer (customer currency)
import { invalid } from './error.ts'
import { isOver } from './subscription-state.ts'
import type { Customer } from './wire.ts'
import type { World } from './world.ts'

/** Refuses a subscription in another currency while anything binds the customer to theirs; then unbinds them. */
export function pinCurrency(world: World, customer: Customer, currency: string): void {
  const pinned = customer.currency
  if (!pinned || pinned === currency) return
  const bound =
    customer.balance !== 0 ||
    world.store.all('subscription').some((sub) => sub.customer === customer.id && !isOver(sub)) ||
    world.store
      .all('invoice')
      .some((item) => item.customer === customer.id && ['draft', 'open'].includes(item.status ?? ''))
  if (bound)
    throw invalid(
      `You cannot combine currencies on a single customer. This customer has an active subscription, subscription schedule, discount, quote, or invoice item with currency ${pinned}.`,
    )
  world.update('customer', customer.id, { currency: null })
}
