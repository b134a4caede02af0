// What the simulator keeps: Stripe's own object types as they travel on the wire (decimals are strings, references
// are ids). Later resources add a kind here and a file of their own.
import type Stripe from 'stripe'

/** One field: a reference is kept as its id, a Decimal as its text, anything else field by field. */
export type Wire<T> = [Extract<T, string>] extends [never] ? Deep<T> : Exclude<T, object>

type Deep<T> = T extends Stripe.Decimal
  ? string
  : T extends (infer U)[]
    ? Wire<U>[]
    : T extends object
      ? { [K in keyof T]: Wire<T[K]> }
      : T

export interface List<T> {
  object: 'list'
  data: T[]
  has_more: boolean
  url: string
  total_count?: number
}

export type Customer = Wire<Stripe.Customer>
export type Product = Wire<Stripe.Product>
export type Price = Wire<Stripe.Price>
export type PaymentMethod = Wire<Stripe.PaymentMethod> & { _card: string }
export type PaymentIntent = Wire<Stripe.PaymentIntent> & { _invoice?: string; _debit?: 'succeeds' | 'fails' }
export type SetupIntent = Wire<Stripe.SetupIntent>
/** `_settled`: when the bank gave its word, for charges that waited for it. */
export type Charge = Wire<Stripe.Charge> & { _settled?: number }
export type InvoiceLine = Wire<Stripe.InvoiceLineItem>
export type InvoicePayment = Wire<Stripe.InvoicePayment>
export type SubscriptionItem = Wire<Stripe.SubscriptionItem>
export type InvoiceItem = Wire<Omit<Stripe.InvoiceItem, 'deleted'>> & {
  /** The invoice line that bills it. */
  _line?: string
}
export type SubscriptionSchedule = Wire<Stripe.SubscriptionSchedule>
export type SchedulePhase = SubscriptionSchedule['phases'][number]
export type PortalConfiguration = Wire<Stripe.BillingPortal.Configuration>
export type PortalSession = Wire<Stripe.BillingPortal.Session>
/** `_rolled` is the secret before, while it is valid; business time in ms. */
export type WebhookEndpoint = Wire<Stripe.WebhookEndpoint> & { _rolled?: { secret: string; until: number } }
export type Coupon = Wire<Omit<Stripe.Coupon, 'deleted'>> & { _products?: string[]; _deleted?: true }
export type PromotionCode = Wire<Stripe.PromotionCode>
export type Discount = Wire<Omit<Stripe.Discount, 'deleted'>>
export type TaxRate = Wire<Stripe.TaxRate> & { _automatic?: true }
export type BalanceTransaction = Wire<Stripe.CustomerBalanceTransaction>
export type SessionLine = Wire<Stripe.LineItem> & { _rates?: string[] }

export interface Invoice extends Wire<Omit<Stripe.Invoice, 'lines' | 'payments'>> {
  lines: List<InvoiceLine>
  /** Its invoice payment, once finalised with something due. */
  _payment?: string
}

export interface Subscription extends Wire<Omit<Stripe.Subscription, 'items'>> {
  items: List<SubscriptionItem>
  /** A change that waits for its invoice to be paid, and the invoice items that were pending before it. */
  _update?: { invoice: string; patch: Partial<Subscription>; swept: string[] }
}

export type SubscriptionStatus = Subscription['status']
type CancellationDetails = NonNullable<Subscription['cancellation_details']>
export type CancelReason = CancellationDetails['reason']
export type Feedback = CancellationDetails['feedback']

export interface CheckoutSession extends Wire<Omit<Stripe.Checkout.Session, 'line_items'>> {
  _lines: SessionLine[]
  _data: SessionData
}

/** What a session was asked to put on the objects that it makes when it is paid. */
export interface SessionData {
  metadata: Record<string, string>
  description: string | null
  trial_days: number | null
  trial_end: number | null
  missing_payment_method: string
  billing_mode: string
  setup_future_usage: string | null
  receipt_email: string | null
  /** Set when the subscription's last charge was declined: Stripe reuses the payment intent. */
  payment_intent: string | null
  /** The discount of the whole session. */
  discount?: string | null
  tax_rates?: string[]
  /** Whether the address that the page asks for is kept on the customer. */
  keep_address?: boolean
  /** What the customer will do on the page by itself, at a later instant. */
  planned?: Record<string, unknown>
}

export interface StoredEvent {
  id: string
  object: 'event'
  api_version: string
  created: number
  data: { object: Record<string, unknown>; previous_attributes?: Record<string, unknown> }
  livemode: boolean
  pending_webhooks: number
  request: { id: string | null; idempotency_key: string | null }
  type: string
}

/** One event on its way to one endpoint. `next` is business time in ms. */
export interface Delivery {
  id: string
  event: string
  endpoint: string
  state: 'pending' | 'sent' | 'failed' | 'dropped'
  attempts: number
  next: number
  until: number
}

export interface SavedAnswer {
  key: string
  method: string
  path: string
  params: string
  status: number
  body: string
  request: string
  at: number
}

/** One rule of the fault plane; `null` is any. */
export interface FaultRule {
  id: string
  fault: string
  method: string | null
  path: string | null
  /** part of the idempotency key */
  key: string | null
  /** how often at most */
  count: number | null
  probability: number
  seed: number
  latency_ms: number
  /** requests that it was for, and those of them that met it */
  asked: number
  hits: number
}

export interface Deadline {
  purpose: string
  target: string
  at: number
  order: number
}

export interface Kinds {
  customer: Customer
  product: Product
  price: Price
  payment_method: PaymentMethod
  payment_intent: PaymentIntent
  setup_intent: SetupIntent
  charge: Charge
  subscription: Subscription
  subscription_schedule: SubscriptionSchedule
  invoice: Invoice
  invoice_payment: InvoicePayment
  invoiceitem: InvoiceItem
  'checkout.session': CheckoutSession
  'billing_portal.configuration': PortalConfiguration
  'billing_portal.session': PortalSession
  event: StoredEvent
  webhook_endpoint: WebhookEndpoint
  coupon: Coupon
  promotion_code: PromotionCode
  discount: Discount
  tax_rate: TaxRate
  customer_balance_transaction: BalanceTransaction
  _delivery: Delivery
  _answer: SavedAnswer
  _deadline: Deadline
  _fault: FaultRule
  _setting: Record<string, unknown>
}

export type Kind = keyof Kinds

/** The kind that an id names by its prefix, for `expand`. */
export const kindByPrefix: Record<string, Kind> = {
  cus: 'customer',
  prod: 'product',
  price: 'price',
  pm: 'payment_method',
  pi: 'payment_intent',
  seti: 'setup_intent',
  ch: 'charge',
  py: 'charge',
  sub: 'subscription',
  bpc: 'billing_portal.configuration',
  sub_sched: 'subscription_schedule',
  in: 'invoice',
  inpay: 'invoice_payment',
  ii: 'invoiceitem',
  cs: 'checkout.session',
  promo: 'promotion_code',
  di: 'discount',
  txr: 'tax_rate',
  cbtxn: 'customer_balance_transaction',
}

export const API_VERSION = '2026-10-28.endive'
export const ACCOUNT = 'acct_1SandboxPerennial'
