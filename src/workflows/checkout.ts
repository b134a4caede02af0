/** The life of one hosted checkout: opened, then paid or abandoned. A plan it sold is its own workflow's business. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import { decideCheckout } from '../domain/checkout.ts'
import { orderOf } from '../domain/id.ts'
import { live, type Pass } from './entity.ts'
import { ATTRIBUTE, type CheckoutInput, openUpdate } from './message.ts'
import { checkoutActivities, subscriptionActivities } from './proxy.ts'
import { purchasePass } from './purchase.ts'

const { openCheckout, observeCheckout, applyCheckout } = checkoutActivities
const { settleEvents } = subscriptionActivities

export async function checkout(input: CheckoutInput): Promise<void> {
  const order = orderOf(workflowInfo().workflowId) ?? ''
  await live({
    pass: () => pass(order),
    commands: [{ update: openUpdate, run: (command) => openCheckout({ order, command }) }],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof checkout>({ schemaVersion: 1, rest }),
  })
}

async function pass(id: string): Promise<Pass> {
  const { observation, purchase, events, at } = await observeCheckout({ order: id })
  if (purchase !== undefined) return (await purchasePass(purchase, events)) ?? (await pass(id))
  if (observation === null) {
    // a page of ours whose order is not here: a person must explain it, and its events are done with
    await settleEvents({ events, stray: { id, kind: 'checkout', named: id } })
    return {
      at,
      deadline: null,
      over: true,
      turn: null,
      attention: null,
      details: 'No such order.',
      attributes: [],
    }
  }
  const plan = decideCheckout(observation)
  await applyCheckout({ order: id, plan, events })
  const { order } = observation
  return {
    at,
    deadline: plan.deadline,
    over: plan.deadline === null,
    turn: null,
    attention: null,
    details: [
      `| order | ${id} |`,
      '|---|---|',
      `| account | ${order.account} |`,
      `| plan | ${order.plan} |`,
      `| state | ${plan.state} |`,
      `| subscription | ${plan.subscription ?? 'none yet'} |`,
      `| looks again | ${plan.deadline ?? 'never: it is over'} |`,
    ].join('\n'),
    attributes: [
      { key: ATTRIBUTE.account, value: order.account },
      { key: ATTRIBUTE.plan, value: order.plan },
      { key: ATTRIBUTE.status, value: plan.state },
    ],
  }
}
