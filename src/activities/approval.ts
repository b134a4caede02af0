/** What an approval's workflow does to the world: look at it, decide it, carry it out once, let it expire. */
import { businessNow } from '../clock.ts'
import { type ApprovalState, SYSTEM, whyNotDecide } from '../domain/approval.ts'
import type { Instant } from '../domain/calendar.ts'
import type { Foresight } from '../domain/effect.ts'
import { Refusal } from '../domain/error.ts'
import { approvalOf, noticeKey, workflowId } from '../domain/id.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { rehearse } from '../ledger/rehearsal.ts'
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
import { type Command, finishCommand, readCommand } from '../store/command.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { writeNotice } from '../store/notice.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { type CarryOutDeps, carrierOf, type SeeingDeps, wakeOthers } from './carry-out.ts'
import { passAfter, type Seer } from './change-preview.ts'
import { applyPlan } from './subscription.ts'
import { refusalOf, translated } from './translate.ts'

export interface ApprovalSight {
  at: Instant
  /** null: there is no such approval */
  approval: Approval | null
}

export type ApprovalActivities = ReturnType<typeof createApprovalActivities>

export function createApprovalActivities(deps: CarryOutDeps) {
  const { pool } = deps

  /** Carries out what was approved, unless that was done. Whatever of it is repeated finds what was done before. */
  async function carryOut(id: string): Promise<Approval> {
    const approval = await requireApproval(pool, id)
    if (approval.state === 'approved') await tryOut(approval)
    const after = await requireApproval(pool, id)
    // after it was written down, so that nobody takes back what another worker has carried out
    if (after.state === 'refused') await carrierOf(after).takeBack?.(deps, after)
    if (after.state === 'executed' || after.state === 'refused') await wakeOthers(deps, after)
    return after
  }

  /** Leaves it `executed`, or `refused` when what it rests on has changed. */
  async function tryOut(approval: Approval): Promise<void> {
    try {
      await (await inStripe(deps, approval))?.ask()
      await transaction(pool, async (client) => {
        const { now, at } = await locked(client, approval)
        if (now.state === 'approved') await execute(client, now, at)
      })
    } catch (error) {
      const why = staleness(error)
      if (why === undefined) throw error
      await transaction(pool, async (client) => {
        const { now, at } = await locked(client, approval)
        if (now.state === 'approved') await giveUp(client, now, at, why)
      })
    }
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
      const approval = await requireApproval(pool, input.approval)
      const refused = await transaction(pool, async (client) => {
        const { now, at } = await locked(client, approval)
        // decided by this very request, which was cut off before it was answered
        if (now.command === command.id) return undefined
        const refusal = whyNotDecide(now, { actor: command.input['actor'] ?? '', at })
        if (refusal === undefined) return await decide(client, now, at, command)
        const { code, detail, statusCode } = refusal
        const result = { code, detail, approval: now.id }
        return await finishCommand(client, command.id, { state: 'refused', statusCode, result })
      })
      if (refused !== undefined) return refused
      const { id, state, result } = await carryOut(input.approval)
      if (state !== 'refused') {
        return await finishCommand(pool, command.id, { state: 'done', statusCode: 200, result: { state } })
      }
      const { data, ...stale } = staleAnswer(id, result ?? {})
      return await finishCommand(pool, command.id, {
        state: 'refused',
        statusCode: 409,
        result: { ...stale, ...data },
      })
    },

    /** Carries out what was approved by a request whose worker died. */
    async carryOutApproval({ approval }: { approval: string }): Promise<ApprovalState> {
      return (await carryOut(approval)).state
    },

    /** Ends one that nobody decided in time. */
    async expireApproval({ approval: id }: { approval: string }): Promise<ApprovalState> {
      const approval = await requireApproval(pool, id)
      return await transaction(pool, async (client) => {
        const { now, at } = await locked(client, approval)
        if (now.state !== 'pending' || at < now.expiresAt) return now.state
        await keepEnd(client, id, { state: 'expired', at: now.expiresAt, result: null })
        await audit(client, now, SYSTEM, 'expired', {})
        await tellDecision(client, now, 'expired', SYSTEM)
        await resolveAlert(client, 'needs_attention', workflowId.approval(id))
        return 'expired'
      })
    },
  })
}

