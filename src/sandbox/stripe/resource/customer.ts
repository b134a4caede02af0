// Customers. A deleted one answers as a stub, as at Stripe.
import { missing } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { any, emptyable, hash, int, list, mergeMetadata, metadata, oneOf, str } from '../param.ts'
import { listShape, pageShape, route, type Resource } from '../router.ts'
import type { Customer } from '../wire.ts'
import { changeBalance } from '../balance.ts'
import { liveCustomer, methodsOf, newCustomer } from '../customer.ts'
import { attach, resolveMethod } from '../payment-method.ts'
import { endSubscription } from '../cancel.ts'

const address = hash({ city: any, country: any, line1: any, line2: any, postal_code: any, state: any })
const shape = {
  email: emptyable(str),
  name: emptyable(str),
  description: emptyable(str),
  phone: emptyable(str),
  address: emptyable(address),
  balance: int,
  metadata,
  preferred_locales: list(str),
  tax_exempt: oneOf('none', 'exempt', 'reverse'),
  invoice_prefix: str,
  next_invoice_sequence: int,
  individual_name: emptyable(str),
  business_name: emptyable(str),
  invoice_settings: hash({ default_payment_method: emptyable(str), footer: emptyable(str) }),
}

function addressOf(
  sent: Record<string, unknown> | null | undefined,
): NonNullable<Customer['address']> | null {
  if (!sent) return null
  const text = (key: string): string | null =>
    typeof sent[key] === 'string' && sent[key] !== '' ? sent[key] : null
  return {
    city: text('city'),
    country: text('country'),
    line1: text('line1'),
    line2: text('line2'),
    postal_code: text('postal_code'),
    state: text('state'),
  }
}

function withSaved(
  old: Customer['invoice_settings'],
  pm: string | null | undefined,
): Customer['invoice_settings'] {
  return pm === undefined ? old : { ...old, default_payment_method: pm }
}

export const customer: Resource = {
  routes: [
    route('POST', '/v1/customers', { ...shape, payment_method: str, source: str }, ({ world, params }) => {
      const { payment_method, source, address, metadata: sent, invoice_settings, balance, ...rest } = params
      const named = payment_method ?? source
      const method = named === undefined ? undefined : resolveMethod(world, named, 'payment_method')
      const fields = Object.fromEntries(
        Object.entries(rest).filter(([key, v]) => v !== undefined && key !== 'expand'),
      )
      const made = newCustomer(world, {
        ...(fields as Partial<Customer>),
        address: addressOf(address),
        metadata: mergeMetadata({}, sent),
      })
      world.emit('customer.created', made)
      if (balance) changeBalance(world, made.id, { amount: balance, currency: 'usd', type: 'initial' })
      if (method) attach(world, method, made.id)
      const asked = invoice_settings?.default_payment_method
      if (asked === undefined) return world.need('customer', made.id)
      const id = asked === named && method ? method.id : asked
      return world.update('customer', made.id, { invoice_settings: withSaved(made.invoice_settings, id) })
    }),
    route('GET', '/v1/customers', { ...listShape, email: str }, ({ world, params, path }) =>
      pageOf(
        newestFirst(world.store.all('customer')),
        params,
        path,
        'customer',
        (c) =>
          !(c as { deleted?: unknown }).deleted && (params.email === undefined || c.email === params.email),
      ),
    ),
    route('GET', '/v1/customers/:id', {}, ({ world, ids: [id = ''] }) => world.need('customer', id)),
    route('POST', '/v1/customers/:id', shape, ({ world, ids: [id = ''], params }) => {
      const old = liveCustomer(world, id)
      const { address, metadata: sent, invoice_settings, balance, ...rest } = params
      const pm = invoice_settings?.default_payment_method
      if (pm && world.need('payment_method', pm, 'invoice_settings[default_payment_method]').customer !== id)
        throw missing('payment_method', pm, 'invoice_settings[default_payment_method]')
      const fields = Object.fromEntries(
        Object.entries(rest).filter(([key, v]) => v !== undefined && key !== 'expand'),
      )
      if (balance !== undefined && balance !== old.balance) {
        const change = { amount: balance - old.balance, currency: old.currency ?? 'usd' }
        changeBalance(world, id, { ...change, type: 'adjustment' })
      }
      return world.update(
        'customer',
        id,
        {
          ...(fields as Partial<Customer>),
          ...(address === undefined ? {} : { address: addressOf(address) }),
          metadata: sent === undefined ? old.metadata : mergeMetadata(old.metadata, sent),
          invoice_settings: withSaved(old.invoice_settings, pm),
        },
        'customer.updated',
      )
    }),
    route('DELETE', '/v1/customers/:id', {}, ({ world, ids: [id = ''] }) => {
      liveCustomer(world, id)
      for (const sub of world.store.all('subscription')) {
        if (sub.customer === id && !['canceled', 'incomplete_expired'].includes(sub.status))
          endSubscription(world, sub.id, null)
      }
      for (const method of world.store.all('payment_method'))
        if (method.customer === id) world.update('payment_method', method.id, { customer: null })
      world.emit('customer.deleted', world.need('customer', id))
      const stub = { id, object: 'customer', deleted: true }
      world.store.put('customer', id, stub as unknown as Customer)
      return stub
    }),
    route(
      'GET',
      '/v1/customers/:id/payment_methods',
      { ...pageShape, type: str, allow_redisplay: str },
      (call) => {
        const [id = ''] = call.ids
        liveCustomer(call.world, id)
        return methodsOf(call.world, id, call.params, call.path)
      },
    ),
    route('GET', '/v1/customers/:id/payment_methods/:pm', {}, ({ world, ids: [id = '', pm = ''] }) => {
      const method = world.need('payment_method', pm)
      if (method.customer !== id) throw missing('payment_method', pm)
      return method
    }),
  ],
  includable: {
    'customer.subscriptions': (world, object) => ({
      object: 'list',
      data: newestFirst(world.store.all('subscription')).filter(
        (sub) => sub.customer === object['id'] && !['canceled', 'incomplete_expired'].includes(sub.status),
      ),
      has_more: false,
      url: `/v1/customers/${String(object['id'])}/subscriptions`,
    }),
    'customer.sources': (_world, object) => ({
      object: 'list',
      data: [],
      has_more: false,
      url: `/v1/customers/${String(object['id'])}/sources`,
    }),
  },
}
