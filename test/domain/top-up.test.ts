import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type ChargeFacts,
  decideTopUp,
  type TopUpAttempt,
  type TopUpObservation,
  type TopUpSettings,
  wantsCharge,
} from '../../src/domain/top-up.ts'
import { PACK_TERMS } from '../support/terms.ts'

const AT = '2027-03-15T12:00:00.000Z'
const SETTINGS: TopUpSettings = {
  enabled: true,
  pack: 'credits_10',
  threshold: '5',
  monthlyMaxMinor: '3000',
  currency: 'usd',
  generation: 2,
  declines: 0,
  nextAttemptAt: null,
}
const ATTEMPT: TopUpAttempt = {
  id: 'top_1',
  generation: 2,
  state: 'charging',
  terms: PACK_TERMS,
  startedAt: '2027-03-15T11:59:00.000Z',
  refused: null,
}
const CHARGE: ChargeFacts = {
  id: 'pi_1',
  status: 'succeeded',
  received: '1000',
  currency: 'usd',
  paidAt: '2027-03-15T11:59:30.000Z',
  code: null,
}

/** An account that is low, with a card. */
function seen(
  more: Partial<Omit<TopUpObservation, 'settings' | 'attempt' | 'charge'>> & {
    settings?: Partial<TopUpSettings>
    attempt?: Partial<TopUpAttempt>
    charge?: Partial<ChargeFacts>
  } = {},
): TopUpObservation {
  const { settings, attempt, charge, ...rest } = more
  return {
    at: AT,
    account: 'acc_1',
    available: '4.99',
    order: {
      terms: PACK_TERMS,
      limits: {
        purchaseMin: '500',
        purchaseMax: '50000',
        purchaseDayMax: '100000',
        purchaseHourMax: 10,
      },
      day: '0',
      hour: { orders: 0, oneLessIn: 1 },
    },
    monthMinor: '0',
    monthEndsAt: '2027-04-01T00:00:00.000Z',
    method: 'pm_1',
    ...rest,
    settings: { ...SETTINGS, ...settings },
    attempt: attempt === undefined ? null : { ...ATTEMPT, ...attempt },
    charge: charge === undefined ? null : { ...CHARGE, ...charge },
  }
}
const rest = (deadline: string | null, processing = false) => ({ step: 'rest', deadline, processing })

