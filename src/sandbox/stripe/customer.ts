// Customers as others use them.
import { missing } from './error.ts'
import { newestFirst, pageOf } from './list.ts'
import type { Customer, PaymentMethod } from './wire.ts'
import type { World } from './world.ts'

export function newCustomer(world: World, fields: Partial<Customer>): Customer {
  const customer: Customer = {
    id: world.id('cus'),
    object: 'customer',
    address: null,
    balance: 0,
    created: world.at,
    currency: null,
    customer_account: null,
    default_source: null,
    delinquent: false,
    description: null,
    discount: null,
    email: null,
    invoice_prefix: world.random.text(8).toUpperCase(),
    invoice_settings: {
      custom_fields: null,
      default_payment_method: null,
      footer: null,
      rendering_options: null,
    },
    livemode: false,
    metadata: {},
    name: null,
    next_invoice_sequence: 1,
    phone: null,
    preferred_locales: [],
    shipping: null,
    tax_exempt: 'none',
    test_clock: null,
    ...fields,
  }
  world.create('customer', customer)
  return customer
}

/** The customer if it is there and not deleted. */
export function liveCustomer(world: World, id: string, param?: string): Customer {
  const customer = world.need('customer', id, param)
  if ((customer as { deleted?: unknown }).deleted) throw missing('customer', id, param)
  return customer
}

export function methodsOf(
  world: World,
  customerId: string,
  params: Parameters<typeof pageOf>[1] & { type?: string | undefined },
  path: string,
): ReturnType<typeof pageOf<PaymentMethod>> {
  const all = newestFirst(world.store.all('payment_method'))
  return pageOf(
    all,
    params,
    path,
    'payment_method',
    (pm) => pm.customer === customerId && (params.type === undefined || pm.type === params.type),
  )
}
