import assert from 'node:assert/strict'
import fc from 'fast-check'
import { addMonths } from '../../src/domain/calendar.ts'
import {
  decideFree,
  type FreeFacts,
  type FreeGrant,
  type FreeObservation,
  freeKeys,
  monthAt,
  type PaidFacts,
} from '../../src/domain/free.ts'
import type { FreeTerms, Renewal } from '../../src/domain/plan.ts'

const at = (day: string, time = '10:00:00.000') => `${day}T${time}Z`

const terms: FreeTerms = {
  kind: 'free',
  priceId: 'free.free.v1',
  lookupKey: 'free.free.v1',
  plan: 'free',
  planName: 'Free',
  group: 'default',
  tier: 0,
  version: 'v1',
  credits: '2.00000001',
  graceHours: 72,
  renewal: { rule: 'replace' },
}
const subscription: FreeFacts = {
  id: 'free_1',
  account: 'acc_1',
  plan: 'free',
  group: 'default',
  status: 'active',
  anchor: at('2027-01-31'),
  created: at('2027-01-31'),
  cancelAt: null,
  deadline: null,
}

function decide(now: string, more: Partial<FreeObservation> = {}, facts: Partial<FreeFacts> = {}) {
  return decideFree({
    at: now,
    subscription: { ...subscription, ...facts },
    terms,
    paid: [],
    known: [],
    ...more,
  })
}
const starts = (grants: FreeGrant[]) => grants.map(({ periodStart }) => periodStart.slice(0, 10))
const paid = (created: string, endedAt: string | null = null, status = 'active'): PaidFacts => ({
  status: endedAt === null ? status : 'canceled',
  created,
  endedAt,
})

describe('the months of a free plan', () => {
  const months: [anchor: string, at: string, start: string, end: string, index: number][] = [
    [at('2027-01-31'), at('2027-01-31'), '2027-01-31', '2027-02-28', 0],
    [at('2027-01-31'), at('2027-02-28', '09:59:59.999'), '2027-01-31', '2027-02-28', 0],
    [at('2027-01-31'), at('2027-02-28'), '2027-02-28', '2027-03-31', 1],
    [at('2027-01-31'), at('2027-03-30'), '2027-02-28', '2027-03-31', 1],
    [at('2028-01-31'), at('2028-02-29'), '2028-02-29', '2028-03-31', 1],
    [at('2028-02-29'), at('2029-02-28'), '2029-02-28', '2029-03-29', 12],
    [at('2028-02-29'), at('2032-02-29'), '2032-02-29', '2032-03-29', 48],
    [at('2027-01-31'), at('2026-12-01'), '2027-01-31', '2027-02-28', 0],
  ]
  for (const [anchor, now, start, end, index] of months) {
    it(`from ${anchor}: at ${now} it is the one of ${start}`, () => {
      const month = monthAt(anchor, now)
      assert.deepEqual([month.start.slice(0, 10), month.end.slice(0, 10), month.index], [start, end, index])
    })
  }
})

