import assert from 'node:assert/strict'
import type { KeptTerms } from '../../src/domain/plan.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type {
  InvoiceFacts,
  LineFacts,
  Observation,
  SubscriptionFacts,
} from '../../src/domain/subscription-facts.ts'

const at = (day: string) => `${day}T10:00:00.000Z`
const terms: KeptTerms = {
  priceId: 'price_m',
  lookupKey: 'tier_2_20.month.v1',
  plan: 'tier_2_20',
  planName: 'Starter',
  group: 'default',
  interval: 'month',
  version: 'v1',
  credits: '20',
  unitAmount: '2000',
  currency: 'usd',
  graceHours: 72,
  discountRule: 'proportional',
}
const yearly: KeptTerms = {
  ...terms,
  priceId: 'price_y',
  lookupKey: 'tier_2_20.year.v1',
  interval: 'year',
  unitAmount: '20400',
}
const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'active',
  priceId: 'price_m',
  quantity: 1,
  periodStart: at('2027-01-31'),
  periodEnd: at('2027-02-28'),
  anchor: at('2027-01-31'),
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: at('2027-01-31'),
}
const line: LineFacts = {
  id: 'il_1',
  priceId: 'price_m',
  proration: false,
  quantity: 1,
  amount: '2000',
  discount: '0',
  periodStart: at('2027-01-31'),
  periodEnd: at('2027-02-28'),
}
const invoice: InvoiceFacts = {
  id: 'in_1',
  status: 'paid',
  reason: 'subscription_create',
  currency: 'usd',
  amountPaid: '2000',
  payment: 'pi_1',
  paidAt: at('2027-01-31'),
  finalizesAt: null,
  nextAttemptAt: null,
  lines: [line],
}
function decide(change: Partial<Observation> = {}) {
  const plan = decideSubscription({
    at: at('2027-01-31'),
    subscription,
    invoices: [invoice],
    terms: { price_m: terms, price_y: yearly },
    known: [],
    pending: [],
    ...change,
  })
  assert.ok(plan)
  return plan
}

