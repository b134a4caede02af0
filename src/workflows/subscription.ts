/** The life of one subscription, identified by Stripe's id: first payment, renewals, entitlements, the end. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import { decideSubscription } from '../domain/subscription.ts'
import type { GrantStep, SubscriptionPlan } from '../domain/subscription-facts.ts'
import { live, type Pass } from './entity.ts'
import {
  ATTRIBUTE,
  cancelUpdate,
  changeUpdate,
  resumeUpdate,
  type SubscriptionInput,
  withdrawUpdate,
} from './message.ts'
import { changeActivities, subscriptionActivities } from './proxy.ts'

const { observeSubscription, applySubscription, settleEvents } = subscriptionActivities
const { cancelSubscription, changeSubscription, resumeSubscription, withdrawChange } = changeActivities

export async function subscription(input: SubscriptionInput): Promise<void> {
  const id = workflowInfo().workflowId
  // of this period, for whoever reads the details after a pass that granted nothing
  const granted: GrantStep[] = []
  await live({
    pass: () => pass(id, granted),
    commands: [
      { update: cancelUpdate, run: (command) => cancelSubscription({ subscription: id, command }) },
      { update: changeUpdate, run: (command) => changeSubscription({ subscription: id, command }) },
      { update: resumeUpdate, run: (command) => resumeSubscription({ subscription: id, command }) },
      { update: withdrawUpdate, run: (command) => withdrawChange({ subscription: id, command }) },
    ],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof subscription>({ schemaVersion: 1, rest }),
  })
}

async function pass(id: string, granted: GrantStep[]): Promise<Pass> {
  const { observation, events, at, stray } = await observeSubscription({ subscription: id })
  const plan = observation === null ? undefined : decideSubscription(observation)
  if (plan === undefined) {
    // Nothing of ours: its events are done with, and so is the run.
    await settleEvents({ events, stray })
    const details =
      observation === null ? 'Stripe has no such subscription.' : 'It belongs to no account of ours.'
    return { at, deadline: null, over: true, turn: null, attention: null, details, attributes: [] }
  }
  const applied = await applySubscription({ plan, events })
  // another subscription of the account was faster: nothing was done
  if ('stale' in applied) return await pass(id, granted)
  const { role, settled } = applied
  granted.push(...plan.grants)
  const { mirror } = plan
  return {
    at,
    deadline: mirror.deadline,
    over: plan.over,
    turn: mirror.periodStart,
    // histories before approvals say nothing of it
    attention: mirror.attention ?? (role === 'duplicate' && !settled ? 'duplicate_subscription' : null),
    details: detailsOf(plan, role, granted),
    attributes: [
      { key: ATTRIBUTE.account, value: mirror.account },
      { key: ATTRIBUTE.plan, value: mirror.plan ?? 'unknown' },
      { key: ATTRIBUTE.status, value: mirror.status },
      ...(mirror.periodEnd === null ? [] : [{ key: ATTRIBUTE.periodEnd, value: new Date(mirror.periodEnd) }]),
    ],
  }
}

/** What a support person reads. Ids, dates and amounts only. */
function detailsOf({ mirror }: SubscriptionPlan, role: string, granted: GrantStep[]): string {
  const rows = [
    ['account', mirror.account],
    ['plan', `${mirror.plan ?? 'unknown'} (${mirror.interval ?? '?'}) × ${mirror.quantity}`],
    [
      'status',
      mirror.status +
        (mirror.paused === true ? ', **paused**' : '') +
        (role === 'duplicate' ? ', **duplicate**' : ''),
    ],
    ['period', `${mirror.periodStart ?? '?'} to ${mirror.periodEnd ?? '?'}`],
    ['changes', changesIn(mirror)],
    ['to be paid', owedIn(mirror)],
    ['ends', mirror.endedAt ?? mirror.cancelAt ?? 'renews'],
    ['looks again', mirror.deadline ?? 'never: it is over'],
    ['attention', mirror.attention ?? 'none'],
    ['seen', mirror.observedAt],
  ]
  const table = ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)]
  const grants = granted.map((grant) => `- granted ${grant.amount} credits (${grant.reason}, ${grant.key})`)
  return [...table, '', ...grants].join('\n')
}

function changesIn({ pending }: SubscriptionPlan['mirror']): string {
  if (pending == null) return 'nothing by itself'
  const when = pending.effectiveAt ?? `when ${pending.cause} is paid, until ${pending.expiresAt ?? '?'}`
  return `to ${pending.plan ?? 'unknown'} (${pending.interval ?? '?'}) × ${pending.quantity}, ${when}`
}

function owedIn({ payment }: SubscriptionPlan['mirror']): string {
  if (payment == null) return 'nothing'
  const next = payment.nextAttemptAt ?? 'not by itself'
  return `${payment.invoice}: ${payment.status}, ${payment.attempts} attempts, again ${next}`
}
