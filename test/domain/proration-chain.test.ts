import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Exact } from '../../src/domain/credits.ts'
import { type Currency, type End, Life } from '../support/life.ts'
import { type Interval, type Key, YEAR } from '../support/proration.ts'

describe('going up and down mints nothing', () => {
  const RATE = 0.012 * (12 / YEAR) // of the plan and interval with the most credits for the money, per minor unit
  const MONTHLY = 0.012 // of the plan with the most credits for a month's money

  /** What was paid in, at a rate, buys all that was ever promised; each line may be rounded by a cent. */
  function assertPaid(life: Life, rate: number, steps: number): void {
    const most = new Exact(life.mostPaid + 3 * steps).times(rate)
    assert.ok(life.promised.lte(most), `${life.promised.toFixed()} for ${life.mostPaid}`)
  }

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

  it('fifty cycles under a coupon that takes no credits: what is given back is what it bought', () => {
    const life = new Life({ coupon: 50, rule: 'full' })
    life.change(0.3, 'c', 'month', 1, false)
    const { promised } = life
    for (let cycle = 0; cycle < 50; cycle += 1) {
      life.change(0, 'a', 'month', 1, false)
      life.change(0, 'c', 'month', 1, false)
      life.pause(0, false)
    }
    assert.ok(life.promised.lte(promised), `${life.promised.toFixed()} is more than ${promised.toFixed()}`)
    assert.ok(promised.minus(life.promised).lt('0.0001'), 'and nothing is lost but what is rounded')
    const anew = new Life({ coupon: 90, rule: 'full' })
    for (let cycle = 0; cycle < 50; cycle += 1)
      anew.startOver(0, 'prorated', { plan: 'a', interval: 'month', quantity: 1 })
    assert.equal(anew.promised.toFixed(), '20')
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
    assertPaid(life, MONTHLY, 0)
  })

  it('fifty cycles through subscriptions that end: what the balance pays for was granted before', () => {
    for (const interval of ['month', 'year'] as const) {
      const life = new Life()
      life.change(0, 'c', interval, 1, false)
      const { paid, promised } = life
      for (let cycle = 0; cycle < 50; cycle += 1)
        life.startOver(0, 'prorated', { plan: 'c', interval, quantity: 1 })
      assert.equal(life.paid, paid)
      assert.ok(life.promised.lte(promised), `${life.promised.toFixed()} is more than ${promised.toFixed()}`)
      assert.ok(promised.minus(life.promised).lt('0.0001'), 'and nothing is lost but what is rounded')
    }
  })

  it('fifty cycles of less, an end and more again: never more than was paid in buys', () => {
    const life = new Life()
    for (let cycle = 0; cycle < 50; cycle += 1) {
      life.change(0.1, 'a', 'month', 1, cycle % 2 === 0)
      life.startOver(0, 'planned', { plan: 'b', interval: 'month', quantity: 1 })
    }
    assertPaid(life, MONTHLY, 100)
  })

  it('fifty ends and orders in another currency: what one balance keeps is made good for money of the other', () => {
    const life = new Life()
    const bought = { plan: 'c', interval: 'month', quantity: 1 } as const
    for (let cycle = 0; cycle < 50; cycle += 1) {
      life.startOver(0, 'prorated', bought, cycle % 2 === 0 ? 'eur' : 'usd')
    }
    assert.deepEqual([life.mostPaid, life.paid], [20_000, 10_000])
    assert.equal(life.promised.toFixed(), '100')
  })

  it('fifty pauses that give the time back', () => {
    for (const anew of [true, false]) {
      const life = new Life()
      const { promised } = life
      for (let cycle = 0; cycle < 50; cycle += 1) life.pause(0, anew)
      assert.ok(life.promised.lte(promised))
      assert.ok(promised.minus(life.promised).lt('0.0001'))
    }
  })

  interface Step {
    what: 'change' | 'renew' | 'pause' | 'startOver' | 'discount'
    part: number
    plan: Key
    interval: Interval
    quantity: number
    flag: boolean
    end: End
    coupon: number
    currency: Currency
  }
  const step = fc.record<Step>({
    what: fc.constantFrom<Step['what'][]>(
      'change',
      'change',
      'change',
      'renew',
      'pause',
      'startOver',
      'discount',
    ),
    part: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 0.9, noNaN: true })),
    plan: fc.constantFrom<Key[]>('a', 'b', 'c'),
    interval: fc.constantFrom<Interval[]>('month', 'month', 'month', 'year'),
    quantity: fc.integer({ min: 1, max: 4 }),
    flag: fc.boolean(),
    end: fc.constantFrom<End[]>('prorated', 'now', 'planned'),
    coupon: fc.constantFrom(0, 10, 50, 100),
    currency: fc.constantFrom<Currency[]>('usd', 'usd', 'eur'),
  })
  function take(
    life: Life,
    { what, part, plan, interval, quantity, flag, end, coupon, currency }: Step,
  ): void {
    if (what === 'renew') life.renew()
    else if (what === 'pause') life.pause(part, flag)
    else if (what === 'startOver') life.startOver(part, end, { plan, interval, quantity }, currency)
    else if (what === 'discount') life.discount(coupon)
    else life.change(part, plan, interval, quantity, flag)
  }

  it('any chain of changes, coupons, pauses, renewals and new subscriptions: all that is granted was paid for', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const life = new Life()
        for (const [index, one] of steps.entries()) {
          take(life, one)
          assertPaid(life, RATE, index + 1)
        }
      }),
    )
  })

  it('where discounts take no credits, any chain: what the greatest coupon makes of the money', () => {
    fc.assert(
      fc.property(fc.constantFrom(0, 10, 50, 90), fc.array(step, { maxLength: 25 }), (most, steps) => {
        const life = new Life({ coupon: most, rule: 'full' })
        for (const [index, one] of steps.entries()) {
          take(life, { ...one, coupon: Math.min(one.coupon, most) })
          assertPaid(life, (RATE * 100) / (100 - most), index + 1)
        }
      }),
    )
  })
})
