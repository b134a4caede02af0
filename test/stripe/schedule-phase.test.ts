import assert from 'node:assert/strict'
import type Stripe from 'stripe'
import { holds, itemsOf, restated } from '../../src/stripe/schedule-phase.ts'

type Kept = Stripe.SubscriptionSchedule.Phase
type Told = Stripe.SubscriptionScheduleUpdateParams.Phase

const rate = (id: string) => ({ id, object: 'tax_rate' }) as Stripe.TaxRate
const discount = (id: string) => ({ coupon: null, discount: id, promotion_code: null })

/** A phase that says all that a phase can say, none of it as it is when nothing is said. */
const phase: Kept = {
  add_invoice_items: [],
  application_fee_percent: 2.5,
  automatic_tax: {
    disabled_reason: null,
    enabled: true,
    liability: { type: 'account', account: 'acct_liable' },
  },
  billing_cycle_anchor: 'phase_start',
  billing_thresholds: { amount_gte: 500, reset_billing_cycle_anchor: null },
  collection_method: 'send_invoice',
  currency: 'usd',
  default_payment_method: 'pm_1',
  default_tax_rates: [rate('txr_1'), rate('txr_2')],
  description: 'As agreed',
  discounts: [discount('di_1')],
  end_date: 2,
  invoice_settings: {
    account_tax_ids: ['txi_1'],
    custom_fields: null,
    days_until_due: 14,
    description: null,
    footer: null,
    issuer: { type: 'account', account: 'acct_issuer' },
  },
  items: [
    {
      billing_thresholds: { usage_gte: 7 },
      discounts: [
        discount('di_2'),
        { coupon: 'co_1', discount: null, promotion_code: null },
        { coupon: null, discount: null, promotion_code: 'promo_1' },
      ],
      metadata: { of: 'item' },
      plan: 'price_1',
      price: 'price_1',
      quantity: 3,
      tax_rates: [rate('txr_3')],
    },
    {
      billing_thresholds: null,
      discounts: [],
      metadata: null,
      plan: 'price_2',
      price: 'price_2',
      quantity: 1,
      tax_rates: [],
    },
  ],
  metadata: { of: 'phase' },
  on_behalf_of: 'acct_merchant',
  proration_behavior: 'none',
  start_date: 1,
  transfer_data: { destination: 'acct_payee', amount_percent: 40 },
  trial_end: null,
}

describe('a phase of a schedule, restated', () => {
  it('says all that it said: whoever sets phases loses what he leaves out', () => {
    assert.deepEqual(restated(phase, [{ discount: 'di_1' }]), {
      application_fee_percent: 2.5,
      automatic_tax: { enabled: true, liability: { type: 'account', account: 'acct_liable' } },
      billing_thresholds: { amount_gte: 500 },
      collection_method: 'send_invoice',
      default_payment_method: 'pm_1',
      default_tax_rates: ['txr_1', 'txr_2'],
      description: 'As agreed',
      discounts: [{ discount: 'di_1' }],
      invoice_settings: {
        account_tax_ids: ['txi_1'],
        days_until_due: 14,
        issuer: { type: 'account', account: 'acct_issuer' },
      },
      metadata: { of: 'phase' },
      on_behalf_of: 'acct_merchant',
      transfer_data: { destination: 'acct_payee', amount_percent: 40 },
    })
  })

  it('says its items, also those that are not ours, with their own taxes, discounts and notes', () => {
    assert.deepEqual(itemsOf(phase), [
      {
        billing_thresholds: { usage_gte: 7 },
        discounts: [{ discount: 'di_2' }, { coupon: 'co_1' }, { promotion_code: 'promo_1' }],
        metadata: { of: 'item' },
        price: 'price_1',
        quantity: 3,
        tax_rates: ['txr_3'],
      },
      { price: 'price_2', quantity: 1 },
    ])
  })

  const told: Told = { ...restated(phase, [{ discount: 'di_1' }]), items: itemsOf(phase) }
  const [ours, theirs] = phase.items
  assert.ok(ours && theirs)

  it('is held, in whichever order Stripe names its items and taxes', () => {
    const rates = [rate('txr_2'), rate('txr_1')]
    assert.equal(holds({ ...phase, items: [theirs, ours], default_tax_rates: rates }, told), true)
    assert.equal(holds(undefined, told), false)
  })

  const others: Record<string, Partial<Kept>> = {
    'another price': { items: [{ ...ours, price: 'price_3' }, theirs] },
    'another number of seats': { items: [{ ...ours, quantity: 4 }, theirs] },
    'an item less': { items: [ours] },
    'a discount of an item less': { items: [{ ...ours, discounts: ours.discounts.slice(1) }, theirs] },
    'another tax of an item': { items: [{ ...ours, tax_rates: [rate('txr_1')] }, theirs] },
    'a discount more': { discounts: [discount('di_1'), discount('di_3')] },
    'no automatic tax': { automatic_tax: { disabled_reason: null, enabled: false, liability: null } },
    'a tax less': { default_tax_rates: [rate('txr_1')] },
    'another way to collect': { collection_method: 'charge_automatically' },
    'another card': { default_payment_method: 'pm_2' },
  }
  for (const [what, other] of Object.entries(others))
    it(`is not held with ${what}`, () => assert.equal(holds({ ...phase, ...other }, told), false))
})
