import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Decimal } from 'decimal.js'
import type { OrderState } from '../../src/domain/checkout.ts'
import {
  followPurchase,
  type PackPaymentFacts,
  type PageFacts,
  type PurchaseObservation,
} from '../../src/domain/purchase.ts'
import { PACK_TERMS } from '../support/terms.ts'

const AT = '2027-03-01T12:00:00.000Z'
const EXPIRES = '2027-03-01T12:50:00.000Z'
const PAGE: PageFacts = {
  id: 'cs_1',
  status: 'open',
  paymentStatus: 'unpaid',
  expiresAt: EXPIRES,
  currency: 'usd',
  total: '2000',
  lines: [{ price: PACK_TERMS.priceId, net: '2000' }],
}
const PAYMENT: PackPaymentFacts = {
  id: 'pi_1',
  status: 'succeeded',
  received: '2000',
  currency: 'usd',
  paidAt: '2027-03-01T11:59:00.000Z',
}

/** Two packs of 10 credits for 1000 each, ordered ten minutes ago. */
function seen(more: {
  at?: string
  state?: OrderState
  quantity?: number
  page?: Partial<PageFacts> | null
  payment?: Partial<PackPaymentFacts> | null
}): PurchaseObservation {
  const { at = AT, state = 'open', quantity = 2, page = {}, payment = null } = more
  return {
    at,
    order: {
      id: 'ord_1',
      account: 'acc_1',
      state,
      quantity,
      terms: PACK_TERMS,
      createdAt: '2027-03-01T11:50:00.000Z',
    },
    page: page && { ...PAGE, ...page },
    payment: payment && { ...PAYMENT, ...payment },
  }
}
const paid = (net: string, total = net) =>
  seen({
    page: { status: 'complete', paymentStatus: 'paid', total, lines: [{ price: PACK_TERMS.priceId, net }] },
    payment: { received: total },
  })
const creditsOf = (observation: PurchaseObservation) => followPurchase(observation).settlement?.credits

