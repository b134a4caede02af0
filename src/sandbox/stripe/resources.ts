// Every resource the simulator has. A new one is a file and a line here.
import type { Resource } from './router.ts'
import { billingPortal } from './resource/billing-portal.ts'
import { balanceTransaction } from './resource/balance-transaction.ts'
import { charge } from './resource/charge.ts'
import { checkoutSession } from './resource/checkout-session.ts'
import { coupon } from './resource/coupon.ts'
import { customer } from './resource/customer.ts'
import { event } from './resource/event.ts'
import { invoice } from './resource/invoice.ts'
import { invoiceItem } from './resource/invoice-item.ts'
import { invoicePayment } from './resource/invoice-payment.ts'
import { paymentIntent } from './resource/payment-intent.ts'
import { paymentMethod } from './resource/payment-method.ts'
import { price } from './resource/price.ts'
import { product } from './resource/product.ts'
import { promotionCode } from './resource/promotion-code.ts'
import { setupIntent } from './resource/setup-intent.ts'
import { subscription } from './resource/subscription.ts'
import { subscriptionSchedule } from './resource/subscription-schedule.ts'
import { taxRate } from './resource/tax-rate.ts'
import { webhookEndpoint } from './resource/webhook-endpoint.ts'

export const resources: Resource[] = [
  customer,
  paymentMethod,
  product,
  price,
  checkoutSession,
  subscription,
  subscriptionSchedule,
  billingPortal,
  invoiceItem,
  invoice,
  invoicePayment,
  paymentIntent,
  charge,
  setupIntent,
  coupon,
  promotionCode,
  taxRate,
  balanceTransaction,
  event,
  webhookEndpoint,
]

export const routes = resources.flatMap((resource) => resource.routes)
export const deadlines = Object.assign({}, ...resources.map((r) => r.deadlines ?? {})) as NonNullable<
  Resource['deadlines']
>
export const includable = Object.assign({}, ...resources.map((r) => r.includable ?? {})) as NonNullable<
  Resource['includable']
>
