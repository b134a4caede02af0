import assert from 'node:assert/strict'
import { afterCall, afterMail, TRIES_MAX, waitAfter } from '../../src/domain/delivery.ts'
import { escape, mailOf } from '../../src/domain/mail.ts'
import { EVENT_TYPES, isEmailed, NOTICE_KINDS, type NoticeData } from '../../src/domain/notice.ts'
import { webhookBody } from '../../src/domain/notice-view.ts'
import { dateText, moneyText, wordsOf } from '../../src/domain/notice-words.ts'

const failed: NoticeData['payment_failed'] = {
  invoice: 'in_1',
  subscription: 'sub_1',
  amountMinor: '2000',
  currency: 'usd',
  attempt: '1',
  nextAttemptAt: '2026-11-28T10:00:00.000Z',
  graceEndsAt: null,
  payUrl: 'https://invoice.stripe.com/i/1?a=1&b="2"',
}

describe('the e-mail of a notice, in words', () => {
  it('says the same in text and in HTML, with its link in both', () => {
    const mail = mailOf({ kind: 'payment_failed', data: failed }, 'Product')
    assert.equal(mail.subject, 'Your payment failed · Product')
    for (const line of [
      'We could not collect 20.00 USD for your plan.',
      'We will try again on 28 November 2026.',
    ]) {
      assert.ok(mail.text.includes(line), line)
      assert.ok(mail.html.includes(line), line)
    }
    assert.ok(mail.text.includes(`Pay now: ${failed.payUrl}`))
    assert.ok(mail.html.includes('href="https://invoice.stripe.com/i/1?a=1&amp;b=&quot;2&quot;"'))
  })

  it('lets nothing of what it carries become HTML', () => {
    const evil = `<script>alert("1")</script>'&`
    const { html } = mailOf(
      {
        kind: 'purchase_completed',
        data: {
          order: 'ord_1',
          pack: 'p',
          packName: evil,
          quantity: '1',
          posting: null,
          credits: '0',
          balance: '0',
          amountMinor: '0',
          currency: 'usd',
        },
      },
      evil,
    )
    assert.doesNotMatch(html, /<script|alert\("/)
    assert.equal(html.split(escape(evil)).length - 1, 5) // title, product, heading, words, and why it is sent
  })

  it('links nowhere but to https, and to the sandbox on this machine', () => {
    for (const payUrl of ['https://invoice.stripe.com/i/1', 'http://127.0.0.1:12111/i/in_1']) {
      const { html } = mailOf({ kind: 'payment_failed', data: { ...failed, payUrl } }, 'Product')
      assert.ok(html.includes(`href="${payUrl}"`), payUrl)
    }
    for (const payUrl of [
      'javascript:alert(1)',
      'http://127.0.0.1.example.com',
      'http://example.com',
      'invoice.stripe.com',
      '',
      null,
    ]) {
      const mail = mailOf({ kind: 'payment_failed', data: { ...failed, payUrl } }, 'Product')
      assert.doesNotMatch(mail.html, /<a /, String(payUrl))
      assert.doesNotMatch(mail.text, /Pay now/)
    }
  })

  it('writes money by moving the point, whatever the currency and however much', () => {
    for (const [amountMinor, currency, said] of [
      ['2000', 'usd', '20.00 USD'],
      ['5', 'eur', '0.05 EUR'],
      ['0', 'usd', '0.00 USD'],
      ['500', 'jpy', '500 JPY'],
      ['12345', 'kwd', '12.345 KWD'],
      ['-1', 'usd', '-0.01 USD'],
      ['90071992547409931', 'usd', '900719925474099.31 USD'],
    ] as const)
      assert.equal(moneyText({ amountMinor, currency }), said)
  })

  it('writes days in UTC', () => {
    assert.equal(dateText('2026-12-31T23:59:59.999Z'), '31 December 2026')
  })

  it('each kind has a type of its own and says whether it is e-mailed', () => {
    assert.equal(new Set(EVENT_TYPES).size, NOTICE_KINDS.length)
    const data = { posting: 'pst_1', amount: '2', balance: '2', expiresAt: null, subscription: null }
    assert.equal(isEmailed({ kind: 'credits_granted', data: { ...data, reason: 'renewal' } }), true)
    assert.equal(isEmailed({ kind: 'credits_granted', data: { ...data, reason: 'free_period' } }), false)
    assert.deepEqual(wordsOf('credits_granted', { ...data, reason: 'renewal' }).lines, [
      '2 credits were added to your account. You now have 2.',
    ])
  })

  it('a webhook has the same text at every try, and the API’s names', () => {
    const notice = {
      id: 'ntc_1',
      account: 'acc_1',
      kind: 'payment_failed' as const,
      event: 'payment.failed',
      cause: { invoice: 'in_1' },
      data: { ...failed },
      createdAt: new Date('2026-11-25T10:00:00.000Z'),
    }
    assert.equal(webhookBody(notice), webhookBody(structuredClone(notice)))
    const { data } = JSON.parse(webhookBody(notice)) as { data: { data: object } }
    assert.deepEqual(Object.keys(data.data).slice(2, 6), [
      'amount_minor',
      'currency',
      'attempt',
      'next_attempt_at',
    ])
  })
})

describe('what becomes of a delivery', () => {
  const detail = 'why'
  const mail = (tried: Parameters<typeof afterMail>[0], tries = 1) => afterMail(tried, tries, 0).state

  it('a mail is sent again only when it was certainly not taken', () => {
    assert.equal(mail({ outcome: 'taken', code: 250 }), 'delivered')
    assert.equal(mail({ outcome: 'not_sent', detail }), 'pending')
    assert.equal(mail({ outcome: 'unknown', detail }), 'in_doubt')
    assert.equal(mail({ outcome: 'unknown', detail }, TRIES_MAX), 'in_doubt')
    for (const [code, state] of [
      [421, 'pending'],
      [452, 'pending'],
      [503, 'pending'],
      [530, 'pending'],
      [535, 'pending'],
      [550, 'failed'],
      [552, 'failed'],
      [554, 'failed'],
    ] as const)
      assert.equal(mail({ outcome: 'refused', code, detail }), state, String(code))
    assert.equal(mail({ outcome: 'not_sent', detail }, TRIES_MAX), 'failed')
  })

  it('a webhook is told again until it is answered 2xx, or often enough', () => {
    for (const code of [200, 204, 299]) assert.equal(afterCall({ code, detail }, 1, 0).state, 'delivered')
    for (const code of [null, 100, 301, 404, 410, 500])
      assert.equal(afterCall({ code, detail }, 1, 0).state, 'pending', String(code))
    assert.equal(afterCall({ code: 500, detail }, TRIES_MAX, 0).state, 'failed')
  })

  it('waits twice as long each time, up to two hours, and never quite as long as another', () => {
    assert.deepEqual(
      [1, 2, 3, 9, 10, 11, TRIES_MAX].map((tries) => waitAfter(tries, 0) / 1000),
      [15, 30, 60, 3840, 7200, 7200, 7200],
    )
    assert.equal(waitAfter(1, 1), 16_500)
  })
})