describe('an order of packs', () => {
  it('waits for its page until a moment after the page’s own end', () => {
    const plan = followPurchase(seen({}))
    assert.deepEqual(plan, {
      state: 'open',
      deadline: '2027-03-01T12:51:00.000Z',
      close: null,
      settlement: null,
      attention: null,
    })
  })

  it('that is paid grants its credits once, under the order’s own key, as what never lapses', () => {
    const { settlement, ...plan } = followPurchase(paid('2000'))
    assert.deepEqual(plan, { state: 'paid', deadline: null, close: null, attention: null })
    assert.deepEqual(settlement, {
      payment: 'pi_1',
      amountMinor: '2000',
      currency: 'usd',
      paidAt: PAYMENT.paidAt,
      credits: '20',
      key: 'purchase:ord_1',
      reason: 'purchase',
      source: { order: 'ord_1', payment: 'pi_1', price: 'pack.credits_10.v1', session: 'cs_1' },
    })
  })

  it('grants what was paid: half for half, tax left out, never more than the list price bought', () => {
    assert.equal(creditsOf(paid('1000')), '10')
    assert.equal(creditsOf(paid('1999')), '19.99')
    assert.equal(creditsOf(paid('2000', '2380')), '20')
    assert.equal(creditsOf(paid('2500')), '20')
    // what has come is less than what the page says
    const short = paid('2000')
    assert.equal(creditsOf({ ...short, payment: { ...PAYMENT, received: '700' } }), '7')
  })

  it('with a code for all of it grants nothing, and is done', () => {
    const page = { status: 'complete', paymentStatus: 'no_payment_required', total: '0' }
    const plan = followPurchase(seen({ page: { ...page, lines: [{ price: PACK_TERMS.priceId, net: '0' }] } }))
    assert.equal(plan.state, 'paid')
    assert.equal(plan.settlement?.credits, '0')
    assert.equal(plan.settlement?.payment, 'cs_1')
    assert.equal(plan.settlement?.amountMinor, '0')
  })

  for (const status of ['processing', 'requires_action'])
    it(`whose customer is done while the money is ${status} waits for it`, () => {
      const page = { status: 'complete', paymentStatus: 'unpaid' }
      const plan = followPurchase(seen({ page, payment: { status, received: '0', paidAt: null } }))
      assert.equal(plan.state, 'processing')
      assert.equal(plan.deadline, '2027-03-01T18:00:00.000Z')
      assert.equal(plan.settlement, null)
    })

  for (const status of ['requires_payment_method', 'canceled'])
    it(`whose money did not come (${status}) has failed`, () => {
      const page = { status: 'complete', paymentStatus: 'unpaid' }
      const payment = { status, received: '0', paidAt: null }
      const plan = followPurchase(seen({ state: 'processing', page, payment }))
      assert.equal(plan.state, 'failed')
      assert.equal(plan.deadline, null)
    })

  it('whose card was declined stays open: the customer may try another', () => {
    const plan = followPurchase(seen({ payment: { status: 'requires_payment_method', received: '0' } }))
    assert.equal(plan.state, 'open')
  })

  it('is abandoned when its page has expired', () => {
    const plan = followPurchase(seen({ page: { status: 'expired' } }))
    assert.equal(plan.state, 'abandoned')
    assert.equal(plan.deadline, null)
  })

  it('whose page is open beyond its time has it closed', () => {
    assert.equal(followPurchase(seen({ at: '2027-03-01T12:51:00.000Z' })).close, 'cs_1')
    assert.equal(followPurchase(seen({ at: '2027-03-01T12:50:59.999Z' })).close, null)
  })

  it('that no page could be opened for is given up after an hour', () => {
    const waiting = followPurchase(seen({ state: 'opening', page: null }))
    assert.equal(waiting.state, 'opening')
    assert.equal(waiting.deadline, '2027-03-01T12:50:00.000Z')
    const plan = followPurchase(seen({ state: 'opening', page: null, at: '2027-03-01T12:50:00.000Z' }))
    assert.equal(plan.state, 'failed')
  })

  for (const state of ['abandoned', 'failed'] as const)
    it(`that is ${state} and paid all the same grants, and is shown to a person`, () => {
      const plan = followPurchase(seen({ state, page: { status: 'expired' }, payment: {} }))
      assert.equal(plan.state, 'late')
      assert.equal(plan.attention, 'late_payment')
      assert.equal(plan.settlement?.credits, '20')
      assert.equal(plan.settlement?.key, 'purchase:ord_1')
      assert.equal(plan.settlement?.reason, 'late_purchase')
      // also when nobody knows the page any more
      assert.equal(creditsOf(seen({ state, page: null, payment: { received: '500' } })), '5')
    })

  for (const state of ['paid', 'late', 'abandoned', 'failed'] as const)
    it(`that is ${state} stays so, and nothing is granted twice`, () => {
      const plan = followPurchase(
        seen({ state, ...(state === 'paid' || state === 'late' ? { payment: {} } : {}) }),
      )
      assert.deepEqual(plan, { state, deadline: null, close: null, settlement: null, attention: null })
    })

  it('in another currency, or for another price, grants nothing and is shown to a person', () => {
    const other = followPurchase(seen({ page: { status: 'complete', currency: 'eur' }, payment: {} }))
    assert.deepEqual([other.attention, other.settlement, other.state], ['currency_mismatch', null, 'open'])
    assert.notEqual(other.deadline, null)
    const foreign = followPurchase(seen({ payment: { currency: 'eur' } }))
    assert.equal(foreign.attention, 'currency_mismatch')
    const price = followPurchase(
      seen({ page: { lines: [{ price: 'price_other', net: '2000' }] }, payment: {} }),
    )
    assert.deepEqual([price.attention, price.settlement], ['unknown_price', null])
  })

  it('never grants more than was paid for, nor more than was ordered, in any state', () => {
    fc.assert(
      fc.property(
        fc.record({
          state: fc.constantFrom<OrderState[]>(
            'opening',
            'open',
            'processing',
            'paid',
            'abandoned',
            'failed',
            'late',
          ),
          quantity: fc.integer({ min: 1, max: 1000 }),
          net: fc.integer({ min: 0, max: 2_000_000 }),
          tax: fc.integer({ min: 0, max: 1000 }),
          received: fc.option(fc.integer({ min: 0, max: 2_000_000 }), { nil: undefined }),
          status: fc.constantFrom('open', 'complete', 'expired'),
          paymentStatus: fc.constantFrom('paid', 'unpaid', 'no_payment_required'),
          intent: fc.constantFrom('succeeded', 'processing', 'requires_payment_method', 'canceled'),
        }),
        ({ state, quantity, net, tax, received, status, paymentStatus, intent }) => {
          const came = received ?? net + tax
          const plan = followPurchase(
            seen({
              state,
              quantity,
              page: {
                status,
                paymentStatus,
                total: `${net + tax}`,
                lines: [{ price: PACK_TERMS.priceId, net: `${net}` }],
              },
              payment: { status: intent, received: `${came}` },
            }),
          )
          const credits = new Decimal(plan.settlement?.credits ?? 0)
          const { credits: each, unitAmount } = PACK_TERMS
          assert.ok(credits.lte(new Decimal(each).times(quantity)))
          assert.ok(credits.times(unitAmount).lte(new Decimal(Math.min(net, came)).times(each)))
          assert.equal(
            plan.settlement !== null,
            plan.state !== state && ['paid', 'late'].includes(plan.state),
          )
          assert.equal(plan.deadline === null, ['paid', 'late', 'abandoned', 'failed'].includes(plan.state))
          if (state === 'paid' || state === 'late') assert.equal(plan.settlement, null)
        },
      ),
    )
  })
})
