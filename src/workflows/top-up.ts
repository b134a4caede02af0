/** The automatic top-up of an account: woken when credits run low, it charges one pack at a time until they do not. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import { toppedUp } from '../domain/id.ts'
import { decideTopUp, type TopUpObservation, type TopUpPlan } from '../domain/top-up.ts'
import { live, type Pass } from './entity.ts'
import { ATTRIBUTE, type TopUpInput } from './message.ts'
import { topUpActivities } from './proxy.ts'

const { observeTopUp, claimTopUp, chargeTopUp, openTopUpPage, applyTopUp } = topUpActivities

export async function topUp(input: TopUpInput): Promise<void> {
  const account = toppedUp(workflowInfo().workflowId) ?? ''
  await live({
    pass: () => pass(account),
    commands: [],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof topUp>({ schemaVersion: 1, rest }),
  })
}

/** One step after the other, each decided by what is then so, until there is nothing to do but to wait. */
async function pass(account: string): Promise<Pass> {
  for (;;) {
    const { observation: seen, events } = await observeTopUp({ account })
    if (seen === null) return never()
    const plan = decideTopUp(seen)
    if (plan.step === 'charge') {
      if ((await claimTopUp({ account, method: plan.method })) !== null) await chargeTopUp({ account })
      continue
    }
    if (plan.step === 'look_up') {
      await chargeTopUp({ account })
      continue
    }
    const asks = plan.step === 'declined' && plan.authentication && seen.attempt !== null
    const payUrl = asks ? await openTopUpPage({ account, attempt: seen.attempt?.id ?? '' }) : null
    await applyTopUp({ seen, plan, payUrl, events })
    if (plan.step === 'rest' || plan.step === 'cap' || plan.step === 'stop') return passOf(seen, plan)
  }
}

function never(): Pass {
  const details = 'This account never asked for automatic top-up.'
  return { at: '', deadline: null, over: true, turn: null, attention: null, details, attributes: [] }
}

function passOf(seen: TopUpObservation, plan: Extract<TopUpPlan, { step: 'rest' | 'cap' | 'stop' }>): Pass {
  const { account, settings, attempt, charge } = seen
  const deadline = plan.step === 'stop' ? null : plan.deadline
  const status = plan.step === 'rest' ? restingAs(seen, plan) : plan.step
  const rows = [
    ['account', account],
    ['status', status],
    ['available', `${seen.available}, tops up below ${settings.threshold} with ${settings.pack}`],
    ['this month', `${seen.monthMinor} of ${settings.monthlyMaxMinor}`],
    ['in flight', attempt === null ? 'nothing' : `${attempt.id} ${charge?.id ?? ''} ${charge?.status ?? ''}`],
    ['declines in a row', `${settings.declines}`],
    ['looks again', deadline ?? 'when credits run low'],
  ]
  return {
    at: seen.at,
    deadline,
    over: deadline === null,
    turn: null,
    attention: null,
    details: ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)].join('\n'),
    attributes: [
      { key: ATTRIBUTE.account, value: account },
      { key: ATTRIBUTE.status, value: status },
    ],
  }
}

function restingAs({ settings }: TopUpObservation, plan: Extract<TopUpPlan, { step: 'rest' }>): string {
  if (plan.processing) return 'processing'
  if (!settings.enabled) return 'off'
  return plan.deadline === null ? 'watching' : 'waiting'
}