describe('a free plan', () => {
  it('grants its terms at once, and looks again when the month turns, to the millisecond', () => {
    const plan = decide(at('2027-01-31'))
    assert.deepEqual(plan, {
      grants: [
        {
          key: 'free:default:0',
          amount: '2.00000001',
          periodStart: at('2027-01-31'),
          expiresAt: at('2027-03-03'),
          carry: '0',
          source: { subscription: 'free_1', price: 'free.free.v1', month: '1' },
        },
      ],
      status: 'active',
      periodStart: at('2027-01-31'),
      periodEnd: at('2027-02-28'),
      endedAt: null,
      deadline: at('2027-02-28'),
      givesWay: false,
    })
    const known = ['free:default:0']
    assert.deepEqual(decide(at('2027-02-28', '09:59:59.999'), { known }).grants, [])
    assert.deepEqual(starts(decide(at('2027-02-28'), { known }).grants), ['2027-02-28'])
  })

  it('grants every month that nobody came for, oldest first', () => {
    const plan = decide(at('2027-05-15'), { known: ['free:default:1'] })
    assert.deepEqual(starts(plan.grants), ['2027-01-31', '2027-03-31', '2027-04-30'])
  })

  const rules: [Renewal, expiresAt: string | null, carry: string][] = [
    [{ rule: 'replace' }, at('2027-03-03'), '0'],
    [{ rule: 'roll_over', limit: '10' }, at('2027-03-03'), '10'],
    [{ rule: 'keep' }, null, 'Infinity'],
  ]
  for (const [renewal, expiresAt, carry] of rules) {
    it(`renews by its rule: ${renewal.rule}`, () => {
      const [grant] = decide(at('2027-01-31'), { terms: { ...terms, renewal } }).grants
      assert.deepEqual([grant?.expiresAt, grant?.carry], [expiresAt, carry])
    })
  }

  const besides: [what: string, paid: PaidFacts[], grants: string[]][] = [
    ['active', [paid(at('2027-01-30'))], []],
    ['trialing', [paid(at('2027-01-30'), null, 'trialing')], []],
    ['past due', [paid(at('2027-01-30'), null, 'past_due')], []],
    ['never paid', [paid(at('2027-01-30'), null, 'incomplete')], ['2027-01-31', '2027-02-28', '2027-03-31']],
    [
      'expired unpaid',
      [{ ...paid(at('2027-01-30'), at('2027-05-01')), status: 'incomplete_expired' }],
      ['2027-01-31', '2027-02-28', '2027-03-31'],
    ],
    // months that were paid for are not granted afterwards
    ['unpaid by now', [paid(at('2027-01-30'), null, 'unpaid')], ['2027-03-31']],
    ['paused by now', [paid(at('2027-01-30'), null, 'paused')], ['2027-03-31']],
    ['begun in the third month', [paid(at('2027-04-03'))], ['2027-01-31', '2027-02-28', '2027-03-31']],
    ['begun with the third month', [paid(at('2027-03-31'))], ['2027-01-31', '2027-02-28']],
    ['ended in the second month', [paid(at('2027-01-01'), at('2027-03-30'))], ['2027-02-28', '2027-03-31']],
    ['ended with the second month', [paid(at('2027-01-01'), at('2027-03-31'))], ['2027-03-31']],
    ['ended this instant', [paid(at('2027-01-01'), at('2027-04-10'))], ['2027-03-31']],
    [
      'followed by another without a gap',
      [paid(at('2027-02-15'), null), paid(at('2027-01-01'), at('2027-02-15'))],
      [],
    ],
    [
      'followed by another a millisecond later',
      [paid(at('2027-01-01'), at('2027-02-15')), paid(at('2027-02-15', '10:00:00.001'))],
      ['2027-01-31'],
    ],
    [
      'inside a longer one',
      [paid(at('2027-01-01'), at('2027-05-01')), paid(at('2027-02-01'), at('2027-02-02'))],
      [],
    ],
  ]
  for (const [what, beside, grants] of besides) {
    it(`beside what is paid for, ${what}: ${grants.join(', ') || 'nothing'}`, () => {
      const plan = decide(at('2027-04-10'), { paid: beside })
      assert.deepEqual(starts(plan.grants), grants)
      assert.equal(
        plan.givesWay,
        beside.some(({ status, endedAt }) => isLive(status) && endedAt === null) ||
          what === 'inside a longer one',
      )
    })
  }

  it('looks again when the month turns also while something is paid for', () => {
    assert.equal(decide(at('2027-02-10'), { paid: [paid(at('2027-02-01'))] }).deadline, at('2027-02-28'))
  })

  it('ends with its last month, and grants what was due before, also when it is late', () => {
    const cancelAt = at('2027-03-31')
    const before = decide(at('2027-03-31', '09:59:59.999'), {}, { cancelAt })
    assert.deepEqual([before.status, before.deadline, before.endedAt], ['active', cancelAt, null])
    for (const now of [cancelAt, at('2028-01-01')]) {
      const after = decide(now, {}, { cancelAt })
      assert.deepEqual(starts(after.grants), ['2027-01-31', '2027-02-28'])
      assert.deepEqual(
        [after.status, after.endedAt, after.deadline, after.periodStart, after.periodEnd],
        ['canceled', cancelAt, null, at('2027-02-28'), cancelAt],
      )
    }
    const ended = decide(
      at('2028-01-01'),
      { known: ['free:default:0', 'free:default:1'] },
      { cancelAt, status: 'canceled' },
    )
    assert.deepEqual([ended.grants, ended.deadline, ended.endedAt], [[], null, cancelAt])
  })

  it('counts the months of a second enrolment from the first, and grants none before it', () => {
    const plan = decide(at('2027-08-01'), {}, { created: at('2027-07-10') })
    assert.deepEqual(
      plan.grants.map(({ key, periodStart }) => [key, periodStart]),
      [
        ['free:default:5', at('2027-06-30')],
        ['free:default:6', at('2027-07-31')],
      ],
    )
  })

  it('loses nothing when the wall was put back by a moment', () => {
    assert.equal(decide(at('2027-01-31', '09:59:59.000')).grants.length, 1)
  })
})

