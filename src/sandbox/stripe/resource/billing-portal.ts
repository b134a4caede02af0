// The customer portal's configurations and sessions.
import { liveCustomer } from '../customer.ts'
import { invalid } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import {
  any,
  bool,
  emptyable,
  hash,
  int,
  list,
  mergeMetadata,
  metadata,
  oneOf,
  required,
  str,
  unsupported,
} from '../param.ts'
import { defaultConfiguration, defaultFeatures, newConfiguration, type Features } from '../portal.ts'
import { listShape, route, type Resource } from '../router.ts'
import { prorationBehavior } from '../shape.ts'
import type { PortalConfiguration, PortalSession } from '../wire.ts'
import type { World } from '../world.ts'

const features = hash({
  customer_update: hash({ enabled: bool, allowed_updates: emptyable(list(str)) }),
  invoice_history: hash({ enabled: required(bool) }),
  payment_method_update: hash({ enabled: required(bool), payment_method_configuration: emptyable(str) }),
  subscription_cancel: hash({
    enabled: bool,
    mode: oneOf('at_period_end', 'immediately'),
    proration_behavior: prorationBehavior,
    cancellation_reason: hash({ enabled: required(bool), options: emptyable(list(str)) }),
  }),
  subscription_pause: unsupported('pauses by the customer'),
  subscription_update: hash({
    enabled: bool,
    default_allowed_updates: emptyable(list(oneOf('price', 'quantity'))),
    products: emptyable(
      list(
        hash({
          product: required(str),
          prices: required(list(str)),
          adjustable_quantity: hash({ enabled: required(bool), minimum: int, maximum: int }),
        }),
      ),
    ),
    proration_behavior: prorationBehavior,
    billing_cycle_anchor: oneOf('now', 'unchanged'),
    schedule_at_period_end: hash({
      conditions: list(hash({ type: required(oneOf('decreasing_item_amount', 'shortening_interval')) })),
    }),
    trial_update_behavior: oneOf('continue_trial', 'end_trial'),
  }),
})

const configurationShape = {
  business_profile: hash({
    headline: emptyable(str),
    privacy_policy_url: str,
    terms_of_service_url: str,
  }),
  default_return_url: emptyable(str),
  login_page: any,
  metadata,
  name: emptyable(str),
}

type Asked = ReturnType<typeof features.read>

/** What is not mentioned stays as it was. */
function merged(world: World, old: Features, asked: Partial<Asked>): Features {
  const { subscription_update: update, subscription_cancel: cancel } = asked
  for (const [i, { product, prices }] of (update?.products ?? []).entries()) {
    world.need('product', product, `features[subscription_update][products][${i}][product]`)
    for (const id of prices) world.need('price', id, `features[subscription_update][products][${i}][prices]`)
  }
  const part = <T>(was: T, is: object | undefined): T => ({ ...was, ...defined(is) })
  return {
    ...old,
    customer_update: part(old.customer_update, asked.customer_update),
    invoice_history: part(old.invoice_history, asked.invoice_history),
    payment_method_update: part(old.payment_method_update, asked.payment_method_update),
    subscription_cancel: {
      ...part(old.subscription_cancel, cancel),
      cancellation_reason: part(old.subscription_cancel.cancellation_reason, cancel?.cancellation_reason),
    },
    subscription_update: {
      ...part(old.subscription_update, update),
      schedule_at_period_end: part(
        old.subscription_update.schedule_at_period_end,
        update?.schedule_at_period_end,
      ),
      ...(update?.products === undefined
        ? {}
        : {
            products: (update.products ?? []).map(({ product, prices, adjustable_quantity: range }) => ({
              adjustable_quantity: {
                enabled: range?.enabled ?? false,
                maximum: range?.maximum ?? null,
                minimum: range?.minimum ?? 1,
              },
              prices,
              product,
            })),
          }),
    },
  }
}

/** Without what was not sent; an emptied list is empty. */
function defined(fields: object | undefined): object {
  return Object.fromEntries(
    Object.entries(fields ?? {}).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, value === null && key.startsWith('allowed') ? [] : value]],
    ),
  )
}

function profile(
  old: PortalConfiguration['business_profile'],
  asked: object | undefined,
): PortalConfiguration['business_profile'] {
  return { ...old, ...defined(asked) }
}

const flowData = hash({
  type: required(
    oneOf(
      'payment_method_update',
      'subscription_cancel',
      'subscription_update',
      'subscription_update_confirm',
    ),
  ),
  after_completion: hash({
    type: required(oneOf('hosted_confirmation', 'portal_homepage', 'redirect')),
    hosted_confirmation: hash({ custom_message: str }),
    redirect: hash({ return_url: required(str) }),
  }),
  subscription_cancel: hash({ subscription: required(str), retention: unsupported('retention coupons') }),
  subscription_update: hash({ subscription: required(str) }),
  subscription_update_confirm: hash({
    subscription: required(str),
    items: required(list(hash({ id: required(str), price: str, quantity: int }))),
    discounts: unsupported('discounts of a portal flow'),
  }),
})

