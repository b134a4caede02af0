// Products.
import { refused } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { any, bool, emptyable, hash, list, mergeMetadata, metadata, required, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { Product } from '../wire.ts'
import { newPrice, newProduct } from '../catalogue.ts'
import { priceData } from '../shape.ts'

const shape = {
  active: bool,
  description: emptyable(str),
  images: list(str),
  metadata,
  statement_descriptor: emptyable(str),
  tax_code: emptyable(str),
  unit_label: emptyable(str),
  url: emptyable(str),
  shippable: bool,
  marketing_features: list(hash({ name: str })),
}

export const product: Resource = {
  routes: [
    route(
      'POST',
      '/v1/products',
      { ...shape, id: str, name: required(str), default_price_data: hash(priceData), type: any },
      ({ world, params }) => {
        const made = newProduct(world, params.id, params.name, {
          ...known(params),
          metadata: mergeMetadata({}, params.metadata),
        })
        if (!params.default_price_data) return made
        const price = newPrice(world, { ...params.default_price_data, product: made.id })
        return world.update('product', made.id, { default_price: price.id })
      },
    ),
    route(
      'GET',
      '/v1/products',
      { ...listShape, active: bool, ids: list(str), shippable: bool, url: str },
      (call) => {
        const { world, params, path } = call
        return pageOf(newestFirst(world.store.all('product')), params, path, 'product', (p) => {
          if (params.active !== undefined && p.active !== params.active) return false
          return params.ids === undefined || params.ids.includes(p.id)
        })
      },
    ),
    route('GET', '/v1/products/:id', {}, ({ world, ids: [id = ''] }) => world.need('product', id)),
    route(
      'POST',
      '/v1/products/:id',
      { ...shape, name: str, default_price: str },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('product', id)
        if (params.default_price !== undefined) world.need('price', params.default_price, 'default_price')
        return world.update(
          'product',
          id,
          { ...known(params), metadata: mergeMetadata(old.metadata, params.metadata), updated: world.at },
          'product.updated',
        )
      },
    ),
    route('DELETE', '/v1/products/:id', {}, ({ world, ids: [id = ''] }) => {
      const old = world.need('product', id)
      if (world.store.all('price').some((price) => price.product === id))
        throw refused('This product cannot be deleted because it has one or more user-created prices.')
      world.store.delete('product', id)
      world.emit('product.deleted', old)
      return { id, object: 'product', deleted: true }
    }),
  ],
}

function known(params: Record<string, unknown>): Partial<Product> {
  const skip = new Set(['id', 'metadata', 'expand', 'default_price_data', 'type'])
  return Object.fromEntries(Object.entries(params).filter(([key, v]) => v !== undefined && !skip.has(key)))
}
