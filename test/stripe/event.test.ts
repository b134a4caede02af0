import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { EventError, projectEvent, verifyEvent } from '../../src/stripe/event.ts'

const NOW_S = 1_795_000_000
const VERSION = '2026-10-28.endive'
const SECRETS = ['whsec_old', 'whsec_new']

const hmac = (secret: string, at: number | string, body: string) =>
  createHmac('sha256', secret).update(`${at}.${body}`).digest('hex')

function verify(body: string, header: string | undefined, secrets = SECRETS): unknown {
  return verifyEvent(Buffer.from(body), header, secrets, NOW_S * 1000)
}

const signedAt = (at: number, secret = 'whsec_old', body = '{"a":1}') =>
  `t=${at},v1=${hmac(secret, at, body)}`

describe('verifying an event', () => {
  const good: [what: string, header: string][] = [
    ['now', signedAt(NOW_S)],
    ['five minutes ago', signedAt(NOW_S - 300)],
    ['five minutes ahead', signedAt(NOW_S + 300)],
    ['with the second secret', signedAt(NOW_S, 'whsec_new')],
    [
      'with two secrets while one is rolled',
      `${signedAt(NOW_S, 'whsec_gone')},v1=${hmac('whsec_new', NOW_S, '{"a":1}')}`,
    ],
    ['beside an older scheme', `${signedAt(NOW_S)},v0=abc`],
  ]
  for (const [what, header] of good) {
    it(`accepts what was signed ${what}`, () => {
      assert.deepEqual(verify('{"a":1}', header), { a: 1 })
    })
  }

  const bad: [what: string, header: string | undefined, code: string][] = [
    ['without a header', undefined, 'signature_invalid'],
    ['with an empty header', '', 'signature_invalid'],
    ['without a time', `v1=${hmac('whsec_old', NOW_S, '{"a":1}')}`, 'signature_invalid'],
    ['with a time that is none', `t=NaN,v1=${hmac('whsec_old', 'NaN', '{"a":1}')}`, 'signature_invalid'],
    ['with two times to choose from', `t=${NOW_S},${signedAt(NOW_S)}`, 'signature_invalid'],
    ['without a signature', `t=${NOW_S}`, 'signature_invalid'],
    [
      'with a signature of v0 only',
      `t=${NOW_S},v0=${hmac('whsec_old', NOW_S, '{"a":1}')}`,
      'signature_invalid',
    ],
    ['with an unknown secret', signedAt(NOW_S, 'whsec_other'), 'signature_invalid'],
    ['over another body', signedAt(NOW_S, 'whsec_old', '{"a":2}'), 'signature_invalid'],
    ['with the time changed', signedAt(NOW_S - 10).replace(/^t=\d+/, `t=${NOW_S}`), 'signature_invalid'],
    ['301 seconds old', signedAt(NOW_S - 301), 'signature_stale'],
    ['301 seconds ahead', signedAt(NOW_S + 301), 'signature_future'],
  ]
  for (const [what, header, code] of bad) {
    it(`refuses what comes ${what}`, () => {
      assert.throws(
        () => verify('{"a":1}', header),
        (error) => error instanceof EventError && error.code === code,
      )
    })
  }

  it('refuses everything while there is no secret', () => {
    assert.throws(() => verify('{"a":1}', signedAt(NOW_S), []), /no signature fits/)
  })

  it('refuses a genuine body that is no JSON', () => {
    assert.throws(() => verify('{', signedAt(NOW_S, 'whsec_old', '{')), /not JSON/)
  })
})

describe('what is kept of an event', () => {
  const event = (type: string, object: unknown, more = {}) => ({
    id: 'evt_1',
    object: 'event',
    type,
    api_version: VERSION,
    created: NOW_S,
    livemode: false,
    data: { object },
    ...more,
  })
  const invoice = (subscription: unknown) => ({
    id: 'in_1',
    parent: { subscription_details: { subscription } },
  })

  const owners: [what: string, type: string, object: unknown, owner: string | null][] = [
    [
      'a session of an order',
      'checkout.session.completed',
      { metadata: { perennial_order: 'ord_1' } },
      'checkout/ord_1',
    ],
    ['a session of nobody', 'checkout.session.expired', { metadata: {} }, null],
    ['a session of no order', 'checkout.session.expired', { metadata: { perennial_order: '../x' } }, null],
    ['a subscription', 'customer.subscription.updated', { id: 'sub_1' }, 'sub_1'],
    ['a subscription without an id', 'customer.subscription.updated', {}, null],
    ['a subscription with another id', 'customer.subscription.updated', { id: 'checkout/ord_1' }, null],
    ['an invoice', 'invoice.paid', invoice('sub_1'), 'sub_1'],
    [
      'an invoice with its subscription',
      'invoice.paid',
      invoice({ id: 'sub_1', object: 'subscription' }),
      'sub_1',
    ],
    ['an invoice without a subscription', 'invoice.paid', { id: 'in_1', parent: null }, null],
    [
      'an upcoming invoice',
      'invoice.upcoming',
      { parent: { subscription_details: { subscription: 'sub_1' } } },
      'sub_1',
    ],
    ['a payment of an invoice', 'invoice_payment.paid', { id: 'inpay_1', invoice: 'in_1' }, null],
    ['a customer', 'customer.updated', { id: 'cus_1' }, null],
    ['nothing at all', 'something.new', null, null],
  ]
  for (const [what, type, object, owner] of owners) {
    it(`is its owner: ${what} is ${owner ?? 'nobody'}’s`, () => {
      assert.equal(projectEvent(event(type, object), VERSION).owner, owner)
    })
  }

  it('is ids, words, amounts and times, and nothing about a person', () => {
    const { payload } = projectEvent(
      event('customer.subscription.updated', {
        id: 'sub_1',
        object: 'subscription',
        status: 'active',
        customer: { id: 'cus_1', email: 'grace@example.com', name: 'Grace' },
        cancel_at: NOW_S,
        cancel_at_period_end: false,
        description: 'for Grace Hopper',
        metadata: { note: 'Grace' },
        items: { data: [{ current_period_end: NOW_S }] },
        latest_invoice: 'in_1',
        // names that are kept, with values that are none
        currency: 'Grace',
        billing_reason: 'Grace Hopper <grace@example.com>',
        subscription: 'grace@example.com',
        amount_paid: 12.5,
        canceled_at: 'Grace',
      }),
      VERSION,
    )
    const at = new Date(NOW_S * 1000).toISOString()
    assert.deepEqual(payload, {
      id: 'sub_1',
      object: 'subscription',
      status: 'active',
      customer: 'cus_1',
      cancel_at: at,
      cancel_at_period_end: false,
      latest_invoice: 'in_1',
      item_period_ends: [at],
    })
  })

  const malformed: [what: string, event: unknown][] = [
    ['null', null],
    ['a text', 'event'],
    ['a list', [event('x', {})]],
    ['an event without an id', event('invoice.paid', {}, { id: undefined })],
    ['an event with an id that is none', event('invoice.paid', {}, { id: 'evt 1' })],
    ['an event without a type', event('', {})],
    ['an event without a time', event('invoice.paid', {}, { created: undefined })],
    ['an event of no time', event('invoice.paid', {}, { created: 1e300 })],
    ['an event without a mode', event('invoice.paid', {}, { livemode: 'false' })],
  ]
  for (const [what, value] of malformed) {
    it(`is refused of ${what}`, () => {
      assert.throws(
        () => projectEvent(value, VERSION),
        (error) => error instanceof EventError && error.code === 'event_malformed',
      )
    })
  }
})