/** What an approve or reject command would do: it is done here, looked at, and taken back. */
export async function foreseeDecision(
  deps: SeeingDeps & Seer,
  { subject, operation, input }: PreviewInput,
): Promise<Foresight> {
  const { pool } = deps
  const approval = await requireApproval(pool, approvalOf(subject) ?? '')
  // what Stripe would be asked for is found before anything is locked
  const seen = operation === 'approve' ? await inStripe(deps, approval).catch(asRefusal) : undefined
  const asked = seen instanceof Refusal ? undefined : seen
  const pass = asked && (await passAfter(deps, asked.subscription, asked.steps))
  const foresight = await rehearse(pool, {
    account: approval.account,
    // the decision itself stands also when what was approved cannot be done any more
    refusalLeaves: 'lapses',
    async act(client) {
      const { now, at } = await locked(client, approval)
      const refusal = whyNotDecide(now, { actor: input['actor'] ?? '', at })
      if (refusal !== undefined) throw new Refusal(refusal.code, refusal.detail, { approval: now.id })
      await decide(client, now, at, { id: PREVIEWED, operation, input })
      if (operation !== 'approve') return []
      try {
        if (seen instanceof Refusal) throw seen
        await execute(client, { ...now, decidedBy: input['actor'] ?? '', state: 'approved' }, at)
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        const { code, detail, data } = staleAnswer(now.id, { code: error.code, detail: error.message })
        throw new Refusal(code, detail, data)
      }
      // the subscription is woken, and looks
      if (pass !== undefined) await applyPlan(client, pass, [])
      return asked?.effects.dates ?? []
    },
  })
  if (foresight.refusal !== null || asked === undefined) return foresight
  return { ...foresight, effects: { ...foresight.effects, stripe: asked.effects.stripe } }
}

/** The command of a preview, which is never written. */
const PREVIEWED = 'cmd_preview'

function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  throw error
}

async function requireApproval(pool: Pool, id: string): Promise<Approval> {
  const approval = await readApproval(pool, id)
  if (approval === undefined) throw new Refusal('approval_not_found', `there is no approval ${id}`)
  return approval
}

/** Locks the wallet first, then the approval, then asks for the time: who comes second sees what the first has left. */
async function locked(client: Client, { id, account }: Approval): Promise<{ now: Approval; at: Instant }> {
  await lockWallet(client, account)
  const now = await lockApproval(client, id)
  if (now === undefined) throw new Error(`there is no approval ${id}`)
  return { now, at: await businessNow(client) }
}

/** Writes the decision of a command down. */
async function decide(
  client: Client,
  approval: Approval,
  at: Instant,
  { id: command, operation, input }: Pick<Command, 'id' | 'input'> & { operation: string },
): Promise<undefined> {
  const { actor: by = '', reason_code: reason = null } = input
  const state = operation === 'approve' ? 'approved' : 'rejected'
  await keepDecision(client, approval.id, { state, by, at, reason, command })
  await audit(client, approval, by, state, { command, reason })
  await tellDecision(client, approval, state, by)
}

/** What Stripe is to be asked for. @throws Refusal when what was approved cannot be done any more */
async function inStripe(deps: SeeingDeps, approval: Approval) {
  requireUntouched(approval)
  return await carrierOf(approval).inStripe?.(deps, approval)
}

/** Does what was approved, in the transaction that says that it is done. */
async function execute(client: Client, approval: Approval, at: Instant): Promise<void> {
  requireUntouched(approval)
  const result = await carrierOf(approval).apply(client, approval, at)
  await keepEnd(client, approval.id, { state: 'executed', at, result })
  await audit(client, approval, approval.decidedBy ?? SYSTEM, 'executed', result)
  await resolveAlert(client, 'needs_attention', workflowId.approval(approval.id))
}

/** What was approved cannot be done any more. */
async function giveUp(
  client: Client,
  approval: Approval,
  at: Instant,
  why: Record<string, unknown>,
): Promise<void> {
  const { id, decidedBy } = approval
  await keepEnd(client, id, { state: 'refused', at, result: why })
  await audit(client, approval, decidedBy ?? SYSTEM, 'refused', { code: why['code'] })
  if (why['tampered'] === true) await raiseAlert(client, 'approval_tampered', id, String(why['detail']))
  await resolveAlert(client, 'needs_attention', workflowId.approval(id))
}

/** What whoever approved is told then. */
function staleAnswer(approval: string, why: Record<string, unknown>) {
  return {
    code: 'approval_stale' as const,
    detail: `it cannot be done any more: ${String(why['detail'])}`,
    data: { approval, why: why['code'] },
  }
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
