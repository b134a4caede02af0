import assert from 'node:assert/strict'
import fc from 'fast-check'
import { addMonths, addMs, HOUR_MS, type Instant, msBetween } from '../../src/domain/calendar.ts'
import { Exact } from '../../src/domain/credits.ts'
import type {
  GrantStep,
  InvoiceFacts,
  LineFacts,
  PendingEntitlement,
} from '../../src/domain/subscription-facts.ts'
import {
  amounts,
  at,
  decide,
  type Interval,
  invoice,
  type Key,
  line,
  PLANS,
  START,
  subscription,
  sum,
  YEAR,
} from '../support/proration.ts'

/** What Stripe bills for a chain of changes, as far as credits can tell; and the decisions that follow, one by one. */
class Life {
  readonly granted: string[] = []
  pending: PendingEntitlement[] = []
  owed = new Exact(0)
  #known: string[] = []
  #plan: Key = 'a'
  #interval: Interval = 'month'
  #quantity = 1
  #anchor = START
  #end = at(1)
  #now = START
  #number = 0
  #riding: LineFacts[] = []
  /** what was paid less what was given back, and the most that it ever was, in minor units */
  paid = 0
  mostPaid = 0

  constructor() {
    this.#pay('subscription_create', [this.#period(START, at(1))])
  }

