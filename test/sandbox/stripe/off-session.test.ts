// Payments without the customer: what a saved card is charged for top-ups, and how it is declined.
import assert from 'node:assert/strict'
// oxlint-disable-next-line import/no-named-as-default -- the named export is a type only under CommonJS
import Stripe from 'stripe'
import { bench, closeAll, payer, types } from './world.ts'

const start = '2027-01-01T00:00:00Z'

/** The parameters of a top-up with the customer's default card, as the service sends them. */
async function topUp(stripe: Stripe, card?: string): Promise<Stripe.PaymentIntentCreateParams> {
  const customer = await payer(stripe, card)
  return {
    customer: customer.id,
    payment_method: customer.invoice_settings.default_payment_method as string,
    amount: 1200,
    currency: 'usd',
    off_session: true,
    confirm: true,
    metadata: { top_up: 'top_1' },
  }
}

async function declined(promise: Promise<unknown>): Promise<Stripe.errors.StripeCardError> {
  const error: unknown = await promise.then(
    () => assert.fail('it was charged'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof Stripe.errors.StripeCardError, String(error))
  return error
}

describe('stripe sandbox: payments off session', () => {
  afterEach(closeAll)

  it('charges the saved card at once and tells it', async () => {
    const { stripe } = await bench(start)
    const params = await topUp(stripe)
    const intent = await stripe.paymentIntents.create(params)
    assert.deepEqual(
      [intent.status, intent.amount_received, intent.metadata, intent.customer],
      ['succeeded', 1200, { top_up: 'top_1' }, params.customer],
    )
    const listed = await stripe.paymentIntents.list({ customer: params.customer ?? '' })
    assert.deepEqual(
      listed.data.map(({ id }) => id),
      [intent.id],
    )
    assert.deepEqual((await types(stripe)).slice(-3), [
      'payment_intent.created',
      'charge.succeeded',
      'payment_intent.succeeded',
    ])
  })

  for (const [card, code, decline_code] of [
    ['pm_card_chargeCustomerFail', 'card_declined', 'generic_decline'],
    ['pm_card_authenticationRequired', 'authentication_required', 'authentication_required'],
  ] as const) {
    it(`answers 402 ${code} and keeps the payment, which waits for another card`, async () => {
      const { stripe } = await bench(start)
      const error = await declined(stripe.paymentIntents.create(await topUp(stripe, card)))
      assert.deepEqual([error.statusCode, error.code, error.decline_code], [402, code, decline_code])
      const intent = await stripe.paymentIntents.retrieve(error.payment_intent?.id ?? '')
      assert.deepEqual(
        [intent.status, intent.last_payment_error?.code, intent.amount_received],
        ['requires_payment_method', code, 0],
      )
      assert.deepEqual((await types(stripe)).slice(-3), [
        'payment_intent.created',
        'charge.failed',
        'payment_intent.payment_failed',
      ])
      const rescued = await stripe.paymentIntents.confirm(intent.id, { payment_method: 'pm_card_visa' })
      assert.equal(rescued.status, 'succeeded')
    })
  }

  it('lets the customer pass the check of the bank afterwards, on session', async () => {
    const { stripe, control } = await bench(start)
    const params = await topUp(stripe, 'pm_card_authenticationRequired')
    const error = await declined(stripe.paymentIntents.create(params))
    const id = error.payment_intent?.id ?? ''
    const asked = await stripe.paymentIntents.confirm(id, { payment_method: params.payment_method ?? '' })
    assert.equal(asked.status, 'requires_action')
    await control('POST', `payment_intents/${id}/authenticate`)
    assert.equal((await stripe.paymentIntents.retrieve(id)).status, 'succeeded')
  })

  it('declines rather than asks when that is wanted', async () => {
    const { stripe } = await bench(start)
    const { off_session: _off, ...params } = await topUp(stripe, 'pm_card_authenticationRequired')
    const refused = stripe.paymentIntents.create({ ...params, error_on_requires_action: true })
    const error = await declined(refused)
    assert.deepEqual(
      [error.code, error.payment_intent?.status],
      ['authentication_required', 'requires_payment_method'],
    )
  })

  it('charges once for one key, also when it was declined', async () => {
    const { stripe } = await bench(start)
    const params = await topUp(stripe)
    const again = { idempotencyKey: 'topup/1' }
    const [one, two] = [
      await stripe.paymentIntents.create(params, again),
      await stripe.paymentIntents.create(params, again),
    ]
    assert.equal(one.id, two.id)
    assert.equal((await stripe.charges.list()).data.length, 1)
    const bad = await topUp(stripe, 'pm_card_chargeCustomerFail')
    const first = await declined(stripe.paymentIntents.create(bad, { idempotencyKey: 'topup/2' }))
    const second = await declined(stripe.paymentIntents.create(bad, { idempotencyKey: 'topup/2' }))
    assert.equal(first.payment_intent?.id, second.payment_intent?.id)
  })

  it('cancels what was not paid, and nothing else', async () => {
    const { stripe } = await bench(start)
    const error = await declined(
      stripe.paymentIntents.create(await topUp(stripe, 'pm_card_chargeCustomerFail')),
    )
    const id = error.payment_intent?.id ?? ''
    const gone = await stripe.paymentIntents.cancel(id, { cancellation_reason: 'abandoned' })
    assert.deepEqual([gone.status, gone.cancellation_reason], ['canceled', 'abandoned'])
    await assert.rejects(stripe.paymentIntents.confirm(id), /status of canceled/)
    const paid = await stripe.paymentIntents.create(await topUp(stripe))
    await assert.rejects(stripe.paymentIntents.cancel(paid.id), /status of succeeded/)
  })

  it('leaves nothing of a payment without a card, of another customer’s card, too small, or not confirmed', async () => {
    const { stripe } = await bench(start)
    const params = await topUp(stripe)
    const { payment_method: _card, ...cardless } = params
    // Stripe does not fall back to invoice_settings.default_payment_method: whoever charges names the card
    await assert.rejects(stripe.paymentIntents.create(cardless), /missing a payment method/)
    const stranger = await payer(stripe)
    await assert.rejects(stripe.paymentIntents.create({ ...params, customer: stranger.id }), {
      param: 'payment_method',
    })
    await assert.rejects(stripe.paymentIntents.create({ ...params, amount: 49 }), {
      code: 'amount_too_small',
    })
    await assert.rejects(stripe.paymentIntents.create({ ...params, confirm: false }), {
      param: 'off_session',
    })
    assert.equal((await stripe.paymentIntents.list()).data.length, 0)
  })
})