const isLive = (status: string) => ['active', 'trialing', 'past_due'].includes(status)

/** What happens to an account, each after so many hours. */
type Happening = { hours: number; what: 'enrol' | 'cancel' | 'buy' | 'end' | 'look' }

/** An account through its life, by the rules of the database and the workflow, without either. */
class Life {
  now: number
  readonly enrolments: FreeFacts[] = []
  readonly paid: PaidFacts[] = []
  /** the ledger: a key once */
  readonly granted = new Map<string, FreeGrant>()

  constructor(start: string) {
    this.now = Date.parse(start)
  }

  get iso(): string {
    return new Date(this.now).toISOString()
  }

  /** Never two things at one instant: what was seen between them is true of it, too, and no oracle could tell. */
  wait(hours: number): void {
    this.now += hours * HOUR + 1
  }

  /** What the workflow does when it is woken, by whatever. */
  look(): void {
    for (const facts of this.enrolments) {
      if (facts.status === 'canceled') continue
      const known = freeKeys(facts, this.iso).filter((key) => this.granted.has(key))
      const plan = decideFree({ at: this.iso, subscription: facts, terms, paid: this.paid, known })
      for (const grant of plan.grants) {
        assert.ok(!this.granted.has(grant.key), `${grant.key} twice`)
        this.granted.set(grant.key, grant)
      }
      facts.status = plan.status
    }
  }

  happens(what: Happening['what']): void {
    const live = this.enrolments.find(({ status }) => status === 'active')
    const bought = this.paid.find(({ endedAt }) => endedAt === null)
    if (what === 'look') this.look()
    if (what === 'enrol' && live === undefined) {
      const anchor = this.enrolments[0]?.anchor ?? this.iso
      const id = `free_${this.enrolments.length}`
      this.enrolments.push({ ...subscription, id, anchor, created: this.iso })
    }
    if (what === 'cancel' && live !== undefined) live.cancelAt ??= monthAt(live.anchor, this.iso).end
    if (what === 'buy' && bought === undefined) this.paid.push(paid(this.iso))
    if (what === 'end' && bought !== undefined)
      Object.assign(bought, { status: 'canceled', endedAt: this.iso })
  }
}

const HOUR = 3_600_000

