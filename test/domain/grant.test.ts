import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Exact } from '../../src/domain/credits.ts'
import { creditsForLine, type PaidLine } from '../../src/domain/grant.ts'

const line: PaidLine = {
  credits: '20',
  quantity: 1,
  unitAmount: '2000',
  amount: '2000',
  discount: '0',
  rule: 'proportional',
}
const of = (change: Partial<PaidLine>) => creditsForLine({ ...line, ...change }).toFixed()

describe('law 7: the grant formula', () => {
  it('grants the plan’s credits for its full price', () => assert.equal(of({}), '20'))
  it('grants for each seat', () => assert.equal(of({ quantity: 3, amount: '6000' }), '60'))
  it('grants what was paid of the price', () => assert.equal(of({ discount: '500' }), '15'))
  it('grants nothing under a code for 100 %', () => assert.equal(of({ discount: '2000' }), '0'))
  it('grants nothing for a trial’s $0 line, under either rule', () => {
    assert.equal(of({ amount: '0' }), '0')
    assert.equal(of({ amount: '0', rule: 'full' }), '0')
  })
  it('grants nothing for a credit line', () => assert.equal(of({ amount: '-2000' }), '0'))
  it('takes the line before discounts under the rule full', () =>
    assert.equal(of({ discount: '500', rule: 'full' }), '20'))
  it('never grants more than the plan’s credits, however much was paid', () =>
    assert.equal(of({ amount: '9000' }), '20'))
  it('rounds down at eight places', () =>
    assert.equal(of({ credits: '10', unitAmount: '3', amount: '1' }), '3.33333333'))
  it('grants nothing for a price of nothing', () => assert.equal(of({ unitAmount: '0', amount: '0' }), '0'))

  it('is exact, monotonous and bounded for any line', () => {
    const minor = fc.integer({ min: 1, max: 99_999_999 })
    fc.assert(
      fc.property(
        minor,
        fc.integer({ min: 1, max: 500 }),
        minor,
        minor,
        minor,
        (credits, quantity, unit, a, b) => {
          const grantOf = (amount: number) =>
            creditsForLine({
              ...line,
              credits: String(credits),
              quantity,
              unitAmount: String(unit),
              amount: String(amount),
            })
          const [less, more] = a < b ? [a, b] : [b, a]
          const granted = grantOf(less)
          assert.ok(granted.lte(grantOf(more)))
          assert.ok(granted.lte(new Exact(credits).times(quantity)))
          assert.ok(granted.decimalPlaces() <= 8)
          // exact: granted × list ≤ credits × quantity × net < (granted + 10⁻⁸) × list
          const list = new Exact(unit).times(quantity)
          const due = new Exact(credits).times(quantity).times(Exact.min(less, list))
          assert.ok(granted.times(list).lte(due))
          assert.ok(granted.plus('0.00000001').times(list).gt(due))
        },
      ),
    )
  })
})
