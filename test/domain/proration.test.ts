import assert from 'node:assert/strict'
import { addMonths, addMs, HOUR_MS } from '../../src/domain/calendar.ts'
import type { LineFacts } from '../../src/domain/subscription-facts.ts'
import {
  amounts,
  at,
  decide,
  invoice,
  type Key,
  line,
  pendingYear,
  subscription,
  TERMS,
  termsOf,
} from '../support/proration.ts'

describe('law 7: what a proration grants', () => {
  it('the net over all its lines, of the target’s credits, under one key; it lapses as its period does', () => {
    const { grants, settlements } = decide([
      invoice('in_1', [line('il_1', 'a', -1000), line('il_2', 'c', 5000)]),
    ])
    assert.deepEqual(grants, [
      {
        key: 'proration:in_1:price_c_month',
        amount: '40',
        periodStart: at(0, 0.5),
        expiresAt: addMs(at(1), 72 * HOUR_MS),
        carry: null,
        payment: 'pi_in_1',
        reason: 'plan_change',
        source: { subscription: 'sub_1', invoice: 'in_1', price: 'c.month.v1' },
      },
    ])
    assert.deepEqual(settlements, [{ key: 'proration:in_1:price_c_month', invoice: 'in_1', owed: '0' }])
  })

  it('the net times the target’s rate, though the plan before gave fewer credits for its money', () => {
    const { grants } = decide([invoice('in_1', [line('il_1', 'a', -1000), line('il_2', 'b', 2500)])])
    assert.deepEqual(amounts(grants), ['18'])
  })

  it('never more than the lines are worth: nothing is paid for twice where more money buys no more credits', () => {
    const { grants } = decide([invoice('in_1', [line('il_1', 'b', -5000), line('il_2', 'c', 10_000)])])
    assert.deepEqual(amounts(grants), ['40'])
  })

  it('never more than the target’s credits, whatever was paid', () => {
    const { grants } = decide([invoice('in_1', [line('il_1', 'c', 99_000)])])
    assert.deepEqual(amounts(grants), ['100'])
    const seats = decide([invoice('in_2', [line('il_1', 'c', 99_000, { quantity: 3 })])])
    assert.deepEqual(amounts(seats.grants), ['300'])
  })

  it('nothing when no more is paid, though the lines are worth more credits', () => {
    const even = decide([invoice('in_1', [line('il_1', 'c', -5000), line('il_2', 'b', 5000)])])
    assert.deepEqual([even.grants, even.settlements[0]?.owed], [[], '0'])
  })

  it('rounded down at 8 places', () => {
    const { grants } = decide([invoice('in_1', [line('il_1', 'b', 1)])])
    assert.deepEqual(amounts(grants), ['0.012'])
    const third = {
      ...TERMS,
      price_b_month: { ...termsOf('b', 'month'), unitAmount: '3000', credits: '0.1' },
    }
    assert.deepEqual(amounts(decide([invoice('in_1', [line('il_1', 'b', 1)])], { terms: third }).grants), [
      '0.00003333',
    ])
  })

  it('what discounts left of it', () => {
    const { grants } = decide([invoice('in_1', [line('il_1', 'c', 5000, { discount: '2500' })])])
    assert.deepEqual(amounts(grants), ['25'])
  })

  it('more seats: the net of the seats', () => {
    const lines = [line('il_1', 'a', -1000, { quantity: 1 }), line('il_2', 'a', 3000, { quantity: 3 })]
    assert.deepEqual(amounts(decide([invoice('in_1', lines)]).grants), ['20'])
  })

  for (const status of ['draft', 'open', 'uncollectible', 'void']) {
    it(`nothing for an invoice that is ${status}`, () => {
      const plan = decide([invoice('in_1', [line('il_2', 'c', 5000)], { status })])
      assert.deepEqual([plan.grants, plan.settlements], [[], []])
    })
  }

  it('nothing a second time', () => {
    const plan = decide([invoice('in_1', [line('il_2', 'c', 5000)])], {
      known: ['proration:in_1:price_c_month'],
    })
    assert.deepEqual([plan.grants, plan.settlements], [[], []])
  })

  it('nothing when the net gives back, and the next grant is smaller by what was given back', () => {
    const down = decide([invoice('in_1', [line('il_1', 'c', -5000), line('il_2', 'a', 1000)])])
    assert.deepEqual(down.grants, [])
    assert.deepEqual(down.settlements, [{ key: 'proration:in_1:price_a_month', invoice: 'in_1', owed: '40' }])
    const up = invoice('in_2', [line('il_3', 'a', -1000), line('il_4', 'c', 5000)])
    const again = decide([up], { owed: '40' })
    assert.deepEqual(again.grants, [])
    assert.deepEqual(again.settlements[0]?.owed, '-40')
    const renewed = decide(
      [
        invoice(
          'in_3',
          [line('il_5', 'a', 2000, { proration: false, periodStart: at(1), periodEnd: at(2) })],
          {
            reason: 'subscription_cycle',
          },
        ),
      ],
      { owed: '15' },
    )
    assert.deepEqual(amounts(renewed.grants), ['5'])
    assert.equal(renewed.grants[0]?.source['given_back'], '15')
    assert.deepEqual(renewed.settlements, [{ key: 'invoice_line:il_5', invoice: 'in_3', owed: '-15' }])
  })

  it('a renewal that only makes good is known by that, and makes good once', () => {
    const cycle = invoice(
      'in_3',
      [line('il_5', 'a', 2000, { proration: false, periodStart: at(1), periodEnd: at(2) })],
      { reason: 'subscription_cycle' },
    )
    const first = decide([cycle], { owed: '50' })
    assert.deepEqual([first.grants, first.settlements[0]?.owed], [[], '-20'])
    const second = decide([cycle], { owed: '30', known: ['invoice_line:il_5'] })
    assert.deepEqual([second.grants, second.settlements], [[], []])
  })

  it('a price that is none of ours, or another currency, asks for a person and settles nothing', () => {
    const strange = decide([
      invoice('in_1', [line('il_1', 'a', -1000), line('il_2', 'c', 5000, { priceId: 'p' })]),
    ])
    assert.deepEqual(
      [strange.grants, strange.settlements, strange.mirror.attention],
      [[], [], 'unknown_price'],
    )
    const euros = decide([invoice('in_1', [line('il_2', 'c', 5000)], { currency: 'eur' })])
    assert.deepEqual([euros.grants, euros.mirror.attention], [[], 'currency_mismatch'])
  })

  it('a proration that rides on a renewal counts once beside it, and lives in the period that begins', () => {
    const cycle = invoice(
      'in_1',
      [
        line('il_1', 'a', -1000),
        line('il_2', 'c', 5000),
        line('il_3', 'c', 10_000, { proration: false, periodStart: at(1), periodEnd: at(2) }),
      ],
      { reason: 'subscription_cycle', paidAt: at(1) },
    )
    const { grants } = decide([cycle], { at: at(1) })
    assert.deepEqual(
      grants.map(({ key, amount, periodStart, expiresAt, carry }) => [
        key,
        amount,
        periodStart,
        expiresAt,
        carry,
      ]),
      [
        ['proration:in_1:price_c_month', '40', at(1), addMs(at(2), 72 * HOUR_MS), null],
        ['invoice_line:il_3', '100', at(1), addMs(at(2), 72 * HOUR_MS), '0'],
      ],
    )
  })

  it('the upgrade at the second of renewal: both invoices bring what was paid, in either order', () => {
    const renewal = invoice(
      'in_1',
      [line('il_1', 'a', 2000, { proration: false, periodStart: at(1), periodEnd: at(2) })],
      { reason: 'subscription_cycle', paidAt: addMs(at(1), HOUR_MS) },
    )
    const since = { periodStart: addMs(at(1), 1000), periodEnd: at(2) }
    const upgrade = invoice('in_2', [line('il_2', 'a', -2000, since), line('il_3', 'c', 10_000, since)], {
      paidAt: addMs(at(1), 1000),
    })
    const both = decide([renewal, upgrade], { at: addMs(at(1), HOUR_MS) }).grants
    const first = decide([{ ...renewal, status: 'draft' }, upgrade], { at: addMs(at(1), 1000) }).grants
    const then = decide([renewal], {
      at: addMs(at(1), HOUR_MS),
      known: ['proration:in_2:price_c_month'],
    }).grants
    assert.deepEqual(amounts(both), ['20', '80'])
    assert.deepEqual([...first, ...then].map(({ key }) => key).sort(), both.map(({ key }) => key).sort())
    // the renewal that comes later succeeds nothing of it: its period began before
    assert.ok((then[0]?.periodStart ?? '') < (first[0]?.periodStart ?? ''))
  })
})

