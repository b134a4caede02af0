/** Commands to subscriptions whose payments are not in order, and approvals that are about subscriptions and payments. */
import assert from 'node:assert/strict'
import { DAY_MS } from './ledger.ts'
import { settled, type Stack, subscribe } from './stack.ts'
import type { Asked, States } from './states.ts'

type Subscribed = Awaited<ReturnType<typeof subscribe>>

/** @param at the stack, once it is there: states are made when they are asked for */
export function subscriptionStates(at: () => Stack): Record<string, States> {
  const post = async <T = Record<string, string>>(path: string, body: object = {}): Promise<T> => {
    const answer = await at().call<T>('POST', path, body)
    assert.ok(answer.status < 300, JSON.stringify(answer.body))
    return answer.body
  }
  const asked =
    (what: string) =>
    (one: Subscribed, body: object, more: Partial<Asked> = {}) => ({
      path: `/v1/subscriptions/${one.order}/${what}`,
      body,
      account: one.account,
      ...more,
    })
  const change = asked('change')
  const pays = (one: Subscribed, card: string) => paysWith(at(), one.subscription, card)
  /** An upgrade that was asked for could not be paid. */
  const awaiting = async () => {
    const one = await subscribe(at())
    await pays(one, 'pm_card_chargeCustomerFail')
    await post(`/v1/subscriptions/${one.order}/change`, { plan: 'tier_6_50' })
    await pays(one, 'pm_card_visa')
    return one
  }
  /** The renewal could not be paid. */
  const overdue = async () => {
    const one = await subscribe(at())
    await pays(one, 'pm_card_chargeCustomerFail')
    await at().clock.advance(at().clock.now() + 32 * DAY_MS)
    return one
  }
  let pastDue: Promise<Subscribed> | undefined
  const inArrears = () => (pastDue ??= overdue())
  const approval = async (account: string): Promise<Asked> => {
    const list = `/v1/approvals?account=${account}`
    const { body } = await at().call<{ data: { id: string }[] }>('GET', list)
    assert.equal(body.data.length, 1)
    return { path: `/v1/approvals/${body.data[0]?.id}/approve`, account }
  }
  const end = ({ cancel_at }: Record<string, string | null>) => [{ what: 'subscription_ends', at: cancel_at }]

  return {
    'POST /v1/subscriptions/{id}/change': {
      'discounted, more at once': async () => {
        const one = await subscribe(at())
        const { id: coupon } = await at().stripe.coupons.create({ percent_off: 50, duration: 'forever' })
        await at().stripe.subscriptions.update(one.subscription, { discounts: [{ coupon }] })
        return change(one, { plan: 'tier_6_50' })
      },
      'awaiting payment, the same again': async () => change(await awaiting(), { plan: 'tier_6_50' }),
      'awaiting payment, something else': async () => change(await awaiting(), { plan: 'tier_12_100' }),
      'awaiting payment, what it is': async () => change(await awaiting(), { plan: 'tier_2_20' }),
      'past due': async () =>
        change(await inArrears(), { plan: 'tier_6_50' }, { refused: 'payment_overdue' }),
      'while the renewal is in draft': async () => {
        const one = await subscribe(at())
        const { items } = await at().stripe.subscriptions.retrieve(one.subscription)
        await at().clock.advance((items.data[0]?.current_period_end ?? 0) * 1000 + 60_000)
        return change(one, { plan: 'tier_6_50' })
      },
    },
    'POST /v1/subscriptions/{id}/cancel': {
      'awaiting payment': async () => asked('cancel')(await awaiting(), {}, { dates: end }),
      'past due': async () => asked('cancel')(await overdue(), {}, { dates: end }),
    },
    'POST /v1/subscriptions/{id}/resume': {
      'past due': async () => asked('resume')(await inArrears(), {}),
    },
    'DELETE /v1/subscriptions/{id}/pending_change': {
      'awaiting payment': async () => asked('pending_change')(await awaiting(), {}),
    },
    'POST /v1/approvals/{id}/approve': {
      'a second subscription': async () => {
        const { account, subscription } = await subscribe(at())
        const { customer, items, default_payment_method } =
          await at().stripe.subscriptions.retrieve(subscription)
        await at().stripe.subscriptions.create({
          customer: customer as string,
          items: [{ price: items.data[0]?.price.id ?? '' }],
          default_payment_method: default_payment_method as string,
        })
        await settled(at())
        return approval(account)
      },
      'a late payment': async () => {
        const { id: account = '' } = await post('/v1/accounts')
        const { id: order = '', checkout } = await post<{ id: string; checkout: { id: string } }>(
          '/v1/purchases',
          { account, pack: 'credits_10', success_url: 'https://a.example', cancel_url: 'https://a.example' },
        )
        await at().control(`checkout/${checkout.id}/abandon`, {})
        await settled(at())
        await at().stripe.paymentIntents.create({
          amount: 1000,
          currency: 'usd',
          payment_method: 'pm_card_visa',
          confirm: true,
          automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
          metadata: { perennial_account: account, perennial_order: order },
        })
        await settled(at())
        return approval(account)
      },
    },
  }
}

/** From now on a subscription is paid with this card. */
export async function paysWith({ stripe }: Stack, subscription: string, card: string): Promise<void> {
  const { customer } = await stripe.subscriptions.retrieve(subscription)
  const { id } = await stripe.paymentMethods.attach(card, { customer: customer as string })
  await stripe.subscriptions.update(subscription, { default_payment_method: id })
}
