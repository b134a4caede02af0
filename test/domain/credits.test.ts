import assert from 'node:assert/strict'
import fc from 'fast-check'
import { formatCredits, parseCredits } from '../../src/domain/credits.ts'

describe('amounts of credits', () => {
  for (const text of [
    '0',
    '-1',
    '+1',
    '1e3',
    '1E3',
    '.5',
    '5.',
    '01',
    '0.000000001',
    '1,5',
    ' 1',
    '1 ',
    '',
    'NaN',
    'Infinity',
    '0x10',
    '١',
    '1000000000000001',
    '99999999999999999999',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseCredits(text), { name: 'Refusal', code: 'credits_invalid' })
    })
  }
  it('audit 10: come back as they went, to the last of eight places', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 10n ** 23n }), (units) => {
        const text =
          `${units / 10n ** 8n}.${String(units % 10n ** 8n).padStart(8, '0')}`.replace(/\.?0+$/, '') || '0'
        assert.equal(formatCredits(parseCredits(text)), text)
      }),
    )
  })
  it('are written plainly', () => {
    assert.equal(formatCredits('12.50000000'), '12.5')
    assert.equal(formatCredits('0.00000001'), '0.00000001')
    assert.equal(formatCredits('-0'), '0')
  })
})