describe('law 7: what a proration does to paid years', () => {
  const rest = { periodStart: at(6), periodEnd: at(12) }
  const ofYear = (id: string, plan: Key, amount: number, change: Partial<LineFacts> = {}) =>
    line(id, plan, amount, { priceId: `price_${plan}_year`, ...rest, ...change })

  it('an upgrade in the middle adds to each month that is left; what was written for them stays', () => {
    const up = invoice('in_1', [ofYear('il_1', 'a', -10_000), ofYear('il_2', 'c', 50_000)], { paidAt: at(6) })
    const { entitlements, cuts, grants } = decide([up], { at: at(6), pending: pendingYear('a', 7) })
    assert.deepEqual(cuts, [])
    assert.deepEqual(amounts(entitlements), Array(6).fill('80'))
    assert.deepEqual(new Set(entitlements.map(({ carry }) => carry)), new Set([null]))
    assert.deepEqual(
      entitlements.map(({ dueAt }) => dueAt),
      [6, 7, 8, 9, 10, 11].map((month) => at(month)),
    )
    assert.deepEqual(amounts(grants), ['80'])
  })

  it('an upgrade in the middle brings no more than the lines are worth, nor than the target’s months', () => {
    const up = invoice('in_1', [ofYear('il_1', 'b', -25_000), ofYear('il_2', 'c', 50_000)], { paidAt: at(6) })
    assert.deepEqual(amounts(decide([up], { at: at(6) }).entitlements), Array(6).fill('40'))
    const dear = invoice('in_2', [ofYear('il_3', 'c', 99_000)], { paidAt: at(6) })
    assert.deepEqual(amounts(decide([dear], { at: at(6) }).entitlements), Array(6).fill('100'))
  })

  it('the first month that is left may be a part of one', () => {
    const half = { periodStart: at(6, 0.5), periodEnd: at(12) }
    const up = invoice('in_1', [ofYear('il_2', 'c', 44_000, half)], { paidAt: at(6, 0.5) })
    const { entitlements } = decide([up], { at: at(6, 0.5) })
    assert.equal(entitlements.length, 6)
    assert.equal(entitlements[0]?.dueAt, at(6, 0.5))
    assert.equal(entitlements[1]?.dueAt, at(7))
    assert.equal(entitlements[0]?.amount, '48')
    assert.equal(entitlements[1]?.amount, '96')
  })

  it('a downgrade in the middle makes the months to come smaller by what was given back', () => {
    const down = invoice('in_1', [ofYear('il_1', 'c', -50_000), ofYear('il_2', 'a', 10_000)], {
      paidAt: at(6),
    })
    const { cuts, grants, settlements } = decide([down], { at: at(6), pending: pendingYear('c', 7) })
    // six months' difference of 80; one of them was granted, five are to come
    assert.deepEqual(amounts(cuts), Array(5).fill('4'))
    assert.deepEqual([grants, settlements[0]?.owed], [[], '0'])
  })

  it('from a year to a month: the months that were given back are never granted, the month that is paid is', () => {
    const monthly = line('il_2', 'a', 2000, {
      proration: false,
      periodStart: at(6),
      periodEnd: at(7),
    })
    const change = invoice('in_1', [ofYear('il_1', 'a', -10_000), monthly], { paidAt: at(6) })
    const plan = decide([change], {
      at: at(6),
      subscription: { ...subscription, anchor: at(6) },
      pending: pendingYear('a', 7),
    })
    assert.deepEqual(amounts(plan.cuts), Array(5).fill('0'))
    // six months were given back and five were left to take: the month before is the sixth, and lives on
    assert.deepEqual(plan.grants, [])
    assert.deepEqual(
      plan.settlements.map(({ owed }) => owed),
      ['20', '-20'],
    )
  })

  it('from a month to a year: twelve months; what is left of the month before lives on and is not paid twice', () => {
    const year = line('il_2', 'a', 20_000, {
      priceId: 'price_a_year',
      proration: false,
      periodStart: at(0, 0.5),
      periodEnd: addMonths(at(0, 0.5), 12),
    })
    const change = invoice('in_1', [line('il_1', 'a', -1000), year])
    const { entitlements, grants } = decide([change], {
      subscription: { ...subscription, anchor: at(0, 0.5) },
    })
    assert.deepEqual(amounts(entitlements), ['10', ...Array(11).fill('20')])
    assert.deepEqual([amounts(grants), grants[0]?.carry], [['10'], 'Infinity'])
    assert.equal(entitlements[1]?.carry, '0')
  })
})
