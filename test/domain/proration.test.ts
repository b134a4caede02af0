import assert from 'node:assert/strict'
import fc from 'fast-check'
import { addMonths, addMs, HOUR_MS, type Instant, msBetween } from '../../src/domain/calendar.ts'
import { Exact } from '../../src/domain/credits.ts'
import type { KeptTerms } from '../../src/domain/plan.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type {
  GrantStep,
  InvoiceFacts,
  LineFacts,
  Observation,
  PendingEntitlement,
  SubscriptionFacts,
} from '../../src/domain/subscription-facts.ts'

const START = '2027-01-01T10:00:00.000Z'
const at = (month: number, part = 0) => {
  const from = addMonths(START, month)
  return addMs(from, Math.floor(part * msBetween(from, addMonths(START, month + 1))))
}

/** Plans of several rates: bigger is not always cheaper. */
const PLANS = { a: ['20', 2000], b: ['60', 5000], c: ['100', 10_000] } as const
type Key = keyof typeof PLANS
type Interval = 'month' | 'year'
const YEAR = 10 // months of money

function termsOf(plan: Key, interval: Interval): KeptTerms {
  const [credits, price] = PLANS[plan]
  return {
    priceId: `price_${plan}_${interval}`,
    lookupKey: `${plan}.${interval}.v1`,
    plan,
    planName: plan,
    group: 'default',
    interval,
    version: 'v1',
    credits,
    unitAmount: String(interval === 'year' ? price * YEAR : price),
    currency: 'usd',
    graceHours: 72,
    discountRule: 'proportional',
  }
}
const TERMS = Object.fromEntries(
  (['a', 'b', 'c'] as const)
    .flatMap((plan) => (['month', 'year'] as const).map((interval) => termsOf(plan, interval)))
    .map((terms) => [terms.priceId, terms]),
)

function line(id: string, plan: Key, amount: number, change: Partial<LineFacts> = {}): LineFacts {
  return {
    id,
    priceId: `price_${plan}_month`,
    proration: true,
    quantity: 1,
    amount: String(amount),
    discount: '0',
    periodStart: at(0, 0.5),
    periodEnd: at(1),
    ...change,
  }
}
function invoice(id: string, lines: LineFacts[], change: Partial<InvoiceFacts> = {}): InvoiceFacts {
  return {
    id,
    status: 'paid',
    reason: 'subscription_update',
    currency: 'usd',
    amountPaid: '0',
    payment: `pi_${id}`,
    paidAt: at(0, 0.5),
    finalizesAt: null,
    nextAttemptAt: null,
    lines,
    ...change,
  }
}
const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'active',
  priceId: 'price_a_month',
  quantity: 1,
  periodStart: START,
  periodEnd: at(1),
  anchor: START,
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: START,
}
function decide(invoices: InvoiceFacts[], change: Partial<Observation> = {}) {
  const plan = decideSubscription({
    at: at(0, 0.5),
    subscription,
    invoices,
    terms: TERMS,
    known: [],
    pending: [],
    ...change,
  })
  assert.ok(plan)
  return plan
}
const sum = (amounts: (string | Exact)[]) =>
  amounts.reduce<Exact>((total, amount) => total.plus(amount), new Exact(0))
const amounts = (steps: { amount: string }[]) => steps.map(({ amount }) => amount)
const pendingYear = (plan: Key, from: number): PendingEntitlement[] =>
  Array.from({ length: 12 - from }, (_, index) => ({
    key: `invoice_line:il_y:${index + from}`,
    amount: PLANS[plan][0],
    dueAt: at(index + from),
    periodEnd: at(index + from + 1),
    expiresAt: at(index + from + 1),
    carry: '0',
    payment: 'pi_y',
    source: {},
  }))

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
