/** The life of one approval: it waits for another person's decision, is carried out once, or expires. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import type { ApprovalSight } from '../activities/approval.ts'
import { type ApprovalState, stepOf } from '../domain/approval.ts'
import { approvalOf } from '../domain/id.ts'
import { live, type Pass } from './entity.ts'
import { type ApprovalInput, approveUpdate, ATTRIBUTE, rejectUpdate } from './message.ts'
import { approvalActivities } from './proxy.ts'

type Seen = NonNullable<ApprovalSight['approval']>

const { observeApproval, decideApproval, carryOutApproval, expireApproval } = approvalActivities

export async function approval(input: ApprovalInput): Promise<void> {
  const id = approvalOf(workflowInfo().workflowId) ?? ''
  const decide = (command: string) => decideApproval({ approval: id, command })
  await live({
    pass: () => pass(id),
    commands: [
      { update: approveUpdate, run: decide },
      { update: rejectUpdate, run: decide },
    ],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof approval>({ schemaVersion: 1, rest }),
  })
}

async function pass(id: string): Promise<Pass> {
  const { at, approval: seen } = await observeApproval({ approval: id })
  const over = { at, deadline: null, over: true, turn: null, attention: null }
  if (seen === null) return { ...over, details: 'No such approval.', attributes: [] }
  const step = stepOf(seen, at)
  let { state } = seen
  if (step === 'expire') state = await expireApproval({ approval: id })
  if (step === 'carry_out') state = await carryOutApproval({ approval: id })
  const waits = state === 'pending'
  return {
    ...over,
    deadline: waits ? seen.expiresAt : null,
    over: !waits,
    details: detailsOf(seen, state, at),
    attributes: [
      { key: ATTRIBUTE.account, value: seen.account },
      { key: ATTRIBUTE.status, value: state },
    ],
  }
}

/** What a support person reads. Ids, dates and amounts only. */
function detailsOf(seen: Seen, state: ApprovalState, at: string): string {
  const rows = [
    ['kind', seen.kind],
    ['account', seen.account],
    ['state', state === 'pending' ? '**pending**: another person decides' : state],
    ['asked by', `${seen.requestedBy} (${seen.reasonCode})`],
    ['asked at', seen.requestedAt],
    ['expires', seen.expiresAt],
    ['decided by', seen.decidedBy === null ? 'nobody' : `${seen.decidedBy} at ${seen.decidedAt ?? '?'}`],
    ['seen', at],
  ]
  const facts = (title: string, of: object) =>
    Object.entries(of).map(([name, value]) => `| ${title}: ${name} | ${String(value)} |`)
  return [
    '| | |',
    '|---|---|',
    ...rows.map(([name, value]) => `| ${name} | ${value} |`),
    ...facts('plan', seen.plan),
    ...facts('result', seen.result ?? {}),
  ].join('\n')
}
