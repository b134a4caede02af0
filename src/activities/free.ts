/** What a free plan's workflow does to the world. Stripe knows nothing of it. */
import { businessNow } from '../clock.ts'
import { cancellationAnswer, decideFreeCancel } from '../domain/cancel.ts'
import type { Instant } from '../domain/calendar.ts'
import { type Foresight, foresightOf, refusalOutcome, refused } from '../domain/effect.ts'
import { decideFree, type FreeFacts, type FreeObservation, type FreePlan, freeKeys } from '../domain/free.ts'
import { noticeKey } from '../domain/id.ts'
import type { FreeTerms } from '../domain/plan.ts'
import { knownKeys, lockWallet } from '../ledger/lookup.ts'
import { rehearse } from '../ledger/rehearsal.ts'
import { resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Client, type Pool, transaction } from '../store/connect.ts'
import { cancelFreeAt, firstEnrolment, keepFree, paidBeside, readFree } from '../store/free.ts'
import { writeNotice } from '../store/notice.ts'
import { freePlanOnSale, freeTermsOf } from '../store/price-list.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { grantAndTell } from './granted.ts'
import { translated } from './translate.ts'

export interface FreeDeps {
  pool: Pool
}

export interface FreeSight {
  at: Instant
  /** null: there is no such subscription */
  observation: FreeObservation | null
}

export type FreeActivities = ReturnType<typeof createFreeActivities>

export function createFreeActivities({ pool }: FreeDeps) {
  return translated({
    async observeFree({ subscription: id }: { subscription: string }): Promise<FreeSight> {
      const found = await readFree(pool, id)
      const at = await businessNow(pool)
      if (found === undefined) return { at, observation: null }
      const { subscription, price } = found
      const terms = await freeTermsOf(pool, price)
      if (terms === undefined) throw new Error(`the terms ${price} of ${id} are not kept`)
      return { at, observation: await observe(pool, at, subscription, terms) }
    },

    /** Carries out a plan in one transaction: wallet first, then everything that must be true together. */
    async applyFree({ seen, plan }: { seen: FreeObservation; plan: FreePlan }): Promise<void> {
      await transaction(pool, (client) => apply(client, seen, plan))
    },

    /** Carries out an open command once. The row is there already, and the pass after it grants. */
    async openFree(input: { subscription: string; command: string }): Promise<CommandAnswer> {
      const command = await readCommand(pool, input.command)
      if (command?.answer !== undefined) return command.answer
      return await transaction(pool, async (client) => {
        const outcome = { state: 'done', statusCode: 201, result: {} } as const
        const finished = await finishCommand(client, input.command, outcome)
        await audit(client, command?.scope ?? null, input.subscription, 'enrolled', {})
        return finished
      })
    },

    /** Carries out a cancel command: the month that runs is the last one. Its row keeps the first answer. */
    async cancelFree(input: { subscription: string; command: string }): Promise<CommandAnswer> {
      return await transaction(pool, async (client) => {
        const subscription = (await readFree(client, input.subscription))?.subscription
        if (subscription === undefined) throw new Error(`there is no ${input.subscription}`)
        const { account } = subscription
        const decision = decideFreeCancel(subscription, await businessNow(client))
        if ('refused' in decision) return await finishCommand(client, input.command, refusalOutcome(decision))
        const { already, cancelAt, effects } = decision
        if (!already && cancelAt !== null) {
          await cancelFreeAt(client, input.subscription, cancelAt)
          await audit(client, account, input.subscription, 'cancelled', { cancel_at: cancelAt })
        }
        for (const notice of effects.notices) {
          await writeNotice(client, { ...notice, cause: { ...notice.cause, command: input.command } })
        }
        return await finishCommand(client, input.command, cancellationAnswer(cancelAt))
      })
    },
  })
}

/** Everything that a free plan's decision needs. */
async function observe(
  pool: Pool,
  at: Instant,
  subscription: FreeFacts,
  terms: FreeTerms,
): Promise<FreeObservation> {
  const { account, group } = subscription
  const paid = await paidBeside(pool, account, group)
  const known = await knownKeys(pool, account, freeKeys(subscription, at))
  return { at, subscription, terms, paid, known }
}

/** Carries out a plan inside the caller's transaction. */
async function apply(client: Client, seen: FreeObservation, plan: FreePlan): Promise<void> {
  const { id, account, status, deadline } = seen.subscription
  await lockWallet(client, account)
  // an earlier enrolment's last run may have granted a month that this one did not know of
  const keys = plan.grants.map(({ key }) => key)
  const known = new Set(await knownKeys(client, account, keys))
  for (const step of plan.grants) {
    if (known.has(step.key)) continue
    await grantAndTell(client, {
      account,
      key: step.key,
      kind: 'plan',
      amount: step.amount,
      expiresAt: step.expiresAt ?? undefined,
      recurring: { subscription: id, periodStart: step.periodStart, carry: step.carry },
      actor: 'system',
      reasonCode: 'free_period',
      source: step.source,
    })
  }
  await keepFree(client, id, plan, { at: seen.at, deadline })
  if (plan.status !== status) {
    await audit(client, account, id, 'ended', { status: plan.status })
    await writeNotice(client, {
      account,
      kind: 'subscription_ended',
      key: noticeKey.ended(id),
      cause: { subscription: id },
      data: { subscription: id, plan: seen.subscription.plan, endedAt: plan.endedAt ?? seen.at },
    })
  }
  await resolveAlert(client, 'needs_attention', id)
}

/** What enrolling would do: the row, and the first pass of its workflow. */
export async function foreseeEnrolment(
  { pool }: FreeDeps,
  { subject: id, input }: PreviewInput,
): Promise<Foresight> {
  const { account = '', plan = '' } = input
  const at = await businessNow(pool)
  const terms = await freePlanOnSale(pool, plan)
  if (terms === undefined) return foresightOf(at, refused(404, 'plan_not_found', 'the plan is not on sale'))
  const { group } = terms
  const anchor = (await firstEnrolment(pool, account, group)) ?? at
  const enrolled = { id, account, plan, group, anchor, created: at, deadline: at } as const
  const seen = await observe(pool, at, { ...enrolled, status: 'active', cancelAt: null }, terms)
  const decided = decideFree(seen)
  const foreseen = await rehearse(pool, {
    account,
    refusalLeaves: 'nothing',
    async act(client) {
      await apply(client, seen, decided)
      return decided.deadline === null ? [] : [{ what: 'credits_next', at: decided.deadline }]
    },
  })
  return { ...foreseen, at }
}

/** What a cancel command would do to a free plan. */
export async function foreseeCancelFree({ pool }: FreeDeps, { subject }: PreviewInput): Promise<Foresight> {
  const at = await businessNow(pool)
  const subscription = (await readFree(pool, subject))?.subscription
  return foresightOf(at, decideFreeCancel(subscription, at))
}

async function audit(
  client: Client,
  account: string | null,
  subject: string,
  reasonCode: string,
  detail: Record<string, unknown>,
): Promise<void> {
  await recordAudit(client, { account, actor: 'system', action: 'subscription', subject, reasonCode, detail })
}
