/** What came of a top-up's charge, or of having none, written down in one transaction: grant, notice, counts. */
import type { Instant } from '../domain/calendar.ts'
import { noticeKey } from '../domain/id.ts'
import type { PlannedNotice } from '../domain/notice.ts'
import type { TopUpObservation, TopUpPlan } from '../domain/top-up.ts'
import { grant } from '../ledger/post.ts'
import { recordAudit } from '../store/audit.ts'
import type { Client } from '../store/connect.ts'
import { writeNotice } from '../store/notice.ts'
import { writePayment } from '../store/payment.ts'
import { endAttempt } from '../store/top-up-state.ts'

type Declined = Extract<TopUpPlan, { step: 'declined' }>
/** Steps that end in one transaction; the others ask Stripe first. */
export type TopUpOutcome = Exclude<TopUpPlan, { step: 'charge' | 'look_up' }>

/** What an outcome leaves counted. */
export function countsOf(plan: TopUpOutcome) {
  if (plan.step === 'settle') return { declines: 0, nextAttemptAt: null }
  if (plan.step === 'stop') return { stopped: plan.reason }
  if (plan.step !== 'declined' || !plan.counts) return {}
  const { declines, nextAttemptAt, stops } = plan
  return { declines, nextAttemptAt, ...(stops ? { stopped: 'declines' as const } : {}) }
}

/**
 * Carries out what came of it. Call it with the wallet locked.
 * @param payUrl where the customer pays himself
 * @returns when to look again; null: when somebody wakes it
 */
export async function carryOut(
  client: Client,
  seen: TopUpObservation,
  plan: TopUpOutcome,
  payUrl: string | null,
): Promise<Instant | null> {
  const { account, attempt, at, settings } = seen
  const cause = { account, ...(attempt === null ? {} : { attempt: attempt.id }) }
  const stopKey = `${account}:${settings.generation}`
  if (plan.step === 'rest') return plan.deadline
  if (plan.step === 'cap') {
    await tellStop(client, seen, 'monthly_cap', `${stopKey}:${plan.deadline}`)
    return plan.deadline
  }
  if (plan.step === 'stop') {
    await tellStop(client, seen, plan.reason, stopKey)
    return null
  }
  if (attempt === null) return at
  if (plan.step === 'give_up') {
    await endAttempt(client, attempt.id, { state: 'failed', code: 'not_charged' })
    await audit(client, seen, 'failed', {})
    return at
  }
  if (plan.step === 'declined') {
    const { code, payment, nextAttemptAt, stops } = plan
    const ended = await endAttempt(client, attempt.id, { state: 'declined', payment, code })
    if (!ended) return at
    await audit(client, seen, 'declined', { code })
    await writeNotice(client, declinedNotice(seen, plan, payUrl))
    if (stops) await tellStop(client, seen, 'declines', stopKey)
    return nextAttemptAt
  }
  const { payment, amountMinor, currency, paidAt, credits, key } = plan
  const ended = await endAttempt(client, attempt.id, { state: 'succeeded', payment, granted: credits })
  if (!ended) return at
  await writePayment(client, { id: payment, account, topUp: attempt.id, amountMinor, currency, paidAt })
  const granted = await grant(client, {
    account,
    key,
    kind: 'pack',
    amount: credits,
    payment,
    actor: 'system',
    reasonCode: 'top_up',
    source: { top_up: attempt.id, payment, price: attempt.terms.lookupKey },
  })
  await audit(client, seen, 'succeeded', { payment, credits })
  await writeNotice(client, {
    account,
    kind: 'top_up_completed',
    key: noticeKey.topUp(payment, 'completed'),
    cause: { ...cause, payment },
    data: {
      payment,
      amountMinor,
      currency,
      posting: granted.posting,
      credits,
      balance: granted.balanceAfter,
    },
  })
  return at
}

function declinedNotice(
  { account, attempt }: TopUpObservation,
  { payment, authentication, nextAttemptAt }: Declined,
  payUrl: string | null,
): PlannedNotice {
  const id = attempt?.id ?? account
  const { unitAmount: amountMinor = '0', currency = '' } = attempt?.terms ?? {}
  const about = payment ?? id
  const cause = { account, attempt: id }
  if (authentication) {
    return {
      account,
      kind: 'payment_action_required',
      key: noticeKey.actionRequired(about),
      cause,
      data: { amountMinor, currency, payment: about, subscription: null, payUrl },
    }
  }
  return {
    account,
    kind: 'top_up_declined',
    key: noticeKey.topUp(about, 'declined'),
    cause,
    data: { amountMinor, currency, payment: about, nextAttemptAt, updateUrl: null },
  }
}

async function tellStop(
  client: Client,
  { account }: TopUpObservation,
  reason: 'declines' | 'monthly_cap' | 'no_payment_method' | 'pack_not_on_sale',
  key: string,
): Promise<void> {
  await writeNotice(client, {
    account,
    kind: 'top_up_stopped',
    key: noticeKey.topUpStopped(key),
    cause: { account },
    data: { reason, updateUrl: null },
  })
}

async function audit(
  client: Client,
  { account, attempt }: TopUpObservation,
  reasonCode: string,
  detail: Record<string, string>,
): Promise<void> {
  const subject = attempt?.id ?? account
  await recordAudit(client, { account, actor: 'system', action: 'top_up', subject, reasonCode, detail })
}