describe('what a subscription’s facts decide', () => {
  it('grants a paid line under the line’s own key, until the period’s end and the grace', () => {
    const { grants, payments } = decide()
    assert.deepEqual(grants, [
      {
        key: 'invoice_line:il_1',
        amount: '20',
        periodStart: at('2027-01-31'),
        expiresAt: at('2027-03-03'),
        carry: '0',
        payment: 'pi_1',
        reason: 'first_payment',
        source: { subscription: 'sub_1', invoice: 'in_1', line: 'il_1', price: 'tier_2_20.month.v1' },
      },
    ])
    assert.equal(payments[0]?.id, 'pi_1')
  })

  it('audit 1: grants nothing for what is known already', () => {
    assert.deepEqual(decide({ known: ['invoice_line:il_1'] }).grants, [])
  })

  for (const status of ['draft', 'open', 'uncollectible', 'void']) {
    it(`grants nothing for an invoice that is ${status}`, () => {
      assert.deepEqual(decide({ invoices: [{ ...invoice, status }] }).grants, [])
    })
  }

  it('grants nothing for a trial’s $0 invoice', () => {
    const free = { ...invoice, amountPaid: '0', lines: [{ ...line, amount: '0' }] }
    assert.deepEqual(decide({ invoices: [free] }).grants, [])
  })

  it('grants an invoice that the customer’s balance paid, and names the invoice as the payment', () => {
    const settled = { ...invoice, amountPaid: '0', payment: 'in_1' }
    const { grants } = decide({ invoices: [settled] })
    assert.equal(grants[0]?.amount, '20')
    assert.equal(grants[0]?.payment, 'in_1')
  })

  it('asks for a person when a line is none of the catalogue’s, or in another currency', () => {
    assert.equal(decide({ terms: {} }).mirror.attention, 'unknown_price')
    assert.equal(decide({ terms: {} }).mirror.group, 'default')
    const before = { status: 'active', priceId: 'price_m', quantity: 1, plan: 'tier_2_20', group: 'addons' }
    const moved = { ...before, cancelAt: null, pending: null, paused: false }
    assert.equal(decide({ terms: {}, before: moved }).mirror.group, 'addons')
    assert.equal(decide({ before: moved }).mirror.group, 'default')
    const euros = decide({ invoices: [{ ...invoice, currency: 'eur' }] })
    assert.equal(euros.mirror.attention, 'currency_mismatch')
    assert.deepEqual(euros.grants, [])
  })

  it('leaves lines alone that are no subscription’s', () => {
    const { grants, mirror } = decide({ invoices: [{ ...invoice, lines: [{ ...line, priceId: null }] }] })
    assert.deepEqual([grants, mirror.attention], [[], null])
  })

  it('writes twelve entitlements of a paid year from the anchor, and grants the first', () => {
    const year = { ...line, priceId: 'price_y', amount: '20400', periodEnd: at('2028-01-31') }
    const { entitlements, grants, mirror } = decide({ invoices: [{ ...invoice, lines: [year] }] })
    assert.deepEqual(
      entitlements.map(({ dueAt }) => dueAt.slice(0, 10)),
      [
        '2027-01-31',
        '2027-02-28',
        '2027-03-31',
        '2027-04-30',
        '2027-05-31',
        '2027-06-30',
        '2027-07-31',
        '2027-08-31',
        '2027-09-30',
        '2027-10-31',
        '2027-11-30',
        '2027-12-31',
      ],
    )
    assert.deepEqual(new Set(entitlements.map(({ amount }) => amount)), new Set(['20']))
    assert.deepEqual(
      grants.map(({ key }) => key),
      ['invoice_line:il_1:0'],
    )
    assert.equal(mirror.deadline, at('2027-02-28'))
  })

  it('grants due months also after the subscription has ended, and is over after the last', () => {
    const pending = [1, 2].map((n) => ({
      key: `invoice_line:il_1:${n}`,
      amount: '20',
      dueAt: at(`2027-0${n}-28`),
      periodEnd: at(`2027-0${n + 1}-28`),
      expiresAt: at(`2027-0${n + 1}-28`),
      payment: 'pi_1',
      source: {},
    }))
    const ended = { ...subscription, status: 'canceled', endedAt: at('2027-02-01') }
    const first = decide({ at: at('2027-02-01'), subscription: ended, invoices: [], pending })
    assert.deepEqual([first.grants.length, first.mirror.deadline, first.over], [1, at('2027-02-28'), false])
    const last = decide({ at: at('2027-03-01'), subscription: ended, invoices: [], pending })
    assert.deepEqual([last.grants.length, last.mirror.deadline, last.over], [2, null, true])
  })

  it('grants what is late in the order of its periods', () => {
    const march = {
      ...invoice,
      id: 'in_3',
      lines: [{ ...line, id: 'il_3', periodStart: at('2027-03-31'), periodEnd: at('2027-04-30') }],
    }
    const { grants } = decide({ at: at('2027-04-01'), invoices: [march, invoice] })
    assert.deepEqual(
      grants.map(({ key }) => key),
      ['invoice_line:il_1', 'invoice_line:il_3'],
    )
  })

  it('looks again after the period’s end, after a draft is due, after the next attempt', () => {
    assert.equal(decide().mirror.deadline, '2027-02-28T10:02:00.000Z')
    const draft = { ...invoice, status: 'draft', finalizesAt: '2027-01-31T11:00:00.000Z' }
    assert.equal(decide({ invoices: [draft] }).mirror.deadline, '2027-01-31T11:02:00.000Z')
    const open = { ...invoice, status: 'open', nextAttemptAt: at('2027-02-03') }
    assert.equal(decide({ invoices: [open] }).mirror.deadline, '2027-02-03T10:02:00.000Z')
    // what is overdue at Stripe is asked for again and again, not at once and not never
    assert.equal(decide({ at: at('2027-03-05') }).mirror.deadline, '2027-03-05T10:02:00.000Z')
  })

  it('looks once a day at one that Stripe paused: its period is over, and no other begins by itself', () => {
    const paused = { ...subscription, status: 'paused', periodEnd: at('2027-02-10') }
    const seen = { at: at('2027-02-20'), invoices: [] }
    assert.equal(decide({ ...seen, subscription: paused }).mirror.deadline, at('2027-02-21'))
    const ends = { ...paused, cancelAt: at('2027-02-25') }
    assert.equal(decide({ ...seen, subscription: ends }).mirror.deadline, '2027-02-25T10:02:00.000Z')
  })

  it('reads both ways to cancel', () => {
    const flag = decide({ subscription: { ...subscription, cancelAtPeriodEnd: true } })
    assert.equal(flag.mirror.cancelAt, at('2027-02-28'))
    const date = decide({ subscription: { ...subscription, cancelAt: at('2027-02-28') } })
    assert.equal(date.mirror.cancelAt, at('2027-02-28'))
  })

  it('leaves alone what belongs to no account of ours', () => {
    assert.equal(
      decideSubscription({
        at: at('2027-01-31'),
        subscription: { ...subscription, account: null },
        invoices: [invoice],
        terms: {},
        known: [],
        pending: [],
      }),
      undefined,
    )
  })
})
