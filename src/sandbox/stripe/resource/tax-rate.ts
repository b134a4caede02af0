// Tax rates that the merchant keeps. docs.stripe.com/api/tax_rates
import { newestFirst, pageOf } from '../list.ts'
import { bool, decimal, mergeMetadata, metadata, required, str } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import { newTaxRate } from '../tax.ts'
import type { TaxRate } from '../wire.ts'

const words = {
  display_name: str,
  description: str,
  jurisdiction: str,
  country: str,
  state: str,
  active: bool,
}

export const taxRate: Resource = {
  routes: [
    route(
      'POST',
      '/v1/tax_rates',
      {
        ...words,
        display_name: required(str),
        percentage: required(decimal),
        inclusive: required(bool),
        tax_type: str,
        metadata,
      },
      ({ world, params }) =>
        newTaxRate(world, {
          display_name: params.display_name,
          percentage: Number(params.percentage),
          inclusive: params.inclusive,
          active: params.active ?? true,
          description: params.description ?? null,
          jurisdiction: params.jurisdiction ?? null,
          country: params.country ?? null,
          state: params.state ?? null,
          tax_type: (params.tax_type ?? null) as TaxRate['tax_type'],
          metadata: mergeMetadata({}, params.metadata),
        }),
    ),
    route(
      'GET',
      '/v1/tax_rates',
      { ...listShape, active: bool, inclusive: bool },
      ({ world, params, path }) =>
        pageOf(newestFirst(world.store.all('tax_rate')), params, path, 'tax rate', (item) => {
          if (item._automatic) return false
          if (params.active !== undefined && item.active !== params.active) return false
          return params.inclusive === undefined || item.inclusive === params.inclusive
        }),
    ),
    route('GET', '/v1/tax_rates/:id', {}, ({ world, ids: [id = ''] }) => world.need('tax_rate', id)),
    route('POST', '/v1/tax_rates/:id', { ...words, metadata }, ({ world, ids: [id = ''], params }) => {
      const old = world.need('tax_rate', id)
      return world.update(
        'tax_rate',
        id,
        {
          display_name: params.display_name ?? old.display_name,
          description: params.description ?? old.description,
          jurisdiction: params.jurisdiction ?? old.jurisdiction,
          country: params.country ?? old.country,
          state: params.state ?? old.state,
          active: params.active ?? old.active,
          metadata: mergeMetadata(old.metadata, params.metadata),
        },
        'tax_rate.updated',
      )
    }),
  ],
}
