import assert from 'node:assert/strict'
import { becameOf, type ChangeSight, decideChange, decideWithdrawal } from '../../src/domain/change.ts'
import { decideStripeCancel } from '../../src/domain/cancel.ts'
import type { PriceTerms } from '../../src/domain/plan.ts'
import { decideResume } from '../../src/domain/resume.ts'
import type { PendingFacts, SubscriptionFacts } from '../../src/domain/subscription-facts.ts'

const START = '2027-01-01T10:00:00.000Z'
const END = '2027-02-01T10:00:00.000Z'

const terms = (plan: string, tier: number, change: Partial<PriceTerms> = {}): PriceTerms => ({
  kind: 'plan',
  priceId: `price_${plan}_${change.interval ?? 'month'}`,
  lookupKey: `${plan}.month.v1`,
  plan,
  planName: plan,
  group: 'default',
  tier,
  version: 'v1',
  credits: String(tier * 20),
  graceHours: 72,
  renewal: { rule: 'replace' },
  interval: 'month',
  unitAmount: String(tier * 2000),
  currency: 'usd',
  discountRule: 'proportional',
  commitmentMonths: null,
  trial: null,
  ...change,
})
const small = terms('small', 1)
const big = terms('big', 2)

const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'active',
  priceId: small.priceId,
  quantity: 2,
  periodStart: START,
  periodEnd: END,
  anchor: START,
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: START,
  paused: null,
  latestInvoice: 'in_1',
  item: 'si_1',
  pending: null,
  schedule: null,
}
function decide(change: Partial<ChangeSight> & { is?: Partial<SubscriptionFacts> } = {}) {
  const { is, ...sight } = change
  return decideChange({
    subscription: { ...subscription, priceId: (sight.current ?? small).priceId, ...is },
    role: 'primary',
    current: small,
    target: big,
    instead: 'nothing',
    quantity: undefined,
    ...sight,
  })
}
function stepsOf(decision: ReturnType<typeof decide>) {
  assert.ok('steps' in decision, JSON.stringify(decision))
  return decision.steps
}
const kinds = (decision: ReturnType<typeof decide>) => stepsOf(decision).map((step) => step.do)
function codeOf(decision: object) {
  assert.ok('refused' in decision)
  return (decision.refused as { code: string }).code
}
const scheduled: PendingFacts = {
  state: 'scheduled',
  priceId: small.priceId,
  quantity: 2,
  effectiveAt: END,
  expiresAt: null,
  cause: 'sub_sched_1',
}
const waiting: PendingFacts = {
  ...scheduled,
  state: 'awaiting_payment',
  priceId: big.priceId,
  effectiveAt: null,
  expiresAt: END,
  cause: 'in_2',
}

