// Coupons, promotion codes and the discounts they become.
import { boundary } from './calendar.ts'
import { invalid } from './error.ts'
import type { Off } from './reckon.ts'
import type { Coupon, Customer, Discount, PromotionCode } from './wire.ts'
import type { World } from './world.ts'

/** A discount as a parameter names it, or as the customer typed it. */
export interface Named {
  coupon?: string | undefined
  promotion_code?: string | undefined
}

export interface Redeemable {
  coupon: Coupon
  promotion: PromotionCode | undefined
}

/** Whether a coupon can still be redeemed. docs.stripe.com/api/coupons/object#coupon_object-valid */
export function isValid(world: World, coupon: Coupon): boolean {
  if (coupon._deleted) return false
  if (coupon.redeem_by !== null && coupon.redeem_by <= world.at) return false
  return coupon.max_redemptions === null || coupon.times_redeemed < coupon.max_redemptions
}

export function shownCoupon(world: World, coupon: Coupon): Coupon {
  return { ...coupon, valid: isValid(world, coupon) }
}

/** A promotion code is usable while it and its coupon are. docs.stripe.com/api/promotion_codes/object */
export function isActive(world: World, promotion: PromotionCode): boolean {
  if (!promotion.active) return false
  if (promotion.expires_at !== null && promotion.expires_at <= world.at) return false
  if (promotion.max_redemptions !== null && promotion.times_redeemed >= promotion.max_redemptions)
    return false
  const coupon = world.store.get('coupon', promotion.promotion.coupon ?? '')
  return coupon !== undefined && isValid(world, coupon)
}

export function shownPromotion(world: World, promotion: PromotionCode): PromotionCode {
  return { ...promotion, active: isActive(world, promotion) }
}

/** What a bill is, as far as a coupon or a code asks about it. */
export interface Bill {
  customer: Customer | undefined
  currency: string
  subtotal: number
}

/** The coupon that `coupon` or `promotion_code` names, if this bill may have it. */
export function redeemable(world: World, named: Named, bill: Bill, param: string): Redeemable {
  if ((named.coupon === undefined) === (named.promotion_code === undefined))
    throw invalid('You must specify exactly one of these parameters: coupon, promotion_code.', param)
  if (named.promotion_code !== undefined) {
    const promotion = world.need('promotion_code', named.promotion_code, `${param}[promotion_code]`)
    return ofPromotion(world, promotion, bill, `${param}[promotion_code]`)
  }
  const coupon = world.need('coupon', named.coupon ?? '', `${param}[coupon]`)
  checkCoupon(world, coupon, bill, `${param}[coupon]`)
  return { coupon, promotion: undefined }
}

/** The code a customer types; upper and lower case are the same. */
export function typedCode(world: World, code: string, bill: Bill): Redeemable {
  const promotion = world.store
    .all('promotion_code')
    .find((entry) => entry.code.toLowerCase() === code.trim().toLowerCase() && isActive(world, entry))
  if (!promotion) throw invalid('This code is invalid.', 'code')
  return ofPromotion(world, promotion, bill, 'code')
}

function ofPromotion(world: World, promotion: PromotionCode, bill: Bill, param: string): Redeemable {
  if (!isActive(world, promotion))
    throw invalid('This promotion code cannot be redeemed because it is not active.', param)
  if (promotion.customer !== null && promotion.customer !== bill.customer?.id)
    throw invalid('This promotion code cannot be redeemed by this customer.', param)
  const { minimum_amount: least, minimum_amount_currency: currency } = promotion.restrictions
  if (least !== null && (currency !== bill.currency || bill.subtotal < least))
    throw invalid(
      'This promotion code cannot be redeemed because the minimum amount requirement is not met.',
      param,
    )
  if (promotion.restrictions.first_time_transaction && hasPaid(world, bill.customer))
    throw invalid(
      'This promotion code cannot be redeemed because the associated customer has prior transactions.',
      param,
    )
  const coupon = world.need('coupon', promotion.promotion.coupon ?? '', param)
  checkCoupon(world, coupon, bill, param)
  return { coupon, promotion }
}

/** docs.stripe.com/billing/subscriptions/coupons (first-time orders): a payment or a paid invoice before this one. */
function hasPaid(world: World, customer: Customer | undefined): boolean {
  if (!customer) return false
  const own = (item: { customer: string | null; status: string | null }, status: string): boolean =>
    item.customer === customer.id && item.status === status
  return (
    world.store.all('charge').some((item) => own(item, 'succeeded')) ||
    world.store.all('invoice').some((item) => own(item, 'paid'))
  )
}

function checkCoupon(world: World, coupon: Coupon, bill: Bill, param: string): void {
  if (!isValid(world, coupon)) throw invalid(`Coupon expired: ${coupon.id}`, param, 'coupon_expired')
  if (coupon.amount_off !== null && coupon.currency !== bill.currency)
    throw invalid(
      `The coupon \`${coupon.id}\` cannot be applied: its currency is ${coupon.currency ?? ''}, this one is ${bill.currency}.`,
      param,
    )
}

/** Puts the discount; whoever completes the bill counts the redemption. */
export function newDiscount(
  world: World,
  { coupon, promotion }: Redeemable,
  owner: Partial<Pick<Discount, 'customer' | 'checkout_session' | 'subscription'>>,
): Discount {
  const months = coupon.duration === 'repeating' ? coupon.duration_in_months : null
  return world.create('discount', {
    id: world.id('di'),
    object: 'discount',
    checkout_session: null,
    customer: null,
    customer_account: null,
    end: months === null ? null : boundary(world.at, 'month', months),
    invoice: null,
    invoice_item: null,
    promotion_code: promotion?.id ?? null,
    source: { coupon: coupon.id, type: 'coupon' },
    start: world.at,
    subscription: null,
    subscription_item: null,
    ...owner,
  })
}

export function couponOf(world: World, discount: Discount): Coupon {
  return world.need('coupon', discount.source.coupon ?? '')
}

/** Refused when somebody else took the last redemption meanwhile, or time did. */
export function stillRedeemable(world: World, discount: Discount): void {
  const promotion =
    discount.promotion_code === null ? undefined : world.store.get('promotion_code', discount.promotion_code)
  const coupon = couponOf(world, discount)
  if (!isValid(world, coupon) || (promotion && !isActive(world, promotion)))
    throw invalid(`Coupon expired: ${coupon.id}`, undefined, 'coupon_expired')
}

/** Whoever made the discount took one of the coupon's (and the code's) redemptions. */
export function countRedemption(world: World, discount: Discount): void {
  const coupon = couponOf(world, discount)
  const used = world.update('coupon', coupon.id, { times_redeemed: coupon.times_redeemed + 1 })
  world.update('coupon', coupon.id, { valid: isValid(world, used) })
  const promotion =
    discount.promotion_code === null ? undefined : world.store.get('promotion_code', discount.promotion_code)
  if (promotion)
    world.update('promotion_code', promotion.id, { times_redeemed: promotion.times_redeemed + 1 })
}

/** Discounts by their ids, in their order, those that are over left out. */
export function offsOf(world: World, ids: string[]): Off[] {
  return ids.flatMap((id) => {
    const discount = world.store.get('discount', id)
    if (!discount || (discount.end !== null && discount.end <= world.at)) return []
    return [{ id, coupon: couponOf(world, discount) }]
  })
}
