// Payment methods: cards by Stripe's test names. Naming `pm_card_visa` makes a new one each time it is used.
import { cardNamed } from '../card.ts'
import { invalid, missing, notSimulated, refused } from '../error.ts'
import { any, hash, int, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { newestFirst, pageOf } from '../list.ts'
import { pageShape, route, type Resource } from '../router.ts'
import type { PaymentMethod } from '../wire.ts'
import type { World } from '../world.ts'
import { liveCustomer, methodsOf } from '../customer.ts'
import { attach, newMethod, resolveMethod, type BillingDetails } from '../payment-method.ts'

const details = hash({ address: any, email: any, name: any, phone: any, tax_id: any })

export const paymentMethod: Resource = {
  routes: [
    route(
      'POST',
      '/v1/payment_methods',
      {
        type: required(oneOf('card')),
        card: hash({ token: str, number: str, exp_month: int, exp_year: int, cvc: str }),
        billing_details: details,
        metadata,
      },
      ({ world, params }) => {
        const token = params.card?.token
        if (params.card?.number !== undefined)
          throw notSimulated('raw card numbers; use a test token', 'card[number]')
        if (token === undefined) throw invalid('Missing required param: card.', 'card', 'parameter_missing')
        const name = `pm_card_${token.replace(/^tok_/, '')}`
        if (!cardNamed(name)) throw missing('token', token, 'card[token]')
        const made = newMethod(world, name, params.billing_details as Partial<BillingDetails> | undefined)
        return world.update('payment_method', made.id, { metadata: mergeMetadata({}, params.metadata) })
      },
    ),
    route(
      'GET',
      '/v1/payment_methods',
      { ...pageShape, customer: str, type: str },
      ({ world, params, path }) => {
        if (params.customer === undefined)
          return pageOf(
            newestFirst(world.store.all('payment_method')),
            params,
            path,
            'payment_method',
            () => false,
          )
        liveCustomer(world, params.customer, 'customer')
        return methodsOf(world, params.customer, params, path)
      },
    ),
    route('GET', '/v1/payment_methods/:id', {}, ({ world, ids: [id = ''] }) => resolveMethod(world, id)),
    route(
      'POST',
      '/v1/payment_methods/:id',
      { metadata, billing_details: details, allow_redisplay: oneOf('always', 'limited', 'unspecified') },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('payment_method', id)
        return world.update(
          'payment_method',
          id,
          {
            metadata: mergeMetadata(old.metadata, params.metadata),
            billing_details: {
              ...old.billing_details,
              ...(params.billing_details as Partial<BillingDetails>),
            },
            ...(params.allow_redisplay === undefined ? {} : { allow_redisplay: params.allow_redisplay }),
          },
          'payment_method.updated',
        )
      },
    ),
    route('POST', '/v1/payment_methods/:id/attach', { customer: required(str) }, (call) => {
      liveCustomer(call.world, call.params.customer, 'customer')
      return attach(call.world, resolveMethod(call.world, call.ids[0] ?? ''), call.params.customer)
    }),
    route('POST', '/v1/payment_methods/:id/detach', {}, ({ world, ids: [id = ''] }) => {
      const method = world.need('payment_method', id)
      if (method.customer === null)
        throw refused(
          'The payment method you provided is not attached to a customer so detachment is impossible.',
        )
      forget(world, method)
      const before = method
      const after = world.update('payment_method', id, { customer: null })
      world.emitChange('payment_method.detached', before, after)
      return after
    }),
  ],
}

/** A detached card is nobody's default any more. */
function forget(world: World, method: PaymentMethod): void {
  const owner = method.customer === null ? undefined : world.store.get('customer', method.customer)
  if (owner?.invoice_settings?.default_payment_method === method.id) {
    const settings = { ...owner.invoice_settings, default_payment_method: null }
    world.update('customer', owner.id, { invoice_settings: settings }, 'customer.updated')
  }
  for (const sub of world.store.all('subscription')) {
    if (sub.default_payment_method === method.id)
      world.update('subscription', sub.id, { default_payment_method: null }, 'customer.subscription.updated')
  }
}