describe('automatic top-up', () => {
  it('charges one pack when less than the threshold is available', () => {
    assert.deepEqual(decideTopUp(seen()), {
      step: 'charge',
      terms: PACK_TERMS,
      amountMinor: '1000',
      method: 'pm_1',
    })
    assert.deepEqual(decideTopUp(seen({ available: '5' })), rest(null))
    assert.deepEqual(decideTopUp(seen({ settings: { enabled: false } })), rest(null))
  })

  it('asks for the card only when all else speaks for a charge', () => {
    assert.equal(wantsCharge(seen({ method: null })), true)
    assert.equal(wantsCharge(seen({ available: '5' })), false)
    assert.equal(wantsCharge(seen({ attempt: {} })), false)
  })

  it('keeps within the sum of a month: what would go beyond it waits for the next', () => {
    assert.equal(decideTopUp(seen({ monthMinor: '2000' })).step, 'charge')
    assert.deepEqual(decideTopUp(seen({ monthMinor: '2001' })), {
      step: 'cap',
      deadline: '2027-04-01T00:00:00.000Z',
    })
  })

  it('keeps within the limits of purchases: the day’s, and how many an hour', () => {
    const { order } = seen()
    assert.deepEqual(
      decideTopUp(seen({ order: { ...order, day: '99001' } })),
      rest('2027-03-15T13:00:00.000Z'),
    )
    const hour = { orders: 10, oneLessIn: 90 }
    assert.deepEqual(decideTopUp(seen({ order: { ...order, hour } })), rest('2027-03-15T12:01:30.000Z'))
  })

  it('stops when there is no card, and when the pack is not on sale', () => {
    assert.deepEqual(decideTopUp(seen({ method: null })), { step: 'stop', reason: 'no_payment_method' })
    const order = { ...seen().order, terms: undefined }
    assert.deepEqual(decideTopUp(seen({ order })), { step: 'stop', reason: 'pack_not_on_sale' })
  })

  it('waits until the next attempt may be made', () => {
    const settings = { nextAttemptAt: '2027-03-15T12:00:00.001Z' }
    assert.deepEqual(decideTopUp(seen({ settings })), rest(settings.nextAttemptAt))
    assert.equal(decideTopUp(seen({ settings: { nextAttemptAt: AT } })).step, 'charge')
  })

  it('never charges while one is in flight, however low it is', () => {
    assert.deepEqual(decideTopUp(seen({ available: '0', attempt: {} })), { step: 'look_up' })
    const processing = { status: 'processing', received: '0', paidAt: null }
    assert.deepEqual(
      decideTopUp(seen({ available: '0', attempt: { state: 'processing' }, charge: processing })),
      rest('2027-03-15T18:00:00.000Z', true),
    )
  })

  it('asks again under the attempt’s own key while Stripe remembers it, and then takes it for never made', () => {
    const startedAt = '2027-03-14T13:00:00.000Z'
    assert.equal(
      decideTopUp(seen({ at: '2027-03-15T11:59:59.999Z', attempt: { startedAt } })).step,
      'look_up',
    )
    assert.equal(decideTopUp(seen({ attempt: { startedAt } })).step, 'give_up')
    // once a payment is known, no age matters
    assert.equal(decideTopUp(seen({ attempt: { startedAt }, charge: {} })).step, 'settle')
  })

  it('grants what was paid under the payment’s own key, and then looks again', () => {
    assert.deepEqual(decideTopUp(seen({ attempt: {}, charge: {} })), {
      step: 'settle',
      payment: 'pi_1',
      amountMinor: '1000',
      currency: 'usd',
      paidAt: CHARGE.paidAt,
      credits: '10',
      key: 'top_up:pi_1',
    })
    const over = decideTopUp(seen({ attempt: { state: 'succeeded' }, charge: {} }))
    assert.equal(over.step, 'charge')
  })

  it('grants also what had been taken for declined, or for never made, and was paid all the same', () => {
    for (const state of ['declined', 'failed'] as const)
      assert.equal(decideTopUp(seen({ attempt: { state }, charge: {} })).step, 'settle')
  })

  describe('that is declined', () => {
    const charge = { status: 'requires_payment_method', received: '0', paidAt: null, code: 'card_declined' }
    const declined = (declines: number, code = 'card_declined', generation = 2) => {
      const plan = decideTopUp(
        seen({ settings: { declines }, attempt: { generation }, charge: { ...charge, code } }),
      )
      assert.equal(plan.step, 'declined')
      return plan
    }

    it('waits an hour, then six', () => {
      const first = declined(0)
      assert.deepEqual(
        [first.declines, first.nextAttemptAt, first.stops],
        [1, '2027-03-15T13:00:00.000Z', false],
      )
      const second = declined(1)
      assert.deepEqual(
        [second.declines, second.nextAttemptAt, second.stops],
        [2, '2027-03-15T18:00:00.000Z', false],
      )
    })

    it('a third time in a row stops, whatever the bank says', () => {
      for (const code of ['card_declined', 'authentication_required', 'resource_missing']) {
        const third = declined(2, code)
        assert.deepEqual([third.declines, third.nextAttemptAt, third.stops], [3, null, true], code)
      }
    })

    it('because the bank wants the customer counts, too, and leaves him a day for the page', () => {
      const plan = declined(0, 'authentication_required')
      assert.deepEqual(
        [plan.authentication, plan.declines, plan.nextAttemptAt],
        [true, 1, '2027-03-16T11:00:00.000Z'],
      )
    })

    it('without a payment in Stripe is declined by the code that refused it', () => {
      const plan = decideTopUp(seen({ attempt: { refused: 'resource_missing' } }))
      assert.ok(plan.step === 'declined')
      assert.deepEqual([plan.payment, plan.code, plan.declines], [null, 'resource_missing', 1])
    })

    it('and was set going again meanwhile does not count', () => {
      const plan = declined(0, 'card_declined', 1)
      assert.deepEqual([plan.counts, plan.declines, plan.nextAttemptAt, plan.stops], [false, 0, null, false])
    })
  })

  it('in any state charges only within its sum, and with nothing in flight', () => {
    const option = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
    fc.assert(
      fc.property(
        fc.record({
          available: fc.integer({ min: 0, max: 1000 }),
          month: fc.integer({ min: 0, max: 5000 }),
          enabled: fc.boolean(),
          declines: fc.integer({ min: 0, max: 3 }),
          state: option(
            fc.constantFrom<TopUpAttempt['state'][]>(
              'charging',
              'processing',
              'succeeded',
              'declined',
              'failed',
            ),
          ),
          status: option(fc.constantFrom('succeeded', 'processing', 'requires_payment_method', 'canceled')),
        }),
        ({ available, month, enabled, declines, state, status }) => {
          const plan = decideTopUp(
            seen({
              available: `${available / 100}`,
              monthMinor: `${month}`,
              settings: { enabled, declines },
              ...(state === undefined ? {} : { attempt: { state } }),
              ...(state === undefined || status === undefined ? {} : { charge: { status } }),
            }),
          )
          if (plan.step !== 'charge') return
          assert.ok(enabled && available < 500 && month + 1000 <= 3000)
          assert.ok(state !== 'charging' && state !== 'processing')
        },
      ),
    )
  })
})
