import assert from 'node:assert/strict'
import fc from 'fast-check'
import { addMonths, monthsBetween } from '../../src/domain/calendar.ts'

describe('the calendar', () => {
  it('keeps the anchor’s day over short months', () => {
    const months = [1, 2, 3, 12, 13, 24].map((n) => addMonths('2027-01-31T10:00:00.000Z', n).slice(0, 10))
    assert.deepEqual(months, [
      '2027-02-28',
      '2027-03-31',
      '2027-04-30',
      '2028-01-31',
      '2028-02-29',
      '2029-01-31',
    ])
  })
  it('keeps 29 February over common years', () => {
    const years = [12, 24, 36, 48].map((n) => addMonths('2028-02-29T00:00:00.000Z', n).slice(0, 10))
    assert.deepEqual(years, ['2029-02-28', '2030-02-28', '2031-02-28', '2032-02-29'])
  })
  it('counts back the months it added, from any anchor', () => {
    const anchor = fc.date({ min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    fc.assert(
      fc.property(anchor, fc.integer({ min: 0, max: 1200 }), (date, months) => {
        assert.equal(monthsBetween(date.toISOString(), addMonths(date.toISOString(), months)), months)
      }),
    )
  })
})
