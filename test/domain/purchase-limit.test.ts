import assert from 'node:assert/strict'
import { decideOrder, type OrderObservation } from '../../src/domain/purchase-limit.ts'
import { PACK_TERMS } from '../support/terms.ts'

const LIMITS = {
  purchaseMin: '2000',
  purchaseMax: '100000',
  purchaseDayMax: '150000',
  purchaseHourMax: 10,
}

function decide(quantity: number, more: Partial<OrderObservation> = {}) {
  const hour = { orders: 0, oneLessIn: 1 }
  const decision = decideOrder(
    { terms: PACK_TERMS, limits: LIMITS, day: '0', hour, ...more },
    { pack: 'credits_10', quantity },
  )
  return 'refused' in decision ? decision.refused : decision.order
}

describe('what may be ordered', () => {
  it('is a pack on sale, for its list price times the quantity', () => {
    assert.deepEqual(decide(3), { terms: PACK_TERMS, amountMinor: '3000', credits: '30' })
  })

  it('is nothing that is not on sale, and nothing without a catalogue', () => {
    for (const more of [{ terms: undefined }, { limits: undefined }])
      assert.equal((decide(2, more) as { code: string }).code, 'pack_not_found')
  })

  for (const quantity of [1, 101, 100_000])
    it(`is within the limits of one purchase, which the server checks: not ${quantity} × 1000 (S-4 of the audit)`, () => {
      const refused = decide(quantity)
      assert.ok('code' in refused)
      assert.equal(refused.code, 'purchase_limit')
      assert.deepEqual(refused.data, { least: '2000', most: '100000' })
    })

  it('is at most what is left of the day, to the last minor unit', () => {
    assert.ok('terms' in decide(50, { day: '100000' }))
    const refused = decide(50, { day: '100001' })
    assert.ok('code' in refused)
    assert.deepEqual([refused.code, refused.data], ['purchase_day_limit', { limit: '150000', left: '49999' }])
    // what was bought before the limit was lowered leaves nothing, not less
    assert.deepEqual((decide(2, { day: '999999' }) as { data: object }).data, { limit: '150000', left: '0' })
  })

  it('is ten orders an hour, and who comes after that hears when to come back', () => {
    assert.ok('terms' in decide(2, { hour: { orders: 9, oneLessIn: 60 } }))
    const refused = decide(2, { hour: { orders: 10, oneLessIn: 60 } })
    assert.ok('code' in refused)
    assert.deepEqual([refused.code, refused.data], ['purchase_rate', { limit: 10, retry_after: 60 }])
  })
})