describe('what a change of plan does', () => {
  const year = { interval: 'year' as const }
  const cases: [what: string, sight: Partial<ChangeSight>, when: 'now' | 'later', startsAnew: boolean][] = [
    ['a higher plan', {}, 'now', false],
    ['a higher plan and more seats', { quantity: 3 }, 'now', false],
    ['more seats', { target: small, quantity: 3 }, 'now', false],
    ['a year for a month', { target: terms('small', 1, year) }, 'now', true],
    ['a year of a higher plan', { target: terms('big', 2, year) }, 'now', true],
    ['a lower plan', { current: big, target: small }, 'later', false],
    ['fewer seats', { target: small, quantity: 1 }, 'later', false],
    ['a higher plan with fewer seats', { quantity: 1 }, 'later', false],
    ['a lower plan with more seats', { current: big, target: small, quantity: 9 }, 'later', false],
    ['a month for a year', { current: terms('small', 1, year), target: small }, 'later', true],
    ['a month of a higher plan for a year', { current: terms('small', 1, year) }, 'later', true],
    ['a lower plan by the year', { current: big, target: terms('small', 1, year) }, 'later', true],
  ]
  for (const [what, sight, when, startsAnew] of cases) {
    it(`${what}: ${when === 'now' ? 'at once' : 'at the end of the period'}`, () => {
      const decision = decide(sight)
      const [step] = stepsOf(decision)
      assert.ok('when' in decision)
      assert.equal(decision.when, when)
      assert.ok(step?.do === 'change' || step?.do === 'schedule')
      assert.equal(step.startsAnew, startsAnew)
      const dates = when === 'later' ? [{ what: 'plan_changes', at: END }] : []
      assert.deepEqual(decision.effects.dates, dates)
    })
  }

  it('plans that were sold before there were ranks are told by their credits', () => {
    const old = terms('old', 1, { tier: null, credits: '30' })
    assert.deepEqual(kinds(decide({ current: old })), ['change'])
    assert.deepEqual(kinds(decide({ current: old, target: small })), ['schedule'])
  })

  it('asks Stripe for exactly what a preview shows', () => {
    const decision = decide({ target: terms('big', 2, year) })
    assert.ok('effects' in decision)
    assert.deepEqual(decision.effects.stripe, [
      {
        method: 'POST',
        path: '/v1/subscriptions/sub_1',
        params: {
          'items[0][id]': 'si_1',
          'items[0][price]': 'price_big_year',
          'items[0][quantity]': '2',
          proration_behavior: 'always_invoice',
          payment_behavior: 'pending_if_incomplete',
          'billing_cycle_anchor[type]': 'now',
        },
      },
    ])
  })

  it('what it is already is left as it is; and to ask for it withdraws what was to change', () => {
    assert.deepEqual(kinds(decide({ target: small })), [])
    const is = { schedule: 'sub_sched_1', pending: scheduled }
    assert.deepEqual(kinds(decide({ current: big, target: big, is })), ['release'])
    assert.deepEqual(kinds(decide({ target: small, is: { pending: waiting } })), ['void'])
  })

  it('what is to be already is left to come', () => {
    const is = { schedule: 'sub_sched_1', pending: scheduled }
    assert.deepEqual(kinds(decide({ current: big, target: small, is })), [])
    assert.deepEqual(kinds(decide({ is: { pending: waiting } })), [])
  })

  it('takes the place of a pending change', () => {
    const is = { schedule: 'sub_sched_1', pending: scheduled }
    const top = terms('top', 3)
    // what is given up comes last: a refusal before it leaves all as it was
    assert.deepEqual(kinds(decide({ current: big, target: top, is })), ['change', 'release'])
    const fewer = stepsOf(decide({ current: big, target: small, quantity: 1, is }))
    assert.deepEqual(
      fewer.map((step) => (step.do === 'schedule' ? [step.schedule, step.next.quantity] : step.do)),
      [['sub_sched_1', 1]],
    )
    // Stripe drops one that waits for its payment by itself when there is another
    assert.deepEqual(kinds(decide({ target: top, is: { pending: waiting } })), ['change'])
    assert.deepEqual(kinds(decide({ target: small, quantity: 1, is: { pending: waiting } })), [
      'schedule',
      'void',
    ])
  })

  it('what was left between the two steps is done by the next try', () => {
    const is = { schedule: 'sub_sched_1', pending: { ...waiting, priceId: big.priceId } }
    assert.deepEqual(kinds(decide({ is })), ['release'])
    const made = { schedule: 'sub_sched_1', pending: scheduled }
    assert.deepEqual(kinds(decide({ current: big, target: big, is: made })), ['release'])
  })

  const refusals: [code: string, sight: Parameters<typeof decide>[0]][] = [
    ['subscription_not_found', { subscription: undefined }],
    ['subscription_ended', { is: { status: 'canceled' } }],
    ['subscription_ended', { is: { status: 'incomplete_expired' } }],
    ['subscription_duplicate', { role: 'duplicate' }],
    ['payment_overdue', { is: { status: 'past_due' } }],
    ['payment_overdue', { is: { status: 'unpaid' } }],
    ['payment_overdue', { is: { status: 'incomplete' } }],
    ['subscription_paused', { is: { status: 'paused' } }],
    ['subscription_paused', { is: { paused: { resumesAt: null } } }],
    ['subscription_trialing', { is: { status: 'trialing' } }],
    ['subscription_cancelling', { is: { cancelAt: END } }],
    ['subscription_cancelling', { is: { cancelAtPeriodEnd: true } }],
    ['plan_not_found', { target: undefined }],
    ['plan_is_free', { target: undefined, instead: 'free' }],
    ['commitment_not_sold', { target: undefined, instead: 'commitment' }],
    ['commitment_not_sold', { current: terms('bound', 1, { commitmentMonths: 12 }) }],
    ['plan_group_differs', { target: terms('other', 2, { group: 'other' }) }],
    ['plan_group_differs', { target: terms('big', 2, { currency: 'eur' }) }],
  ]
  for (const [code, sight] of refusals) {
    it(`is refused as ${code}: ${JSON.stringify(sight)}`, () => {
      assert.equal(codeOf(decide(sight)), code)
    })
  }

  it('is told by what Stripe holds afterwards', () => {
    const to = { priceId: big.priceId, quantity: 2 }
    assert.equal(becameOf({ ...subscription, priceId: big.priceId }, to), 'changed')
    assert.equal(becameOf({ ...subscription, pending: waiting }, to), 'awaiting_payment')
    assert.equal(becameOf(subscription, to), undefined)
    assert.equal(becameOf({ ...subscription, priceId: big.priceId, quantity: 1 }, to), undefined)
  })
})

describe('what goes back on a change', () => {
  it('a pending change is withdrawn, or there is none', () => {
    assert.equal(codeOf(decideWithdrawal(subscription)), 'pending_change_not_found')
    const decision = decideWithdrawal({ ...subscription, schedule: 'sub_sched_1', pending: scheduled })
    assert.ok('steps' in decision)
    assert.deepEqual(decision.steps, [{ do: 'release', schedule: 'sub_sched_1' }])
  })

  it('a cancellation withdraws it, too, before it asks for the end', () => {
    const decision = decideStripeCancel({ ...subscription, schedule: 'sub_sched_1', pending: scheduled })
    assert.ok('steps' in decision)
    assert.deepEqual(
      decision.steps.map((step) => step.do),
      ['release', 'cancel'],
    )
    const again = decideStripeCancel({ ...subscription, cancelAt: END })
    assert.deepEqual('steps' in again && again.steps, [])
  })

  it('resume withdraws a cancellation by what it was made with, and ends a pause', () => {
    const steps = (is: Partial<SubscriptionFacts>) => {
      const decision = decideResume({ ...subscription, ...is }, 'primary')
      return 'steps' in decision ? decision.steps : codeOf(decision)
    }
    assert.deepEqual(steps({}), [])
    assert.deepEqual(steps({ cancelAtPeriodEnd: true, cancelAt: END }), [
      { do: 'go_on', by: 'cancel_at_period_end' },
    ])
    assert.deepEqual(steps({ cancelAt: END }), [{ do: 'go_on', by: 'cancel_at' }])
    assert.deepEqual(steps({ paused: { resumesAt: null } }), [{ do: 'collect' }])
    assert.deepEqual(steps({ status: 'paused', paused: { resumesAt: null } }), [{ do: 'resume' }])
    assert.equal(steps({ status: 'canceled' }), 'subscription_ended')
    assert.equal(codeOf(decideResume(undefined, undefined)), 'subscription_not_found')
    const ending = { ...subscription, cancelAtPeriodEnd: true, cancelAt: END }
    assert.equal(codeOf(decideResume(ending, 'duplicate')), 'subscription_duplicate')
  })
})
