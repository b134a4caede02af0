/** The life of one free plan, identified by our own id: a month's credits when nothing is paid for, until cancelled. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import { decideFree, type FreeGrant, type FreeObservation, type FreePlan } from '../domain/free.ts'
import { live, type Pass } from './entity.ts'
import { ATTRIBUTE, cancelUpdate, type FreeInput, openUpdate } from './message.ts'
import { freeActivities } from './proxy.ts'

const { observeFree, applyFree, openFree, cancelFree } = freeActivities

export async function free(input: FreeInput): Promise<void> {
  const id = workflowInfo().workflowId
  // of this month, for whoever reads the details after a pass that granted nothing
  const granted: FreeGrant[] = []
  await live({
    pass: () => pass(id, granted),
    commands: [
      { update: openUpdate, run: (command) => openFree({ subscription: id, command }) },
      { update: cancelUpdate, run: (command) => cancelFree({ subscription: id, command }) },
    ],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof free>({ schemaVersion: 1, rest }),
  })
}

async function pass(id: string, granted: FreeGrant[]): Promise<Pass> {
  const { observation, at } = await observeFree({ subscription: id })
  if (observation === null) {
    const details = 'No such subscription.'
    return { at, deadline: null, over: true, turn: null, attention: null, details, attributes: [] }
  }
  const plan = decideFree(observation)
  await applyFree({ seen: observation, plan })
  granted.push(...plan.grants)
  const { subscription } = observation
  return {
    at,
    deadline: plan.deadline,
    over: plan.deadline === null,
    turn: plan.periodStart,
    attention: null,
    details: detailsOf(observation, plan, granted),
    attributes: [
      { key: ATTRIBUTE.account, value: subscription.account },
      { key: ATTRIBUTE.plan, value: subscription.plan },
      { key: ATTRIBUTE.status, value: plan.status },
      { key: ATTRIBUTE.periodEnd, value: new Date(plan.periodEnd) },
    ],
  }
}

/** What a support person reads. Ids, dates and amounts only. */
function detailsOf(
  { at, subscription, terms }: FreeObservation,
  plan: FreePlan,
  granted: FreeGrant[],
): string {
  const rows = [
    ['account', subscription.account],
    ['plan', `${subscription.plan} (free, ${terms.lookupKey})`],
    ['status', plan.status + (plan.givesWay ? ', grants nothing while a paid subscription is live' : '')],
    ['month', `${plan.periodStart} to ${plan.periodEnd}`],
    ['ends', plan.endedAt ?? subscription.cancelAt ?? 'goes on'],
    ['looks again', plan.deadline ?? 'never: it is over'],
    ['seen', at],
  ]
  const table = ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)]
  const grants = granted.map((grant) => `- granted ${grant.amount} credits (free_period, ${grant.key})`)
  return [...table, '', ...grants].join('\n')
}
