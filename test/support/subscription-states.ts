/** Commands to subscriptions whose payments are not in order, and approvals that are about subscriptions and payments. */
import assert from 'node:assert/strict'
import { HOUR_MS } from '../../src/domain/calendar.ts'
import { eventually, settled, type Stack, subscribe } from './stack.ts'
import type { Asked } from './states.ts'

type Subscribed = Awaited<ReturnType<typeof subscribe>>

/**
 * In this order: what moves the clock far comes before there is much to bill.
 * @param at the stack, once it is there: states are made when they are asked for
 */
export function subscriptionStates(
  at: () => Stack,
): [method: string, state: string, prepare: () => Promise<Asked>][] {
  const post = async <T = Record<string, string>>(path: string, body: object = {}): Promise<T> => {
    const answer = await at().ask<T>('POST', path, body)
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
  /** Upgrades that were asked for and could not be paid, made all at once: that takes the time of one. */
  const AWAITING = 4
  let waiting: Promise<Subscribed[]> | undefined
  const awaiting = async (keeps = false): Promise<Subscribed> => {
    waiting ??= Promise.all(
      Array.from({ length: AWAITING }, async () => {
        const one = await subscribe(at())
        await pays(one, 'pm_card_chargeCustomerFail')
        await post(`/v1/subscriptions/${one.order}/change`, { plan: 'tier_6_50' })
        await pays(one, 'pm_card_visa')
        return one
      }),
    )
    const all = await waiting
    const one = keeps ? all.at(-1) : all.pop()
    assert.ok(one, 'more are asked for than were made')
    return one
  }
  /** One whose renewal is about to be billed, and one whose renewal could then not be paid. */
  let renewing: Promise<[Subscribed, Subscribed]> | undefined
  const renewals = () =>
    (renewing ??= (async (): Promise<[Subscribed, Subscribed]> => {
      const [good, bad] = await Promise.all([subscribe(at()), subscribe(at())])
      await pays(bad, 'pm_card_chargeCustomerFail')
      const { items } = await at().stripe.subscriptions.retrieve(good.subscription)
      await at().clock.advance((items.data[0]?.current_period_end ?? 0) * 1000 + 60_000)
      return [good, bad]
    })())
  let finalized: Promise<void> | undefined
  const inArrears = async () => {
    const [, bad] = await renewals()
    await (finalized ??= at().clock.advance(at().clock.now() + 3 * HOUR_MS))
    return bad
  }
  const approval = async (account: string): Promise<Asked> => {
    const list = `/v1/approvals?account=${account}`
    const { body } = await at().call<{ data: { id: string }[] }>('GET', list)
    assert.equal(body.data.length, 1)
    return { path: `/v1/approvals/${body.data[0]?.id}/approve`, account }
  }
  const end = ({ cancel_at }: Record<string, string | null>) => [{ what: 'subscription_ends', at: cancel_at }]

  return [
    [
      'POST',
      'change while the renewal is in draft',
      async () => change((await renewals())[0], { plan: 'tier_6_50' }),
    ],
    [
      'POST',
      'change past due',
      async () => change(await inArrears(), { plan: 'tier_6_50' }, { refused: 'payment_overdue' }),
    ],
    ['POST', 'resume past due', async () => asked('resume')(await inArrears(), {})],
    ['POST', 'cancel past due', async () => asked('cancel')(await inArrears(), {}, { dates: end })],
    ['POST', 'cancel awaiting payment', async () => asked('cancel')(await awaiting(), {}, { dates: end })],
    ['DELETE', 'withdraw awaiting payment', async () => asked('pending_change')(await awaiting(), {})],
    [
      'POST',
      'change awaiting payment, the same again',
      async () => change(await awaiting(true), { plan: 'tier_6_50' }),
    ],
    [
      'POST',
      'change awaiting payment, something else',
      async () => change(await awaiting(), { plan: 'tier_12_100' }),
    ],
    [
      'POST',
      'change awaiting payment, what it is',
      async () => change(await awaiting(), { plan: 'tier_2_20' }),
    ],
    [
      'POST',
      'change discounted',
      async () => {
        const one = await subscribe(at())
        const { id: coupon } = await at().stripe.coupons.create({ percent_off: 50, duration: 'forever' })
        await at().stripe.subscriptions.update(one.subscription, { discounts: [{ coupon }] })
        return change(one, { plan: 'tier_6_50' })
      },
    ],
    [
      'POST',
      'approve that a second subscription ends',
      async () => {
        const { account, subscription } = await subscribe(at())
        const { customer, items, default_payment_method } =
          await at().stripe.subscriptions.retrieve(subscription)
        const second = await at().stripe.subscriptions.create({
          customer: customer as string,
          items: [{ price: items.data[0]?.price.id ?? '' }],
          default_payment_method: default_payment_method as string,
        })
        await settled(at())
        await eventually('it is told to a person', async () => {
          const { rowCount } = await at().database.owner.query(
            `select 1 from alert where kind = 'needs_attention' and subject = $1`,
            [second.id],
          )
          return rowCount === 1
        })
        const ends = (second.items.data[0]?.current_period_end ?? 0) * 1000
        const dates = () => [{ what: 'subscription_ends', at: new Date(ends).toISOString() }]
        return { ...(await approval(account)), dates }
      },
    ],
    [
      'POST',
      'approve a late payment',
      async () => {
        const { id: account = '' } = await post('/v1/accounts')
        const { id: order, checkout } = await post<{ id: string; checkout: { id: string } }>(
          '/v1/purchases',
          {
            account,
            pack: 'credits_10',
            success_url: 'https://example.com/ok',
            cancel_url: 'https://example.com/no',
          },
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
        await eventually('it is told to a person', async () => {
          const { rowCount } = await at().database.owner.query(
            `select 1 from alert where kind = 'needs_attention' and subject = $1`,
            [`checkout/${order}`],
          )
          return rowCount === 1
        })
        return approval(account)
      },
    ],
  ]
}

/** From now on a subscription is paid with this card. */
export async function paysWith({ stripe }: Stack, subscription: string, card: string): Promise<void> {
  const { customer } = await stripe.subscriptions.retrieve(subscription)
  const { id } = await stripe.paymentMethods.attach(card, { customer: customer as string })
  await stripe.subscriptions.update(subscription, { default_payment_method: id })
}
