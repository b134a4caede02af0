import assert from 'node:assert/strict'
import { creditsForLine } from '../../src/domain/grant.ts'
import type { KeptTerms } from '../../src/domain/plan.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type {
  InvoiceFacts,
  LineFacts,
  Observation,
  SubscriptionFacts,
} from '../../src/domain/subscription-facts.ts'

const START = '2027-01-31T10:00:00.000Z'
const yearly: KeptTerms = {
  priceId: 'price_y',
  lookupKey: 'tier_6_50.year.v1',
  plan: 'tier_6_50',
  planName: 'Team',
  group: 'default',
  interval: 'year',
  version: 'v1',
  credits: '50',
  unitAmount: '48000',
  currency: 'usd',
  graceHours: 72,
  discountRule: 'proportional',
}
const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'active',
  priceId: 'price_y',
  quantity: 1,
  periodStart: START,
  periodEnd: '2028-01-31T10:00:00.000Z',
  anchor: START,
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: START,
}
const line: LineFacts = {
  id: 'il_1',
  priceId: 'price_y',
  proration: false,
  quantity: 1,
  amount: '48000',
  discount: '0',
  periodStart: START,
  periodEnd: '2028-01-31T10:00:00.000Z',
}
const invoice: InvoiceFacts = {
  id: 'in_1',
  status: 'paid',
  reason: 'subscription_create',
  currency: 'usd',
  amountPaid: '48000',
  payment: 'pi_1',
  paidAt: START,
  finalizesAt: null,
  nextAttemptAt: null,
  lines: [line],
}

function decide(change: Partial<Observation> = {}, lineChange: Partial<LineFacts> = {}) {
  const plan = decideSubscription({
    at: START,
    subscription,
    invoices: [{ ...invoice, lines: [{ ...line, ...lineChange }] }],
    terms: { price_y: yearly },
    known: [],
    pending: [],
    ...change,
  })
  assert.ok(plan)
  return plan
}

const days = (instants: string[]) => instants.map((instant) => instant.slice(0, 10))

describe('what a paid year decides, at its edges', () => {
  it('each month is the plan’s credits a month, until its own end and the grace', () => {
    const { entitlements } = decide()
    assert.deepEqual(new Set(entitlements.map(({ amount }) => amount)), new Set(['50']))
    assert.deepEqual(days(entitlements.map(({ periodEnd }) => periodEnd)).slice(0, 4), [
      '2027-02-28',
      '2027-03-31',
      '2027-04-30',
      '2027-05-31',
    ])
    assert.equal(entitlements[11]?.periodEnd, line.periodEnd)
    assert.deepEqual(days(entitlements.map(({ expiresAt }) => expiresAt ?? 'never')).slice(0, 2), [
      '2027-03-03',
      '2027-04-03',
    ])
  })

  it('a year that was paid in part is worth that part of each month', () => {
    const { entitlements } = decide({}, { discount: '12000' })
    assert.deepEqual(new Set(entitlements.map(({ amount }) => amount)), new Set(['37.5']))
  })

  it('a second year is dated from the anchor, not from its own first day', () => {
    // begun on 29 February, so that the second year starts on the 28th and its months are the 29th
    const anchor = '2028-02-29T10:00:00.000Z'
    const { entitlements } = decide(
      { subscription: { ...subscription, anchor }, at: '2029-02-28T10:00:00.000Z' },
      { periodStart: '2029-02-28T10:00:00.000Z', periodEnd: '2030-02-28T10:00:00.000Z' },
    )
    assert.deepEqual(days(entitlements.map(({ dueAt }) => dueAt)).slice(0, 3), [
      '2029-02-28',
      '2029-03-29',
      '2029-04-29',
    ])
  })

  it('audit 1: writes and grants no month that is known already', () => {
    const known = Array.from({ length: 12 }, (_, index) => `invoice_line:il_1:${index}`)
    const { entitlements, grants } = decide({ known })
    assert.deepEqual([entitlements, grants], [[], []])
  })

  it('a $0 year writes nothing', () => {
    const { entitlements, grants } = decide({}, { amount: '0' })
    assert.deepEqual([entitlements, grants], [[], []])
  })

  it('grants nothing for a line without a quantity and asks for a person', () => {
    const { entitlements, grants, mirror } = decide({}, { quantity: null })
    assert.deepEqual([entitlements, grants, mirror.attention], [[], [], 'quantity_missing'])
  })

  it('looks at a first payment that is not complete after 23 hours, not after its period', () => {
    const { mirror } = decide({ subscription: { ...subscription, status: 'incomplete' }, invoices: [] })
    assert.equal(mirror.deadline, '2027-02-01T09:02:00.000Z')
  })
})

describe('law 7: the grant formula at its edges', () => {
  it('loses no digit of the largest plan that is sold to the most seats', () => {
    const credits = creditsForLine({
      credits: '999999999999.99999999',
      quantity: 999_999,
      unitAmount: '999999999989',
      amount: '999998999988999988',
      discount: '1',
      rule: 'proportional',
    })
    // (credits × quantity × net) ÷ list, as integers: nothing is rounded before the end
    const list = 999_999_999_989n * 999_999n
    const exact = (99_999_999_999_999_999_999n * 999_999n * 999_998_999_988_999_987n) / list
    assert.equal(credits.toFixed(8).replace('.', ''), String(exact))
  })

  it('grants nothing for a price of nothing that something was paid for', () => {
    const free = {
      credits: '20',
      quantity: 1,
      unitAmount: '0',
      amount: '5',
      discount: '0',
      rule: 'full',
    } as const
    assert.equal(creditsForLine(free).toFixed(), '0')
  })
})