/** Month by month, hour by hour, and whenever something began or ended: does an enrolment live and nothing is paid for? */
function expected(life: Life): string[] {
  const anchor = life.enrolments[0]?.anchor
  if (anchor === undefined) return []
  const changes = [...life.enrolments, ...life.paid.map(({ endedAt }) => ({ created: endedAt ?? anchor }))]
  const keys: string[] = []
  for (let index = 0; addMonths(anchor, index) <= life.iso; index += 1) {
    const [from, to] = [addMonths(anchor, index), addMonths(anchor, index + 1)].map(Date.parse)
    const instants = changes.map(({ created }) => Date.parse(created))
    for (let hour = from ?? 0; hour < (to ?? 0); hour += HOUR) instants.push(hour)
    for (const each of instants) {
      if (each < (from ?? 0) || each >= (to ?? 0) || each > life.now) continue
      const instant = new Date(each).toISOString()
      const enrolled = life.enrolments.some(
        ({ created, cancelAt }) => created <= instant && (cancelAt === null || instant < cancelAt),
      )
      const isPaid = life.paid.some(
        ({ created, endedAt }) => created <= instant && (endedAt === null || instant < endedAt),
      )
      if (!enrolled || isPaid) continue
      keys.push(`free:default:${index}`)
      break
    }
  }
  return keys
}

const happening = fc.record<Happening>({
  hours: fc.oneof(fc.integer({ min: 0, max: 80 }), fc.integer({ min: 0, max: 1_600 })),
  what: fc.constantFrom('enrol', 'enrol', 'cancel', 'buy', 'end', 'end', 'look', 'look'),
})
const start = fc.constantFrom(
  '2027-01-31T10:00:00.000Z',
  '2028-02-29T00:00:00.000Z',
  '2027-12-15T23:00:00.000Z',
)

describe('a free plan through any life', () => {
  it('grants each month once, exactly those with an instant in which nothing was paid for, in their order', () => {
    fc.assert(
      fc.property(start, fc.array(happening, { maxLength: 30 }), (from, happenings) => {
        const life = new Life(from)
        for (const { hours, what } of happenings) {
          life.wait(hours)
          // a plan that has run out is ended before anybody can begin another
          life.look()
          life.happens(what)
        }
        life.look()
        assert.deepEqual([...life.granted.keys()], expected(life))
        // a month of the calendar, too, has one at most
        const begun = [...life.granted.values()].map(({ periodStart }) => periodStart.slice(0, 7))
        assert.equal(new Set(begun).size, begun.length)
      }),
      { numRuns: 300 },
    )
  })

  it('comes to the same however few of its wakes arrive', () => {
    fc.assert(
      fc.property(
        start,
        fc.array(happening, { maxLength: 20 }),
        fc.array(fc.boolean(), { minLength: 21, maxLength: 21 }),
        (from, happenings, heard) => {
          const all = new Life(from)
          const few = new Life(from)
          for (const [index, { hours, what }] of happenings.entries()) {
            for (const life of [all, few]) life.wait(hours)
            all.look()
            // one that must end has to be looked at before another enrolment is let in, as the database sees to
            const mustEnd = few.enrolments.some(
              ({ status, cancelAt }) => status === 'active' && cancelAt !== null && cancelAt <= few.iso,
            )
            if (heard[index] || mustEnd) few.look()
            for (const life of [all, few]) life.happens(what)
          }
          for (const life of [all, few]) life.look()
          assert.deepEqual(new Set(few.granted.keys()), new Set(all.granted.keys()))
        },
      ),
      { numRuns: 300 },
    )
  })

  it('mints nothing by any cycling: never more months than have begun', () => {
    fc.assert(
      fc.property(
        start,
        fc.integer({ min: 1, max: 200 }),
        fc.integer({ min: 1, max: 72 }),
        (from, times, hours) => {
          const life = new Life(from)
          const cycle = ['enrol', 'buy', 'look', 'end', 'look', 'cancel', 'look'] as const
          for (let n = 0; n < times; n += 1) {
            life.now += hours * HOUR
            for (const what of cycle) life.happens(what)
          }
          const { index } = monthAt(life.enrolments[0]?.anchor ?? from, life.iso)
          assert.ok(life.granted.size <= index + 1, `${life.granted.size} in ${index + 1} months`)
        },
      ),
      { numRuns: 30 },
    )
  })
})
