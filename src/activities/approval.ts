/** What an approval's workflow does to the world: look at it, decide it, carry it out once, let it expire. */
import { businessNow } from '../clock.ts'
import { type ApprovalState, whyNotDecide } from '../domain/approval.ts'
import type { Instant } from '../domain/calendar.ts'
import { Refusal } from '../domain/error.ts'
import { noticeKey, workflowId } from '../domain/id.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { raiseAlert, resolveAlert } from '../store/alert.ts'
import {
  type Approval,
  keepDecision,
  keepEnd,
  lockApproval,
  planHash,
  readApproval,
} from '../store/approval.ts'
import { recordAudit } from '../store/audit.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Client, transaction } from '../store/connect.ts'
import { writeNotice } from '../store/notice.ts'
import type { CommandAnswer } from '../workflows/message.ts'
import { type CarryOutDeps, carrierOf, wakeOther } from './carry-out.ts'
import { refusalOf, translated } from './translate.ts'

export interface ApprovalSight {
  at: Instant
  /** null: there is no such approval */
  approval: Approval | null
}

export type ApprovalActivities = ReturnType<typeof createApprovalActivities>

export function createApprovalActivities(deps: CarryOutDeps) {
  const { pool } = deps

  /** The wallet first, then the approval: whoever comes second sees what the first has left. */
  async function locked<T>(
    { id, account }: Approval,
    work: (client: Client, approval: Approval, at: Instant) => Promise<T>,
  ): Promise<T> {
    return await transaction(pool, async (client) => {
      await lockWallet(client, account)
      const approval = await lockApproval(client, id)
      if (approval === undefined) throw new Error(`there is no approval ${id}`)
      return await work(client, approval, await businessNow(client))
    })
  }

  async function requireApproval(id: string): Promise<Approval> {
    const approval = await readApproval(pool, id)
    if (approval === undefined) throw new Refusal('approval_not_found', `there is no approval ${id}`)
    return approval
  }

  /** Carries out what was approved, unless that was done. Whatever of it is repeated finds what was done before. */
  async function carryOut(id: string): Promise<Approval> {
    const approval = await requireApproval(id)
    if (approval.state !== 'approved') return approval
    const carrier = carrierOf(approval)
    try {
      requireUntouched(approval)
      await carrier.inStripe?.(deps, approval)
      await locked(approval, async (client, now, at) => {
        if (now.state !== 'approved') return
        requireUntouched(now)
        const result = await carrier.apply(client, now, at)
        await keepEnd(client, id, { state: 'executed', at, result })
        await audit(client, now, now.decidedBy ?? 'system', 'executed', result)
        await resolveAlert(client, 'needs_attention', workflowId.approval(id))
      })
    } catch (error) {
      const why = staleness(error)
      if (why === undefined) throw error
      await locked(approval, async (client, now, at) => {
        if (now.state !== 'approved') return
        await keepEnd(client, id, { state: 'refused', at, result: why })
        await audit(client, now, now.decidedBy ?? 'system', 'refused', { code: why['code'] })
        if (why['tampered'] === true) await raiseAlert(client, 'approval_tampered', id, String(why['detail']))
        await resolveAlert(client, 'needs_attention', workflowId.approval(id))
      })
    }
    const after = await requireApproval(id)
    if (after.state === 'executed') await wakeOther(deps, after)
    return after
  }

  return translated({
    async observeApproval({ approval: id }: { approval: string }): Promise<ApprovalSight> {
      return { at: await businessNow(pool), approval: (await readApproval(pool, id)) ?? null }
    },

    /**
     * Carries out an approve or reject command once: its row keeps the answer. What was approved is done before it is
     * answered.
     */
    async decideApproval(input: { approval: string; command: string }): Promise<CommandAnswer> {
      const command = await readCommand(pool, input.command)
      if (command === undefined) throw new Refusal('command_not_found', `there is no ${input.command}`)
      if (command.answer !== undefined) return command.answer
      const { actor = '', reason_code: reason = null } = command.input
      const approves = command.operation === 'approve'
      const refused = await locked(await requireApproval(input.approval), async (client, now, at) => {
        // decided by this very request, which was cut off before it was answered
        if (now.command === command.id) return undefined
        const refusal = whyNotDecide(now, { actor, at })
        if (refusal !== undefined) {
          const { code, detail, statusCode } = refusal
          return await finishCommand(client, command.id, {
            state: 'refused',
            statusCode,
            result: { code, detail },
          })
        }
        const state = approves ? 'approved' : 'rejected'
        await keepDecision(client, now.id, { state, by: actor, at, reason, command: command.id })
        await audit(client, now, actor, state, { command: command.id, reason })
        await tellDecision(client, now, state, actor)
        return undefined
      })
      if (refused !== undefined) return refused
      const { id, state, result } = await carryOut(input.approval)
      if (state !== 'refused') {
        return await finishCommand(pool, command.id, { state: 'done', statusCode: 200, result: { state } })
      }
      return await finishCommand(pool, command.id, {
        state: 'refused',
        statusCode: 409,
        result: {
          code: 'approval_stale',
          detail: `it cannot be done any more: ${String(result?.['detail'])}`,
          approval: id,
          why: result?.['code'],
        },
      })
    },

    /** Carries out what was approved by a request whose worker died. */
    async carryOutApproval({ approval }: { approval: string }): Promise<ApprovalState> {
      return (await carryOut(approval)).state
    },

    /** Ends one that nobody decided in time. */
    async expireApproval({ approval: id }: { approval: string }): Promise<ApprovalState> {
      return await locked(await requireApproval(id), async (client, now, at) => {
        if (now.state !== 'pending' || at < now.expiresAt) return now.state
        await keepEnd(client, id, { state: 'expired', at: now.expiresAt, result: null })
        await audit(client, now, 'system', 'expired', {})
        await tellDecision(client, now, 'expired', 'system')
        await resolveAlert(client, 'needs_attention', workflowId.approval(id))
        return 'expired'
      })
    },
  })
}

/** @throws Refusal when the plan is not the one that was asked for: somebody wrote into the table */
function requireUntouched(approval: Approval): void {
  if (planHash(approval) === approval.planHash) return
  const detail = 'the stored plan is not the one that was asked for'
  throw new Refusal('approval_stale', detail, { tampered: true })
}

/** Why it cannot be done any more, whoever tries again; undefined for what may pass. */
function staleness(error: unknown): Record<string, unknown> | undefined {
  if (error instanceof Refusal) return { code: error.code, detail: error.message, ...error.data }
  // a sum that no account can have
  if (error instanceof Error && 'code' in error && error.code === '22003') {
    return { code: 'balance_limit', detail: 'no account can have or owe that many credits' }
  }
  return refusalOf(error)
}

async function audit(
  client: Client,
  { id, account }: Approval,
  actor: string,
  reasonCode: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await recordAudit(client, { account, actor, action: 'approval', subject: id, reasonCode, detail })
}

async function tellDecision(
  client: Client,
  { id, account, kind }: Approval,
  decision: string,
  decidedBy: string,
): Promise<void> {
  await writeNotice(client, {
    account,
    kind: 'approval_decided',
    key: noticeKey.approval(id, 'decided'),
    cause: { approval: id },
    data: { approval: id, approvalKind: kind, decision, decidedBy },
  })
}