function flowOf(
  world: World,
  customer: string,
  asked: ReturnType<typeof flowData.read> | undefined,
): PortalSession['flow'] {
  if (!asked) return null
  const { type, after_completion: after } = asked
  const about = type === 'payment_method_update' ? undefined : asked[type]
  if (type !== 'payment_method_update' && !about)
    throw invalid(`Missing required param: flow_data[${type}].`, `flow_data[${type}]`, 'parameter_missing')
  if (about) {
    const param = `flow_data[${type}][subscription]`
    const sub = world.need('subscription', about.subscription, param)
    if (sub.customer !== customer) throw invalid('The subscription belongs to another customer.', param)
  }
  const confirm = asked.subscription_update_confirm
  return {
    after_completion: {
      hosted_confirmation: after?.hosted_confirmation
        ? { custom_message: after.hosted_confirmation.custom_message ?? null }
        : null,
      redirect: after?.redirect ? { return_url: after.redirect.return_url } : null,
      type: after?.type ?? 'portal_homepage',
    },
    customer_update: null,
    subscription_cancel:
      type === 'subscription_cancel' && about ? { retention: null, subscription: about.subscription } : null,
    subscription_pause: null,
    subscription_update:
      type === 'subscription_update' && about ? { subscription: about.subscription } : null,
    subscription_update_confirm:
      type === 'subscription_update_confirm' && confirm
        ? {
            discounts: null,
            items: confirm.items.map(({ id, price = null, quantity }) => ({
              id,
              price,
              ...(quantity === undefined ? {} : { quantity }),
            })),
            subscription: confirm.subscription,
          }
        : null,
    type,
  }
}

export const billingPortal: Resource = {
  routes: [
    route(
      'POST',
      '/v1/billing_portal/configurations',
      { ...configurationShape, features: required(features) },
      ({ world, params }) =>
        newConfiguration(world, {
          features: merged(world, defaultFeatures, params.features),
          business_profile: profile(
            { headline: null, privacy_policy_url: null, terms_of_service_url: null },
            params.business_profile,
          ),
          default_return_url: params.default_return_url ?? null,
          metadata: mergeMetadata({}, params.metadata),
          name: params.name ?? null,
        }),
    ),
    route(
      'GET',
      '/v1/billing_portal/configurations',
      { ...listShape, active: bool, is_default: bool },
      ({ world, params, path }) =>
        pageOf(
          newestFirst(world.store.all('billing_portal.configuration')),
          params,
          path,
          'configuration',
          (item) =>
            (params.active === undefined || item.active === params.active) &&
            (params.is_default === undefined || item.is_default === params.is_default),
        ),
    ),
    route('GET', '/v1/billing_portal/configurations/:id', {}, ({ world, ids: [id = ''] }) =>
      world.need('billing_portal.configuration', id),
    ),
    route(
      'POST',
      '/v1/billing_portal/configurations/:id',
      { ...configurationShape, active: bool, features },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('billing_portal.configuration', id)
        return world.update(
          'billing_portal.configuration',
          id,
          {
            active: params.active ?? old.active,
            features: merged(world, old.features, params.features ?? {}),
            business_profile: profile(old.business_profile, params.business_profile),
            metadata: mergeMetadata(old.metadata, params.metadata),
            ...(params.default_return_url === undefined
              ? {}
              : { default_return_url: params.default_return_url }),
            ...(params.name === undefined ? {} : { name: params.name }),
            updated: world.at,
          },
          'billing_portal.configuration.updated',
        )
      },
    ),
    route(
      'POST',
      '/v1/billing_portal/sessions',
      {
        customer: required(str),
        configuration: str,
        return_url: str,
        locale: any,
        flow_data: flowData,
        on_behalf_of: unsupported('connected accounts'),
      },
      ({ world, params, origin }) => {
        liveCustomer(world, params.customer, 'customer')
        const configuration =
          params.configuration === undefined
            ? defaultConfiguration(world)
            : world.need('billing_portal.configuration', params.configuration, 'configuration')
        if (!configuration.active) throw invalid('This configuration is not active.', 'configuration')
        const id = world.id('bps')
        const session = world.create('billing_portal.session', {
          id,
          object: 'billing_portal.session',
          configuration: configuration.id,
          created: world.at,
          customer: params.customer,
          customer_account: null,
          flow: flowOf(world, params.customer, params.flow_data),
          livemode: false,
          locale: null,
          on_behalf_of: null,
          return_url: params.return_url ?? configuration.default_return_url,
          url: `${origin}/p/session/${id}`,
        })
        world.emit('billing_portal.session.created', session)
        return session
      },
    ),
  ],
}
