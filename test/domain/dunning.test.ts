import assert from 'node:assert/strict'
import { addMs, HOUR_MS, MINUTE_MS } from '../../src/domain/calendar.ts'
import { nextReminder, owedPayment, paymentNotices } from '../../src/domain/dunning.ts'
import { decideSubscription } from '../../src/domain/subscription.ts'
import type { InvoiceFacts, Observation, SubscriptionFacts } from '../../src/domain/subscription-facts.ts'

const FAILED = '2027-02-01T11:00:00.000Z'
const after = (days: number) => addMs(FAILED, days * 24 * HOUR_MS)
const URL = 'https://invoice.stripe.com/i/in_1'

const subscription: SubscriptionFacts = {
  id: 'sub_1',
  account: 'acc_1',
  order: null,
  status: 'past_due',
  priceId: null,
  quantity: 1,
  periodStart: '2027-02-01T10:00:00.000Z',
  periodEnd: '2027-03-01T10:00:00.000Z',
  anchor: '2027-01-01T10:00:00.000Z',
  cancelAt: null,
  cancelAtPeriodEnd: false,
  endedAt: null,
  created: '2027-01-01T10:00:00.000Z',
}
const invoice: InvoiceFacts = {
  id: 'in_1',
  status: 'open',
  reason: 'subscription_cycle',
  currency: 'usd',
  amountPaid: '0',
  payment: 'in_1',
  paidAt: null,
  finalizesAt: null,
  nextAttemptAt: after(3),
  lines: [],
  attempts: 1,
  amountDue: '2000',
  finalizedAt: FAILED,
  url: URL,
  intent: 'pi_1',
}
const seen = (
  at: string,
  change: Partial<InvoiceFacts> = {},
  more: Partial<Observation> = {},
): Observation => ({
  at,
  subscription,
  invoices: [{ ...invoice, ...change }],
  terms: {},
  known: [],
  pending: [],
  reminderDays: [1, 3, 7],
  before: null,
  ...more,
})
const keys = (observation: Observation) => paymentNotices(observation, 'acc_1').map(({ key }) => key)

