// Adjustments of the customer's invoice balance, and the ledger they are in. docs.stripe.com/api/customer_balance_transactions
import { changeBalance } from '../balance.ts'
import { liveCustomer } from '../customer.ts'
import { invalid, missing } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { int, mergeMetadata, metadata, required, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { BalanceTransaction } from '../wire.ts'
import type { World } from '../world.ts'

function needEntry(world: World, customer: string, id: string): BalanceTransaction {
  const entry = world.need('customer_balance_transaction', id)
  if (entry.customer !== customer) throw missing('customer_balance_transaction', id)
  return entry
}

export const balanceTransaction: Resource = {
  routes: [
    route(
      'POST',
      '/v1/customers/:id/balance_transactions',
      { amount: required(int), currency: required(str), description: str, metadata },
      ({ world, ids: [id = ''], params }) => {
        liveCustomer(world, id)
        if (params.amount === 0) throw invalid('Invalid amount: must not be zero.', 'amount')
        return changeBalance(world, id, {
          amount: params.amount,
          currency: params.currency.toLowerCase(),
          type: 'adjustment',
          description: params.description,
          metadata: mergeMetadata({}, params.metadata),
        })
      },
    ),
    route(
      'GET',
      '/v1/customers/:id/balance_transactions',
      { ...listShape, invoice: str },
      ({ world, ids: [id = ''], params, path }) => {
        liveCustomer(world, id)
        const all = newestFirst(world.store.all('customer_balance_transaction'))
        return pageOf(all, params, path, 'customer balance transaction', (entry) => {
          if (params.invoice !== undefined && entry.invoice !== params.invoice) return false
          return entry.customer === id
        })
      },
    ),
    route(
      'GET',
      '/v1/customers/:id/balance_transactions/:entry',
      {},
      ({ world, ids: [id = '', entry = ''] }) => needEntry(world, id, entry),
    ),
    route(
      'POST',
      '/v1/customers/:id/balance_transactions/:entry',
      { description: str, metadata },
      ({ world, ids: [id = '', entry = ''], params }) => {
        const old = needEntry(world, id, entry)
        return world.update('customer_balance_transaction', entry, {
          description: params.description ?? old.description,
          metadata: mergeMetadata(old.metadata, params.metadata),
        })
      },
    ),
  ],
}
