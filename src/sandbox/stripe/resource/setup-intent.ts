// Setup intents: saving a card without charging it.
import { invalid, refused } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { any, bool, hash, mergeMetadata, metadata, oneOf, required, str } from '../param.ts'
import { confirmSetup, newSetupIntent } from '../setup.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { SetupIntent } from '../wire.ts'
import type { World } from '../world.ts'
import { cardError, isTestCard } from '../card.ts'
import { liveCustomer } from '../customer.ts'
import { attach, resolveMethod } from '../payment-method.ts'

function confirm(world: World, id: string, named: string | undefined): SetupIntent {
  const intent = world.need('setup_intent', id)
  if (intent.status === 'succeeded' || intent.status === 'canceled')
    throw refused(
      `You cannot confirm this SetupIntent because it has a status of ${intent.status}.`,
      'setup_intent_unexpected_state',
    )
  const wanted = named ?? intent.payment_method
  if (wanted === null)
    throw invalid(
      'You cannot confirm this SetupIntent because it is missing a payment method.',
      undefined,
      'setup_intent_unexpected_state',
    )
  const method = resolveMethod(world, wanted, 'payment_method')
  const after = confirmSetup(world, id, method, false)
  if (after.status !== 'succeeded') throw cardError(isTestCard(method), { setup_intent: after })
  if (after.customer !== null) attach(world, world.need('payment_method', method.id), after.customer)
  return after
}

export const setupIntent: Resource = {
  routes: [
    route(
      'POST',
      '/v1/setup_intents',
      {
        customer: str,
        payment_method: str,
        confirm: bool,
        description: str,
        metadata,
        usage: oneOf('off_session', 'on_session'),
        return_url: str,
        automatic_payment_methods: hash({ enabled: required(bool), allow_redirects: str }),
        allowed_payment_method_types: any,
      },
      ({ world, params }) => {
        if (params.customer !== undefined) liveCustomer(world, params.customer, 'customer')
        const named = params.payment_method
        const made = newSetupIntent(world, {
          customer: params.customer ?? null,
          payment_method: named === undefined ? null : resolveMethod(world, named, 'payment_method').id,
          description: params.description ?? null,
          metadata: mergeMetadata({}, params.metadata),
          usage: params.usage ?? 'off_session',
        })
        return params.confirm ? confirm(world, made.id, undefined) : made
      },
    ),
    route(
      'GET',
      '/v1/setup_intents',
      { ...listShape, customer: str, payment_method: str },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('setup_intent')), params, path, 'setupintent', (item) => {
          if (params.payment_method !== undefined && item.payment_method !== params.payment_method)
            return false
          return params.customer === undefined || item.customer === params.customer
        }),
    ),
    route('GET', '/v1/setup_intents/:id', { client_secret: str }, ({ world, ids: [id = ''] }) =>
      world.need('setup_intent', id),
    ),
    route('POST', '/v1/setup_intents/:id/confirm', { payment_method: str, return_url: str }, (call) =>
      confirm(call.world, call.ids[0] ?? '', call.params.payment_method),
    ),
    route(
      'POST',
      '/v1/setup_intents/:id/cancel',
      { cancellation_reason: str },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('setup_intent', id)
        if (old.status === 'succeeded')
          throw refused(
            'You cannot cancel this SetupIntent because it has a status of succeeded.',
            'setup_intent_unexpected_state',
          )
        const after = world.update('setup_intent', id, {
          status: 'canceled',
          cancellation_reason: (params.cancellation_reason ?? null) as SetupIntent['cancellation_reason'],
        })
        world.emit('setup_intent.canceled', after)
        return after
      },
    ),
  ],
}