  /** Another plan, interval or number of seats at a part of what is left of the period. */
  change(part: number, plan: Key, interval: Interval, quantity: number, riding: boolean): void {
    this.#now = addMs(this.#now, Math.floor(part * msBetween(this.#now, this.#end)))
    const credit = this.#prorated(-1)
    const switched = interval !== this.#interval
    this.#plan = plan
    this.#quantity = quantity
    this.#interval = interval
    if (switched) {
      this.#anchor = this.#now
      this.#end = addMonths(this.#now, interval === 'year' ? 12 : 1)
      this.#pay('subscription_update', [
        ...this.#riding.splice(0),
        credit,
        this.#period(this.#now, this.#end),
      ])
      return
    }
    const lines = [credit, this.#prorated(1)]
    if (riding) this.#riding.push(...lines)
    else this.#pay('subscription_update', [...this.#riding.splice(0), ...lines])
  }

  renew(): void {
    const start = this.#end
    this.#now = start
    const months = Math.round(msBetween(this.#anchor, start) / msBetween(START, at(1)))
    this.#end = addMonths(this.#anchor, months + (this.#interval === 'year' ? 12 : 1))
    this.#pay('subscription_cycle', [...this.#riding.splice(0), this.#period(start, this.#end)])
  }

  /** everything that is due some day */
  get promised(): Exact {
    return sum([...this.granted, ...amounts(this.pending)])
  }

  get #list(): number {
    return PLANS[this.#plan][1] * (this.#interval === 'year' ? YEAR : 1) * this.#quantity
  }

  #period(start: Instant, end: Instant): LineFacts {
    return this.#line({ amount: String(this.#list), proration: false, periodStart: start, periodEnd: end })
  }

  #prorated(sign: 1 | -1): LineFacts {
    const months = this.#interval === 'year' ? 12 : 1
    const left = msBetween(this.#now, this.#end) / (months * 31 * 24 * HOUR_MS)
    const amount = sign * Math.round(this.#list * Math.min(left, 1))
    return this.#line({
      amount: String(amount),
      proration: true,
      periodStart: this.#now,
      periodEnd: this.#end,
    })
  }

  #line(change: Partial<LineFacts>): LineFacts {
    const priceId = `price_${this.#plan}_${this.#interval}`
    return line(`il_${(this.#number += 1)}`, this.#plan, 0, { ...change, priceId, quantity: this.#quantity })
  }

  #pay(reason: string, lines: LineFacts[]): void {
    this.paid += lines.reduce((total, { amount }) => total + Number(amount), 0)
    this.mostPaid = Math.max(this.mostPaid, this.paid)
    this.observe([invoice(`in_${(this.#number += 1)}`, lines, { reason, paidAt: this.#now })])
    this.observe([])
  }

  observe(invoices: InvoiceFacts[]): void {
    const plan = decide(invoices, {
      at: this.#now,
      subscription: { ...subscription, anchor: this.#anchor },
      known: this.#known,
      pending: this.pending,
      owed: this.owed.toFixed(),
    })
    const keys = (steps: { key: string }[]) => steps.map(({ key }) => key)
    const isGranted = new Set(keys(plan.grants))
    this.#known.push(...keys(plan.entitlements), ...keys(plan.grants), ...keys(plan.settlements))
    const cuts = new Map(plan.cuts.map(({ key, amount }) => [key, amount]))
    this.pending = [
      ...this.pending.map((month) => ({ ...month, amount: cuts.get(month.key) ?? month.amount })),
      ...plan.entitlements,
    ].filter(({ key, amount }) => !isGranted.has(key) && amount !== '0')
    this.granted.push(...amounts(plan.grants satisfies GrantStep[]))
    this.owed = this.owed.plus(sum(plan.settlements.map(({ owed }) => owed)))
    assert.ok(this.owed.gte(0), 'nobody makes good more than was given back')
  }
}

describe('going up and down mints nothing', () => {
  const RATE = 0.012 * (12 / YEAR) // of the plan and interval with the most credits for the money, per minor unit

  it('fifty cycles between the smallest plan and the greatest, at once: one is what all of them are', () => {
    for (const interval of ['month', 'year'] as const) {
      const once = new Life()
      if (interval === 'year') once.change(0, 'a', 'year', 1, false)
      const often = new Life()
      if (interval === 'year') often.change(0, 'a', 'year', 1, false)
      once.change(0.3, 'c', interval, 1, false)
      often.change(0.3, 'c', interval, 1, false)
      for (let cycle = 0; cycle < 50; cycle += 1) {
        often.change(0, 'a', interval, 1, false)
        often.change(0, 'c', interval, 1, false)
      }
      assert.equal(often.paid, once.paid)
      assert.ok(
        often.promised.lte(once.promised),
        `${often.promised.toFixed()} is more than ${once.promised.toFixed()}`,
      )
      assert.ok(once.promised.minus(often.promised).lt('0.0001'), 'and nothing is lost but what is rounded')
    }
  })

  it('fifty cycles through a plan in between with another rate', () => {
    const life = new Life()
    life.change(0.2, 'c', 'month', 1, false)
    const before = life.promised
    for (let cycle = 0; cycle < 50; cycle += 1) {
      life.change(0, 'a', 'month', 1, false)
      life.change(0, 'b', 'month', 1, false)
      life.change(0, 'c', 'month', 1, false)
    }
    assert.ok(life.promised.lte(before))
  })

  it('fifty cycles between a month and a year: never more than the most that was paid buys', () => {
    const life = new Life()
    for (let cycle = 0; cycle < 50; cycle += 1) {
      life.change(0, 'a', 'year', 1, false)
      life.change(0, 'a', 'month', 1, false)
    }
    assert.ok(life.promised.lte(new Exact(life.mostPaid).times('0.012')), life.promised.toFixed())
  })

  it('any chain of changes and renewals: all that is ever granted was paid for', () => {
    const step = fc.record({
      renew: fc.boolean(),
      part: fc.double({ min: 0, max: 0.9, noNaN: true }),
      plan: fc.constantFrom<Key>('a', 'b', 'c'),
      interval: fc.constantFrom<Interval>('month', 'month', 'month', 'year'),
      quantity: fc.integer({ min: 1, max: 4 }),
      riding: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const life = new Life()
        for (const { renew, part, plan, interval, quantity, riding } of steps) {
          if (renew) life.renew()
          else life.change(part, plan, interval, quantity, riding)
          const most = new Exact(life.mostPaid + 2 * steps.length).times(RATE)
          assert.ok(life.promised.lte(most), `${life.promised.toFixed()} for ${life.mostPaid}`)
        }
      }),
    )
  })
})