describe('failed payments', () => {
  it('each failed attempt is told once, with where to pay and when Stripe tries again', () => {
    const [notice] = paymentNotices(seen(after(0)), 'acc_1')
    assert.deepEqual(notice, {
      account: 'acc_1',
      kind: 'payment_failed',
      key: 'payment_failed:in_1:1',
      cause: { invoice: 'in_1', subscription: 'sub_1' },
      data: {
        amountMinor: '2000',
        currency: 'usd',
        invoice: 'in_1',
        subscription: 'sub_1',
        attempt: '1',
        nextAttemptAt: after(3),
        graceEndsAt: null,
        payUrl: URL,
      },
    })
    assert.deepEqual(keys(seen(after(0), { attempts: 2 })), ['payment_failed:in_1:2'])
  })

  it('one that waits for its customer says so instead', () => {
    assert.deepEqual(keys(seen(after(0), { actionRequired: true })), ['payment_action_required:in_1'])
    assert.equal(owedPayment(seen(after(0), { actionRequired: true }))?.status, 'action_required')
  })

  it('reminders come on the days of the catalogue, each once; who was away for several sends the last', () => {
    assert.deepEqual(keys(seen(addMs(after(1), -1))), ['payment_failed:in_1:1'])
    assert.deepEqual(keys(seen(after(1))).slice(1), ['payment_reminder:in_1:0'])
    assert.deepEqual(keys(seen(after(2))).slice(1), ['payment_reminder:in_1:0'])
    assert.deepEqual(keys(seen(after(30))).slice(1), ['payment_reminder:in_1:2'])
    assert.deepEqual(keys(seen(after(30), {}, { reminderDays: [] })).slice(1), [])
  })

  it('the workflow wakes itself for the next one, and for no more after the last', () => {
    assert.equal(nextReminder(seen(after(0))), after(1))
    assert.equal(nextReminder(seen(after(1))), after(3))
    assert.equal(nextReminder(seen(after(7))), null)
    const plan = decideSubscription(seen(after(0.9), { nextAttemptAt: after(3) }))
    assert.equal(plan?.mirror.deadline, after(1))
    const paid = decideSubscription(seen(after(0.9), { nextAttemptAt: after(0.95) }))
    assert.equal(paid?.mirror.deadline, addMs(after(0.95), 2 * MINUTE_MS))
  })

  it('nothing is told of a draft, of what nobody tried to collect, of what is given up', () => {
    for (const change of [
      { status: 'draft' },
      { attempts: 0 },
      { status: 'void' },
      { status: 'uncollectible' },
    ]) {
      assert.deepEqual(keys(seen(after(1), change)), [])
      assert.equal(owedPayment(seen(after(1), change)), null)
      assert.equal(nextReminder(seen(after(0), change)), null)
    }
  })

  it('its arrival is told when its failure was, however often it was tried', () => {
    const paid = { status: 'paid', paidAt: after(4), amountPaid: '2000' }
    for (const attempts of [1, 2]) {
      const told = seen(after(4), { ...paid, attempts, failureTold: true })
      assert.deepEqual(keys(told), ['payment_recovered:in_1'])
      assert.deepEqual(keys(seen(after(4), { ...paid, attempts })), [])
    }
  })

  it('a renewal that fails says until when the credits before it last, while they do', () => {
    const graceOf = (at: string, change: Partial<InvoiceFacts>, creditsUntil: string | null) => {
      const [notice] = paymentNotices(seen(at, change, { creditsUntil }), 'acc_1')
      return notice?.kind === 'payment_failed' ? notice.data.graceEndsAt : undefined
    }
    assert.equal(graceOf(after(0), {}, after(3)), after(3))
    assert.equal(graceOf(after(3), { attempts: 2 }, after(3)), null)
    assert.equal(graceOf(after(0), {}, null), null, 'they never lapse')
    // what was granted stays as it is when a change is not paid
    assert.equal(graceOf(after(0), { reason: 'subscription_update' }, after(3)), null)
  })

  it('after the end nobody is reminded; what is open is looked at for thirty days, and then it is over', () => {
    const ended = (day: number, change: Partial<InvoiceFacts> = {}, lookDays?: number) =>
      seen(
        after(day),
        { nextAttemptAt: null, ...change },
        {
          subscription: { ...subscription, status: 'canceled', endedAt: after(2) },
          ...(lookDays === undefined ? {} : { lookDays }),
        },
      )
    assert.deepEqual(keys(ended(8)), ['payment_failed:in_1:1'])
    assert.equal(nextReminder(ended(2)), null)
    const plan = (observation: Observation) => decideSubscription(observation)
    const last = plan(ended(31.5, {}, 30))
    assert.deepEqual([last?.mirror.deadline, last?.over], [after(32.5), false])
    for (const change of [{}, { status: 'draft' }, { nextAttemptAt: after(31) }]) {
      const over = plan(ended(32, change, 30))
      assert.deepEqual([over?.mirror.deadline, over?.over], [null, true], JSON.stringify(change))
      assert.equal(over?.mirror.payment?.invoice, change.status === 'draft' ? undefined : 'in_1')
    }
    // what Stripe still tries is waited for, and a history from before goes on as it was recorded
    assert.equal(plan(ended(32, { nextAttemptAt: after(40) }, 30))?.over, false)
    assert.equal(plan(ended(500))?.over, false)
  })

  it('what a pending change waits for is not owed', () => {
    const pending = {
      state: 'awaiting_payment' as const,
      priceId: 'p',
      quantity: 1,
      effectiveAt: null,
      expiresAt: after(1),
      cause: 'in_1',
    }
    const waiting = seen(after(0), {}, { subscription: { ...subscription, pending } })
    assert.equal(owedPayment(waiting), null)
    assert.deepEqual(keys(waiting), ['payment_failed:in_1:1'])
    assert.equal(owedPayment(seen(after(0)))?.url, URL)
  })
})
