// What is sold: making products and prices, and finding the price that a parameter names.
import { invalid, notSimulated } from './error.ts'
import { mergeMetadata } from './param.ts'
import type { Price, Product } from './wire.ts'
import type { World } from './world.ts'

export function newProduct(
  world: World,
  id: string | undefined,
  name: string,
  fields: Partial<Product>,
): Product {
  if (id !== undefined && world.store.get('product', id))
    throw invalid('Product already exists.', 'id', 'resource_already_exists')
  const product = world.create('product', {
    id: id ?? world.id('prod'),
    object: 'product',
    active: true,
    created: world.at,
    default_price: null,
    description: null,
    images: [],
    livemode: false,
    marketing_features: [],
    metadata: {},
    name,
    package_dimensions: null,
    shippable: null,
    statement_descriptor: null,
    tax_code: null,
    tax_details: null,
    type: 'service',
    unit_label: null,
    updated: world.at,
    url: null,
    ...fields,
  })
  world.emit('product.created', product)
  return product
}

export interface PriceFields {
  product: string
  currency: string
  unit_amount?: number | undefined
  unit_amount_decimal?: string | undefined
  recurring?:
    | {
        interval: 'day' | 'week' | 'month' | 'year'
        interval_count?: number | undefined
        usage_type?: string | undefined
        trial_period_days?: number | undefined
      }
    | undefined
  tax_behavior?: 'exclusive' | 'inclusive' | 'unspecified' | undefined
  metadata?: Record<string, string> | null | undefined
  nickname?: string | undefined
  lookup_key?: string | undefined
  active?: boolean | undefined
}

export function newPrice(world: World, fields: PriceFields): Price {
  const { unit_amount: whole, unit_amount_decimal: exact, recurring } = fields
  if (whole === undefined && exact === undefined)
    throw invalid(
      'Must provide one of unit_amount or unit_amount_decimal.',
      'unit_amount',
      'parameter_missing',
    )
  if (whole !== undefined && exact !== undefined)
    throw invalid(
      'You may only specify one of these parameters: unit_amount, unit_amount_decimal.',
      'unit_amount',
    )
  if ((whole ?? Number(exact)) < 0) throw invalid('Invalid non-negative integer', 'unit_amount')
  if (recurring?.usage_type === 'metered') throw notSimulated('metered prices', 'recurring[usage_type]')
  if (!/^[a-z]{3}$/i.test(fields.currency)) throw invalid(`Invalid currency: ${fields.currency}.`, 'currency')
  const price = world.create('price', {
    id: world.id('price'),
    object: 'price',
    active: fields.active ?? true,
    billing_scheme: 'per_unit',
    created: world.at,
    currency: fields.currency.toLowerCase(),
    custom_unit_amount: null,
    livemode: false,
    lookup_key: fields.lookup_key ?? null,
    metadata: mergeMetadata({}, fields.metadata),
    nickname: fields.nickname ?? null,
    product: fields.product,
    recurring: recurring
      ? {
          interval: recurring.interval,
          interval_count: recurring.interval_count ?? 1,
          meter: null,
          trial_period_days: recurring.trial_period_days ?? null,
          usage_type: 'licensed',
        }
      : null,
    tax_behavior: fields.tax_behavior ?? 'unspecified',
    tiers_mode: null,
    transform_quantity: null,
    type: recurring ? 'recurring' : 'one_time',
    unit_amount: whole ?? (/^\d+$/.test(exact ?? '') ? Number(exact) : null),
    unit_amount_decimal: exact ?? String(whole),
  })
  world.emit('price.created', price)
  return price
}

/** A usable price by id, or one made in line. */
export function resolvePrice(
  world: World,
  id: string | undefined,
  data:
    | ({ product?: string | undefined; product_data?: { name: string } | undefined } & Omit<
        PriceFields,
        'product'
      >)
    | undefined,
  param: string,
): Price {
  if (id !== undefined) {
    const price = world.need('price', id, `${param}[price]`)
    if (!price.active)
      throw invalid(
        `The price specified is inactive. This field only accepts active prices.`,
        `${param}[price]`,
      )
    if (!world.need('product', price.product).active)
      throw invalid(
        `Price \`${id}\` is not available to be purchased because its product is not active.`,
        `${param}[price]`,
      )
    return price
  }
  if (!data) throw invalid(`Missing required param: ${param}[price].`, `${param}[price]`, 'parameter_missing')
  if (data.product !== undefined) world.need('product', data.product, `${param}[price_data][product]`)
  else if (!data.product_data)
    throw invalid('Missing required param: product.', `${param}[price_data][product]`, 'parameter_missing')
  const product = data.product ?? newProduct(world, undefined, data.product_data?.name ?? '', {}).id
  const price = newPrice(world, { ...data, product })
  return world.update('price', price.id, { active: false })
}
