import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Exact } from '../../src/domain/credits.ts'
import type { KeptTerms, Renewal } from '../../src/domain/plan.ts'
import { carriedOver, lapsesAt } from '../../src/domain/renewal.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type { GrantStep, InvoiceFacts, Observation } from '../../src/domain/subscription-facts.ts'

const END = '2027-02-28T10:00:00.000Z'

describe('the renewal rule', () => {
  it('replace: nothing lives on, and the credits lapse after the grace', () => {
    const renewal: Renewal = { rule: 'replace' }
    assert.equal(carriedOver(renewal, 3), '0')
    assert.equal(lapsesAt({ renewal, graceHours: 72 }, END), '2027-03-03T10:00:00.000Z')
  })

  it('roll over: the limit for each seat lives on, exactly', () => {
    const renewal: Renewal = { rule: 'roll_over', limit: '100.00000001' }
    assert.equal(carriedOver(renewal, 3), '300.00000003')
    assert.equal(carriedOver(renewal, 1), '100.00000001')
    assert.equal(lapsesAt({ renewal, graceHours: 1 }, END), '2027-02-28T11:00:00.000Z')
  })

  it('keep: everything lives on, and nothing ever lapses', () => {
    const renewal: Renewal = { rule: 'keep' }
    assert.equal(carriedOver(renewal, 3), 'Infinity')
    assert.equal(lapsesAt({ renewal, graceHours: 72 }, END), null)
  })
})

const month = (index: number) => new Date(Date.UTC(2027, index, 1)).toISOString()

/** Terms with a rule, or as they were written before there were rules. */
function termsOf(renewal: Renewal | undefined, interval: 'month' | 'year' = 'month'): KeptTerms {
  return {
    priceId: 'price_1',
    lookupKey: `pro.${interval}.v1`,
    plan: 'pro',
    planName: 'Pro',
    group: 'default',
    interval,
    version: 'v1',
    credits: '20',
    unitAmount: '2000',
    currency: 'usd',
    graceHours: 72,
    discountRule: 'proportional',
    ...(renewal === undefined ? {} : { renewal }),
  }
}

function invoice(index: number, quantity: number, months = 1): InvoiceFacts {
  return {
    id: `in_${index}`,
    status: 'paid',
    reason: 'subscription_cycle',
    currency: 'usd',
    amountPaid: String(2000 * quantity),
    payment: `pi_${index}`,
    paidAt: month(index),
    finalizesAt: null,
    nextAttemptAt: null,
    lines: [
      {
        id: `il_${index}`,
        priceId: 'price_1',
        proration: false,
        quantity,
        amount: String(2000 * quantity),
        discount: '0',
        periodStart: month(index),
        periodEnd: month(index + months),
      },
    ],
  }
}

function decide(terms: KeptTerms, invoices: InvoiceFacts[], more: Partial<Observation> = {}) {
  const plan = decideSubscription({
    at: month(invoices.length - 1),
    subscription: {
      id: 'sub_1',
      account: 'acc_1',
      order: null,
      status: 'active',
      priceId: 'price_1',
      quantity: 1,
      periodStart: month(0),
      periodEnd: month(1),
      anchor: month(0),
      cancelAt: null,
      cancelAtPeriodEnd: false,
      endedAt: null,
      created: month(0),
    },
    invoices,
    terms: { price_1: terms },
    known: [],
    pending: [],
    ...more,
  })
  assert.ok(plan)
  return plan
}

const ruleOf = fc.oneof(
  fc.constant<Renewal | undefined>(undefined),
  fc.constant<Renewal>({ rule: 'replace' }),
  fc.constant<Renewal>({ rule: 'keep' }),
  fc
    .integer({ min: 1, max: 5_000_000_000 })
    .map((units): Renewal => ({ rule: 'roll_over', limit: new Exact(units).div(1e8).toFixed() })),
)

describe('what a renewal leaves alive', () => {
  it('is never more than the limit and the new credits; and nothing is lost within the limit', () => {
    const periods = fc.array(
      fc.record({
        quantity: fc.integer({ min: 1, max: 500 }),
        spent: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      { minLength: 1, maxLength: 8 },
    )
    fc.assert(
      fc.property(ruleOf, periods, (renewal, seats) => {
        const { grants } = decide(
          termsOf(renewal),
          seats.map(({ quantity }, index) => invoice(index, quantity)),
        )
        let alive = new Exact(0)
        for (const [index, step] of grants.entries()) {
          const { quantity = 0, spent = 0 } = seats[index] ?? {}
          const left = alive
          // what the ledger does with a step: the rest of what is left lapses
          alive = Exact.min(left, step.carry ?? left).plus(step.amount)
          const limit =
            renewal?.rule === 'roll_over' ? new Exact(renewal.limit).times(quantity) : new Exact(0)
          if (renewal?.rule === 'keep') assert.ok(alive.eq(left.plus(step.amount)))
          else assert.ok(alive.lte(limit.plus(20 * quantity)))
          if (left.lte(limit)) assert.ok(alive.eq(left.plus(step.amount)), 'nothing lapses within the limit')
          assert.equal(step.expiresAt === null, renewal?.rule === 'keep')
          alive = alive.minus(alive.times(spent).toDecimalPlaces(8))
        }
      }),
    )
  })

  it('is the same by the month of a paid year', () => {
    const rule = (step: Pick<GrantStep, 'carry' | 'expiresAt'> | undefined) => [step?.carry, step?.expiresAt]
    for (const renewal of [
      { rule: 'replace' },
      { rule: 'roll_over', limit: '15' },
      { rule: 'keep' },
    ] satisfies Renewal[]) {
      const monthly = decide(termsOf(renewal), [invoice(0, 2)])
      const yearly = decide(termsOf(renewal, 'year'), [invoice(0, 2, 12)])
      assert.deepEqual(rule(yearly.grants[0]), rule(monthly.grants[0]))
      assert.deepEqual(
        new Set(yearly.entitlements.map(({ carry }) => carry)),
        new Set([carriedOver(renewal, 2)]),
      )
      // and so are the months that come due later
      const later = decide(termsOf(renewal, 'year'), [], {
        at: month(1),
        pending: yearly.entitlements.slice(1),
      })
      assert.deepEqual(rule(later.grants[0]), [
        carriedOver(renewal, 2),
        lapsesAt({ renewal, graceHours: 72 }, month(2)),
      ])
    }
  })

  it('is nothing for months and terms that were written before there was a rule', () => {
    const { entitlements } = decide(termsOf(undefined, 'year'), [invoice(0, 1, 12)])
    const old = entitlements.map((each) => {
      const { carry: _carry, ...rest } = each
      return rest
    })
    const { grants } = decide(termsOf(undefined, 'year'), [], { at: month(0), pending: old })
    assert.equal(grants[0]?.carry, '0')
  })
})
