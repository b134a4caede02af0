// The customer's invoice balance: a ledger of credits (negative) and debts (positive) that the next invoice takes up.
// docs.stripe.com/billing/customer/balance
import { invalid } from './error.ts'
import type { BalanceTransaction, Customer, Invoice } from './wire.ts'
import type { World } from './world.ts'

export interface BalanceChange {
  amount: number
  currency: string
  type: BalanceTransaction['type']
  description?: string | undefined
  metadata?: Record<string, string>
  invoice?: string
}

/** Adds to the balance and writes why. */
export function changeBalance(world: World, customerId: string, change: BalanceChange): BalanceTransaction {
  const customer = world.need('customer', customerId)
  const { amount, currency, type, description, metadata = {}, invoice = null } = change
  if (customer.currency && customer.currency !== currency && customer.balance !== 0)
    throw invalid(
      `You cannot combine currencies on a single customer. This customer has a balance in ${customer.currency}.`,
      'currency',
    )
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
    checkout_session: null,
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

export interface Applied {
  due: number
  starting: number
  ending: number
}

/**
 * Takes the balance up in an invoice that is being finalised. What credit is left stays; a debt is collected with it;
 * an amount too small to charge becomes a debt, and nothing is due. `prepaid`: Checkout collected the whole already.
 */
export function applyBalance(world: World, customer: Customer, invoice: Invoice, prepaid: boolean): Applied {
  const starting = customer.balance
  const { id, total, currency } = invoice
  if (prepaid || (customer.currency && customer.currency !== currency))
    return { due: total, starting, ending: starting }
  const owed = total + starting
  const small = tooSmall(owed, currency)
  const due = small ? 0 : Math.max(0, owed)
  const change = (amount: number, type: BalanceTransaction['type']): void => {
    if (amount !== 0) changeBalance(world, customer.id, { amount, currency, type, invoice: id })
  }
  if (small) change(total, 'invoice_too_small')
  else change(total - due, 'applied_to_invoice')
  return { due, starting, ending: world.need('customer', customer.id).balance }
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
