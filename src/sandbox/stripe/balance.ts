// The customer's invoice balance: a ledger of credits (negative) and debts (positive) that the next invoice takes up.
// docs.stripe.com/billing/customer/balance
import { notSimulated } from './error.ts'
import type { BalanceTransaction, Customer, Invoice } from './wire.ts'
import type { World } from './world.ts'

export interface BalanceChange {
  amount: number
  currency: string
  type: BalanceTransaction['type']
  description?: string | undefined
  metadata?: Record<string, string>
  invoice?: string
  checkout_session?: string
}

/** Adds to the balance and writes why. */
export function changeBalance(world: World, customerId: string, change: BalanceChange): BalanceTransaction {
  const customer = world.need('customer', customerId)
  const {
    amount,
    currency,
    type,
    description,
    metadata = {},
    invoice = null,
    checkout_session = null,
  } = change
  if (customer.currency && customer.currency !== currency)
    throw notSimulated('balances in several currencies', 'currency')
  const balance = customer.balance + amount
  world.update(
    'customer',
    customerId,
    { balance, currency: customer.currency ?? currency },
    'customer.updated',
  )
  return world.create('customer_balance_transaction', {
    id: world.id('cbtxn'),
    object: 'customer_balance_transaction',
    amount,
    checkout_session,
    created: world.at,
    credit_note: null,
    currency,
    customer: customerId,
    customer_account: null,
    description: description ?? null,
    ending_balance: balance,
    invoice,
    livemode: false,
    metadata,
    type,
  })
}

/** The least that a card is charged, in minor units. docs.stripe.com/currencies#minimum-and-maximum-charge-amounts */
const least: Record<string, number> = { usd: 50, eur: 50, gbp: 30, jpy: 50, cad: 50, aud: 50, chf: 50 }

export function minimumOf(currency: string): number {
  return least[currency] ?? 0
}

/** An amount that no card is charged: more than nothing, less than the minimum. */
export function tooSmall(amount: number, currency: string): boolean {
  return amount > 0 && amount < minimumOf(currency)
}

export interface Owed {
  /** What is to be collected now. */
  due: number
  /** What the balance changes by, and why. */
  taken: number
  type: 'applied_to_invoice' | 'invoice_too_small'
}

/**
 * A bill with the balance taken up. What credit is left stays; a debt is collected with it; an amount too small to charge
 * becomes a debt, and nothing is due.
 */
export function owedWith(customer: Customer | undefined, total: number, currency: string): Owed {
  if (!customer) return { due: total, taken: 0, type: 'applied_to_invoice' }
  const owed = total + customer.balance
  if (tooSmall(owed, currency)) return { due: 0, taken: total, type: 'invoice_too_small' }
  const due = Math.max(0, owed)
  return { due, taken: total - due, type: 'applied_to_invoice' }
}

export interface Applied {
  due: number
  starting: number
  ending: number
}

/** Takes the balance up: in an invoice that is being finalised, or for the invoice that a session is going to make. */
export function applyBalance(
  world: World,
  customer: Customer,
  total: number,
  currency: string,
  by: { invoice: string } | { checkout_session: string },
): Applied {
  const starting = customer.balance
  const { due, taken, type: standard } = owedWith(customer, total, currency)
  const type = 'invoice' in by ? standard : 'checkout_session_subscription_payment'
  if (taken !== 0) changeBalance(world, customer.id, { amount: taken, currency, type, ...by })
  return { due, starting, ending: starting + taken }
}

/** docs.stripe.com/changelog/2019-12-03/customer-balances-returned-voided-invoices */
export function returnBalance(world: World, invoice: Invoice): void {
  const taken = world.store
    .all('customer_balance_transaction')
    .filter((entry) => entry.invoice === invoice.id)
    .reduce((sum, entry) => sum + entry.amount, 0)
  if (taken === 0 || invoice.customer === null) return
  const { currency, customer, id } = invoice
  changeBalance(world, customer, { amount: -taken, currency, type: 'unapplied_from_invoice', invoice: id })
}
