// Coupons. A deleted one can no longer be redeemed; discounts that were made of it stay. docs.stripe.com/api/coupons
import { isValid, shownCoupon } from '../coupon.ts'
import { invalid, missing } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { decimal, hash, int, list, mergeMetadata, metadata, oneOf, str, unsupported } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import type { Coupon } from '../wire.ts'
import type { World } from '../world.ts'

function needCoupon(world: World, id: string): Coupon {
  const coupon = world.need('coupon', id)
  if (coupon._deleted) throw missing('coupon', id)
  return coupon
}

export const coupon: Resource = {
  routes: [
    route(
      'POST',
      '/v1/coupons',
      {
        id: str,
        name: str,
        percent_off: decimal,
        amount_off: int,
        currency: str,
        duration: oneOf('forever', 'once', 'repeating'),
        duration_in_months: int,
        max_redemptions: int,
        redeem_by: int,
        applies_to: hash({ products: list(str) }),
        currency_options: unsupported('coupons in several currencies'),
        metadata,
      },
      ({ world, params }) => {
        const { percent_off: percent, amount_off: amount, currency, duration = 'once' } = params
        if ((percent === undefined) === (amount === undefined))
          throw invalid('Must provide exactly one of percent_off or amount_off.', 'percent_off')
        if (percent !== undefined && !(Number(percent) > 0 && Number(percent) <= 100))
          throw invalid('Invalid percent_off: must be greater than 0 and at most 100.', 'percent_off')
        if (amount !== undefined && amount < 1) throw invalid('Invalid positive integer', 'amount_off')
        if (amount !== undefined && currency === undefined)
          throw invalid('You must pass currency when passing amount_off.', 'currency', 'parameter_missing')
        if ((duration === 'repeating') !== (params.duration_in_months !== undefined))
          throw invalid(
            'Pass duration_in_months with duration=repeating, and only then.',
            'duration_in_months',
          )
        const id = params.id ?? world.random.text(8)
        if (world.store.get('coupon', id))
          throw invalid('Coupon already exists.', 'id', 'resource_already_exists')
        for (const product of params.applies_to?.products ?? [])
          world.need('product', product, 'applies_to[products]')
        const made = world.create('coupon', {
          id,
          object: 'coupon',
          amount_off: amount ?? null,
          created: world.at,
          currency: amount === undefined ? null : (currency?.toLowerCase() ?? null),
          duration,
          duration_in_months: params.duration_in_months ?? null,
          livemode: false,
          max_redemptions: params.max_redemptions ?? null,
          metadata: mergeMetadata({}, params.metadata),
          name: params.name ?? null,
          percent_off: percent === undefined ? null : Number(percent),
          redeem_by: params.redeem_by ?? null,
          times_redeemed: 0,
          valid: true,
          ...(params.applies_to ? { _products: params.applies_to.products ?? [] } : {}),
        })
        if (!isValid(world, made)) throw invalid('`redeem_by` must be in the future.', 'redeem_by')
        world.emit('coupon.created', made)
        return made
      },
    ),
    route('GET', '/v1/coupons', listShape, ({ world, params, path }) => {
      const all = newestFirst(world.store.all('coupon')).map((item) => shownCoupon(world, item))
      return pageOf(all, params, path, 'coupon', (item) => !item._deleted)
    }),
    route('GET', '/v1/coupons/:id', {}, ({ world, ids: [id = ''] }) =>
      shownCoupon(world, needCoupon(world, id)),
    ),
    route(
      'POST',
      '/v1/coupons/:id',
      { name: str, metadata, currency_options: unsupported('coupons in several currencies') },
      ({ world, ids: [id = ''], params }) => {
        const old = needCoupon(world, id)
        const patch = {
          name: params.name ?? old.name,
          metadata: mergeMetadata(old.metadata, params.metadata),
        }
        return shownCoupon(world, world.update('coupon', id, patch, 'coupon.updated'))
      },
    ),
    route('DELETE', '/v1/coupons/:id', {}, ({ world, ids: [id = ''] }) => {
      needCoupon(world, id)
      const gone = world.update('coupon', id, { _deleted: true, valid: false })
      world.emit('coupon.deleted', gone)
      return { id, object: 'coupon', deleted: true }
    }),
  ],
  includable: {
    'coupon.applies_to': (world, object) => {
      const products = world.store.get('coupon', String(object['id']))?._products
      return products === undefined ? null : { products }
    },
  },
}
