// Saving a card for later without charging it.
import { cardError, isTestCard } from './card.ts'
import { notSimulated } from './error.ts'
import { automatic } from './payment.ts'
import type { PaymentMethod, SetupIntent } from './wire.ts'
import type { World } from './world.ts'

export interface SetupFields {
  customer: string | null
  payment_method: string | null
  description?: string | null
  metadata?: Record<string, string>
  usage?: string
}

export function newSetupIntent(world: World, fields: SetupFields): SetupIntent {
  const id = world.id('seti')
  const intent = world.create('setup_intent', {
    id,
    object: 'setup_intent',
    allowed_payment_method_types: null,
    application: null,
    automatic_payment_methods: automatic,
    cancellation_reason: null,
    client_secret: `${id}_secret_${world.random.text(25)}`,
    created: world.at,
    customer_account: null,
    description: null,
    excluded_payment_method_types: null,
    flow_directions: null,
    last_setup_error: null,
    latest_attempt: null,
    livemode: false,
    managed_payments: null,
    mandate: null,
    metadata: {},
    next_action: null,
    on_behalf_of: null,
    payment_method_configuration_details: null,
    payment_method_options: {
      card: { mandate_options: null, network: null, request_three_d_secure: 'automatic' },
    },
    payment_method_types: ['card'],
    single_use_mandate: null,
    status: fields.payment_method === null ? 'requires_payment_method' : 'requires_confirmation',
    usage: 'off_session',
    ...fields,
  })
  world.emit('setup_intent.created', intent)
  return intent
}

/** Saves the card for later: succeeds, or is declined when the card cannot be saved. */
export function confirmSetup(
  world: World,
  id: string,
  method: PaymentMethod,
  authenticated: boolean,
): SetupIntent {
  const card = isTestCard(method)
  if (card.decline && !card.attaches) {
    const { body } = cardError(card)
    const failed = world.update('setup_intent', id, {
      status: 'requires_payment_method',
      payment_method: null,
      last_setup_error: body as unknown as SetupIntent['last_setup_error'],
    })
    world.emit('setup_intent.setup_failed', failed)
    return failed
  }
  if (card.authentication && !authenticated)
    throw notSimulated('authentication of setup intents outside Checkout')
  const done = world.update('setup_intent', id, {
    status: 'succeeded',
    payment_method: method.id,
    last_setup_error: null,
  })
  world.emit('setup_intent.succeeded', done)
  return done
}
