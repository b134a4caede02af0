// Promotion codes: what customers type to redeem a coupon. docs.stripe.com/api/promotion_codes
import { isActive, shownPromotion } from '../coupon.ts'
import { invalid } from '../error.ts'
import { newestFirst, pageOf } from '../list.ts'
import { bool, hash, int, mergeMetadata, metadata, oneOf, required, str, unsupported } from '../param.ts'
import { listShape, route, type Resource } from '../router.ts'
import { liveCustomer } from '../customer.ts'

const severalCurrencies = unsupported('restrictions in several currencies')

export const promotionCode: Resource = {
  routes: [
    route(
      'POST',
      '/v1/promotion_codes',
      {
        promotion: required(hash({ type: required(oneOf('coupon')), coupon: required(str) })),
        code: str,
        active: bool,
        customer: str,
        expires_at: int,
        max_redemptions: int,
        restrictions: hash({
          first_time_transaction: bool,
          minimum_amount: int,
          minimum_amount_currency: str,
          currency_options: severalCurrencies,
        }),
        metadata,
      },
      ({ world, params }) => {
        const coupon = world.need('coupon', params.promotion.coupon, 'promotion[coupon]')
        if (params.customer !== undefined) liveCustomer(world, params.customer, 'customer')
        const { max_redemptions: max, expires_at: expires, restrictions } = params
        if (max !== undefined && coupon.max_redemptions !== null && max > coupon.max_redemptions)
          throw invalid("max_redemptions cannot be greater than the coupon's.", 'max_redemptions')
        if (expires !== undefined && expires <= world.at)
          throw invalid('`expires_at` must be in the future.', 'expires_at')
        if (expires !== undefined && coupon.redeem_by !== null && expires > coupon.redeem_by)
          throw invalid("expires_at cannot be after the coupon's redeem_by.", 'expires_at')
        const code = params.code ?? world.random.text(8).toUpperCase()
        if (!/^[\w-]+$/.test(code))
          throw invalid('Invalid promotion code: letters, digits, - and _ only.', 'code')
        const taken = world.store
          .all('promotion_code')
          .some((other) => other.code.toLowerCase() === code.toLowerCase() && isActive(world, other))
        if (taken) throw invalid(`An active promotion code with \`code: ${code}\` already exists.`, 'code')
        const made = world.create('promotion_code', {
          id: world.id('promo'),
          object: 'promotion_code',
          active: params.active ?? true,
          code,
          created: world.at,
          customer: params.customer ?? null,
          customer_account: null,
          expires_at: expires ?? coupon.redeem_by,
          livemode: false,
          max_redemptions: max ?? null,
          metadata: mergeMetadata({}, params.metadata),
          promotion: { coupon: coupon.id, type: 'coupon' },
          restrictions: {
            first_time_transaction: restrictions?.first_time_transaction ?? false,
            minimum_amount: restrictions?.minimum_amount ?? null,
            minimum_amount_currency: restrictions?.minimum_amount_currency?.toLowerCase() ?? null,
          },
          times_redeemed: 0,
        })
        world.emit('promotion_code.created', made)
        return shownPromotion(world, made)
      },
    ),
    route(
      'GET',
      '/v1/promotion_codes',
      { ...listShape, active: bool, code: str, coupon: str, customer: str },
      ({ world, params, path }) => {
        const all = newestFirst(world.store.all('promotion_code')).map((item) => shownPromotion(world, item))
        return pageOf(all, params, path, 'promotion code', (item) => {
          if (params.active !== undefined && item.active !== params.active) return false
          if (params.code !== undefined && item.code.toLowerCase() !== params.code.toLowerCase()) return false
          if (params.coupon !== undefined && item.promotion.coupon !== params.coupon) return false
          return params.customer === undefined || item.customer === params.customer
        })
      },
    ),
    route('GET', '/v1/promotion_codes/:id', {}, ({ world, ids: [id = ''] }) =>
      shownPromotion(world, world.need('promotion_code', id)),
    ),
    route(
      'POST',
      '/v1/promotion_codes/:id',
      { active: bool, metadata, restrictions: severalCurrencies },
      ({ world, ids: [id = ''], params }) => {
        const old = world.need('promotion_code', id)
        const patch = {
          active: params.active ?? old.active,
          metadata: mergeMetadata(old.metadata, params.metadata),
        }
        return shownPromotion(world, world.update('promotion_code', id, patch, 'promotion_code.updated'))
      },
    ),
  ],
}
