import assert from 'node:assert/strict'
import { passFrom, percentDone, sinceOf } from '../../src/domain/catch-up.ts'

const NOW = '2026-11-25T12:00:00.000Z'

describe('how far back Stripe’s events are read', () => {
  it('is ten minutes before the last, all that is listed at first, and never more than is listed', () => {
    assert.equal(passFrom('2026-11-25T11:55:00.000Z', NOW), '2026-11-25T11:45:00.000Z')
    assert.equal(passFrom(null, NOW), '2026-10-26T12:00:00.000Z')
    assert.equal(passFrom('2026-10-26T12:05:00.000Z', NOW), '2026-10-26T12:00:00.000Z')
    assert.equal(passFrom('2025-01-01T00:00:00.000Z', NOW), '2026-10-26T12:00:00.000Z')
  })

  const said: [text: string, at: string | undefined][] = [
    ['7d', '2026-11-18T12:00:00.000Z'],
    ['12h', '2026-11-25T00:00:00.000Z'],
    ['30m', '2026-11-25T11:30:00.000Z'],
    ['30d', '2026-10-26T12:00:00.000Z'],
    ['31d', undefined],
    ['2026-11-20', '2026-11-20T00:00:00.000Z'],
    ['2026-11-20T08:30Z', '2026-11-20T08:30:00.000Z'],
    ['2026-11-20T08:30:15Z', '2026-11-20T08:30:15.000Z'],
    ['2026-10-26T11:59:59Z', undefined],
    ['2026-11-25T12:00:01Z', undefined],
    ['2026-11-31', undefined],
    ['7', undefined],
    ['-7d', undefined],
    ['7 days', undefined],
    ['', undefined],
  ]
  for (const [text, at] of said) {
    it(`takes “${text}” for ${at ?? 'nothing'}`, () => assert.equal(sinceOf(text, NOW), at))
  }

  it('is told in percent of the time, from 0 to 100', () => {
    const from = '2026-11-25T02:00:00.000Z'
    assert.equal(percentDone(from, NOW, '2026-11-25T12:00:05.000Z'), 0)
    assert.equal(percentDone(from, NOW, NOW), 0)
    assert.equal(percentDone(from, NOW, '2026-11-25T09:00:00.000Z'), 30)
    assert.equal(percentDone(from, NOW, from), 100)
    assert.equal(percentDone(from, NOW, '2026-11-25T01:00:00.000Z'), 100)
    assert.equal(percentDone(NOW, NOW, NOW), 0)
  })
})
