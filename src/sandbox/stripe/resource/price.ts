// Prices: per unit, one-time or recurring, found by lookup key.
import { invalid } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { bool, emptyable, hash, list, mergeMetadata, metadata, oneOf, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { World } from '../world.ts'
import { newPrice, newProduct } from '../catalogue.ts'
import { interval, priceData, productData } from '../shape.ts'

/** Of one list. */
const LOOKUP_KEYS_MAX = 10
const LOOKUP_KEY_LENGTH_MAX = 200

function claimLookupKey(
  world: World,
  key: string | null | undefined,
  transfer: boolean | undefined,
  own?: string,
): void {
  if (key === null || key === undefined) return
  if (key.length > LOOKUP_KEY_LENGTH_MAX)
    throw invalid(`A lookup key has at most ${LOOKUP_KEY_LENGTH_MAX} characters.`, 'lookup_key')
  const holder = world.store.all('price').find((price) => price.lookup_key === key && price.id !== own)
  if (!holder) return
  if (!transfer)
    throw invalid(
      `A price (\`${holder.id}\`) already uses that lookup key (\`${key}\`). You may pass \`transfer_lookup_key: true\` to transfer the key from the other price.`,
      'lookup_key',
    )
  world.update('price', holder.id, { lookup_key: null }, 'price.updated')
}

export const price: Resource = {
  routes: [
    route(
      'POST',
      '/v1/prices',
      {
        ...priceData,
        product: str,
        product_data: productData,
        nickname: str,
        lookup_key: str,
        transfer_lookup_key: bool,
        active: bool,
        billing_scheme: oneOf('per_unit'),
      },
      ({ world, params }) => {
        if (params.product === undefined && !params.product_data)
          throw invalid(
            'You must specify either `product` or `product_data` when creating a price.',
            'product',
            'parameter_missing',
          )
        if (params.product !== undefined) world.need('product', params.product, 'product')
        claimLookupKey(world, params.lookup_key, params.transfer_lookup_key)
        const data = params.product_data
        const product =
          params.product ??
          newProduct(world, undefined, data?.name ?? '', { metadata: mergeMetadata({}, data?.metadata) }).id
        return newPrice(world, { ...params, product })
      },
    ),
    route(
      'GET',
      '/v1/prices',
      {
        ...listShape,
        active: bool,
        currency: str,
        product: str,
        type: oneOf('one_time', 'recurring'),
        lookup_keys: list(str),
        recurring: hash({ interval, usage_type: str }),
      },
      ({ world, params, path }) => {
        if ((params.lookup_keys?.length ?? 0) > LOOKUP_KEYS_MAX)
          throw invalid(`You can specify up to ${LOOKUP_KEYS_MAX} lookup_keys.`, 'lookup_keys')
        return pageOf(newestFirst(world.store.all('price')), params, path, 'price', (p) => {
          // those that are archived are listed only when asked for
          if (p.active !== (params.active ?? true)) return false
          if (params.currency !== undefined && p.currency !== params.currency) return false
          if (params.product !== undefined && p.product !== params.product) return false
          if (params.type !== undefined && p.type !== params.type) return false
          if (params.recurring?.interval !== undefined && p.recurring?.interval !== params.recurring.interval)
            return false
          return params.lookup_keys === undefined || params.lookup_keys.includes(p.lookup_key ?? '')
        })
      },
    ),
    route('GET', '/v1/prices/:id', {}, ({ world, ids: [id = ''] }) => world.need('price', id)),
    route(
      'POST',
      '/v1/prices/:id',
      {
        active: bool,
        nickname: emptyable(str),
        lookup_key: emptyable(str),
        transfer_lookup_key: bool,
        tax_behavior: priceData.tax_behavior,
        metadata,
      },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('price', id)
        claimLookupKey(world, params.lookup_key, params.transfer_lookup_key, id)
        return world.update(
          'price',
          id,
          {
            ...(params.active === undefined ? {} : { active: params.active }),
            ...(params.nickname === undefined ? {} : { nickname: params.nickname }),
            ...(params.lookup_key === undefined ? {} : { lookup_key: params.lookup_key }),
            ...(params.tax_behavior === undefined ? {} : { tax_behavior: params.tax_behavior }),
            metadata: mergeMetadata(old.metadata, params.metadata),
          },
          'price.updated',
        )
      },
    ),
  ],
}
