import assert from 'node:assert/strict'
import fc from 'fast-check'
import { foreseeAndDo } from '../support/foresee-and-do.ts'
import { type Freezer, freezer } from '../support/foreseen.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { settled, type Stack, startStack, subscribe } from '../support/stack.ts'
import type { Asked } from '../support/states.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'
import { paysWith, subscriptionStates } from '../support/subscription-states.ts'

/** `TEST_WALKS=20 TEST_WALK_SEED=7`: how many chance walks, and which; unless told otherwise, always the same one. */
const WALKS = Number(process.env['TEST_WALKS'] ?? 1)
const SEED = Number(process.env['TEST_WALK_SEED'] ?? 5)
const STEPS_MAX = WALKS === 1 ? 6 : 14

const PLANS = ['tier_2_20', 'tier_6_50', 'tier_12_100']

/** What time, banks and other programs do: not asked for, so not foreseen. */
const event = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 12 }) }),
  },
  // an upgrade that could not be paid waits
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('unpaid' as const), plan: fc.constantFrom(...PLANS) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pause' as const) }) },
)
const command = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      plan: fc.constantFrom(...PLANS),
      interval: fc.constantFrom('month', 'month', 'year'),
      quantity: fc.constantFrom(1, 1, 2, 3),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resume' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('withdraw' as const) }) },
)
type Event = typeof event extends fc.Arbitrary<infer T> ? T : never
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never
type Subscribed = Awaited<ReturnType<typeof subscribe>>

const month = { do: 'change', interval: 'month', quantity: 1 } as const
/** A history that meets every command in every state that they leave behind; chance may miss some. */
const EVERYTHING: (Event | Command)[] = [
  { ...month, plan: 'tier_6_50' },
  { ...month, plan: 'tier_2_20' },
  { ...month, plan: 'tier_6_50', quantity: 2 },
  { do: 'unpaid', plan: 'tier_12_100' },
  { do: 'withdraw' },
  { do: 'cancel' },
  { ...month, plan: 'tier_12_100' },
  { do: 'resume' },
  { do: 'withdraw' },
  { do: 'pause' },
  { ...month, plan: 'tier_6_50' },
  { do: 'resume' },
  { ...month, plan: 'tier_6_50', interval: 'year', quantity: 2 },
]

/** How commands end in it. */
const MET = [
  'change done',
  'change subscription_cancelling',
  'change subscription_paused',
  'cancel done',
  'resume done',
  'withdraw done',
  'withdraw pending_change_not_found',
  'unpaid 200',
]

describe('?dry_run=true of commands to subscriptions', function () {
  this.timeout(240_000 + WALKS * 60_000)
  let stack: Stack
  let proxy: StripeProxy
  let time: Freezer
  before(async () => {
    stack = await startStack({ worker: false })
    proxy = await startStripeProxy(stack.sandbox.url)
    stack.deps.stripe.sandboxUrl = proxy.url
    await stack.startWorker()
    time = await freezer(stack)
  })
  after(async () => {
    await stack?.stop()
    await proxy?.close()
  })
  afterEach(() => assertBooks(stack.database))

  for (const [method, state, prepare] of subscriptionStates(() => stack)) {
    it(`${state}: changes nothing, and says what then happens`, async () => {
      const asked = await prepare()
      assert.equal(await foreseeAndDo({ stack, proxy, time }, method, asked), asked.refused ?? 'done')
    })
  }

  it('says what then happens, whatever was asked for before', async () => {
    // what lives on would be billed all through the walk, too
    for await (const { id } of stack.stripe.subscriptions.list()) await stack.stripe.subscriptions.cancel(id)
    const met = new Set<string>()
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof({ weight: 2, arbitrary: event }, { weight: 5, arbitrary: command }), {
          minLength: 5,
          maxLength: STEPS_MAX,
          size: 'max',
        }),
        async (steps) => {
          const one = await subscribe(stack)
          for (const step of steps) met.add(`${step.do} ${await take(one, step)}`)
          await stack.stripe.subscriptions.cancel(one.subscription).catch(() => {})
          await settled(stack)
        },
      ),
      // a step takes about a second: what fails is told as it is, and not made smaller
      { numRuns: WALKS + 1, examples: [[EVERYTHING]], seed: SEED, endOnFailure: true },
    )
    // the property is about something
    assert.deepEqual(
      MET.filter((what) => !met.has(what)),
      [],
      [...met].join(', '),
    )
  })

  async function take(one: Subscribed, step: Event | Command): Promise<string> {
    switch (step.do) {
      case 'wait':
        await stack.clock.advance(stack.clock.now() + step.days * DAY_MS)
        return ''
      case 'pause':
        await stack.stripe.subscriptions
          .update(one.subscription, { pause_collection: { behavior: 'void' } })
          .catch(() => {})
        await settled(stack)
        return ''
      case 'unpaid':
        return await unpaid(one, step.plan)
      default:
        return await foreseeAndDo({ stack, proxy, time }, ...(await askedBy(one, step)))
    }
  }

  async function unpaid(one: Subscribed, plan: string): Promise<string> {
    await paysWith(stack, one.subscription, 'pm_card_chargeCustomerFail')
    const { status } = await stack.ask('POST', `/v1/subscriptions/${one.order}/change`, { plan })
    await paysWith(stack, one.subscription, 'pm_card_visa')
    await settled(stack)
    return `${status}`
  }

  /** The request that a command is, and the dates that it makes. */
  async function askedBy(
    { order, account, subscription }: Subscribed,
    step: Command,
  ): Promise<[string, Asked]> {
    const path = `/v1/subscriptions/${order}`
    const before = (await stack.call<Answered>('GET', path)).body
    const known = await monthsToCome(subscription)
    const dates = async (answer: Record<string, unknown>) => {
      const { current_period_end: ends, cancel_at, pending_change: pending } = answer as unknown as Answered
      const all = await monthsToCome(subscription)
      const months = all.filter(({ key }) => !known.some((each) => each.key === key))
      const first: { what: string; at: string | null }[] = []
      if (step.do === 'cancel') first.push({ what: 'subscription_ends', at: cancel_at })
      if (step.do === 'change' && pending?.state === 'scheduled' && !same(pending, before.pending_change))
        first.push({ what: 'plan_changes', at: ends })
      return [...first, ...months.map(({ at }) => ({ what: 'credits_next', at }))]
    }
    if (step.do === 'withdraw') return ['DELETE', { path: `${path}/pending_change`, account, dates }]
    if (step.do !== 'change') return ['POST', { path: `${path}/${step.do}`, body: {}, account, dates }]
    const { do: _, ...body } = step
    return ['POST', { path: `${path}/change`, body, account, dates }]
  }

  /** Months of years that are paid; an upgrade has months of its own at the same instants. */
  async function monthsToCome(subscription: string): Promise<{ key: string; at: string }[]> {
    const { rows } = await stack.database.owner.query<{ key: string; due_at: Date }>(
      `select key, due_at from entitlement where subscription_id = $1 and granted_at is null and due_at > business_now()
        order by due_at`,
      [subscription],
    )
    return rows.map(({ key, due_at }) => ({ key, at: due_at.toISOString() }))
  }
})

interface Pending {
  state: string
  plan: string
  interval: string
  quantity: number
}

interface Answered {
  current_period_end: string
  cancel_at: string | null
  pending_change: Pending | null
}

function same(one: Pending, other: Pending | null): boolean {
  return one.plan === other?.plan && one.interval === other.interval && one.quantity === other.quantity
}
