/** What is news about a subscription: what changed since the pass before, as notices. Pure. */
import type { PlanChangeFacts, PlannedNotice } from './notice.ts'
import { Exact, formatCredits } from './credits.ts'
import { paymentNotices } from './dunning.ts'
import { noticeKey } from './id.ts'
import { hasEnded } from './status.ts'
import type { GrantStep, Mirror, MirrorBefore, Observation, PendingFacts } from './subscription-facts.ts'

/** The news since the mirror before. How it stands at a first look is no news: what began it has told of it. */
export function noticesOf(seen: Observation, mirror: Mirror, grants: GrantStep[]): PlannedNotice[] {
  const { before } = seen
  const payments = paymentNotices(seen, mirror.account)
  if (before == null) return payments
  return [...planNews(seen, mirror, before, grants), ...payments, ...endNews(mirror, before)]
}

function planNews(
  seen: Observation,
  mirror: Mirror,
  before: MirrorBefore,
  grants: GrantStep[],
): PlannedNotice[] {
  const { account, id } = mirror
  const { latestInvoice } = seen.subscription
  const was = { priceId: before.priceId, quantity: before.quantity }
  const is = { priceId: mirror.priceId, quantity: mirror.quantity }
  const news: PlannedNotice[] = []
  const changed = was.priceId !== is.priceId || was.quantity !== is.quantity
  const facts = changed ? changeFacts(seen, was, is, seen.at) : undefined
  if (facts !== undefined) {
    const cause = { subscription: id, ...(latestInvoice == null ? {} : { invoice: latestInvoice }) }
    const brought = grants.filter(({ reason }) => reason === 'plan_change')
    const credits = brought.reduce((sum, { amount }) => sum.plus(amount), new Exact(0))
    news.push({
      account,
      kind: 'plan_changed',
      key: noticeKey.planChange(`${latestInvoice ?? id}:${is.priceId}:${is.quantity}`, 'changed'),
      cause,
      data: { ...facts, credits: brought.length === 0 ? null : formatCredits(credits) },
    })
  }
  const pending = mirror.pending ?? null
  if (pending !== null && pending.state === 'scheduled' && !samePending(pending, before.pending)) {
    news.push(...pendingNews('plan_change_scheduled', seen, mirror, is, pending))
  }
  // what was to change was dropped, unless it was made or another took its place
  const dropped = before.pending
  if (
    dropped !== null &&
    pending === null &&
    !(dropped.priceId === is.priceId && dropped.quantity === is.quantity)
  ) {
    news.push(...pendingNews('plan_change_withdrawn', seen, mirror, is, dropped))
  }
  return news
}

function pendingNews(
  kind: 'plan_change_scheduled' | 'plan_change_withdrawn',
  seen: Observation,
  { id, account }: Mirror,
  is: Has,
  pending: PendingFacts,
): PlannedNotice[] {
  const facts = changeFacts(seen, is, pending, pending.effectiveAt ?? seen.at)
  if (facts === undefined) return []
  const change = `${pending.cause}:${pending.priceId}:${pending.quantity}`
  const became = kind === 'plan_change_scheduled' ? 'scheduled' : 'withdrawn'
  return [
    {
      account,
      kind,
      key: noticeKey.planChange(change, became),
      cause: { subscription: id, change: pending.cause },
      data: facts,
    },
  ]
}

function samePending(one: PendingFacts, other: PendingFacts | null): boolean {
  return (
    other !== null &&
    one.cause === other.cause &&
    one.priceId === other.priceId &&
    one.quantity === other.quantity
  )
}

interface Has {
  priceId: string | null
  quantity: number
}

function changeFacts(
  seen: Observation,
  from: Has,
  to: Has,
  effectiveAt: string,
): PlanChangeFacts | undefined {
  const [was, will] = [seen.terms[from.priceId ?? ''], seen.terms[to.priceId ?? '']]
  if (was === undefined || will === undefined) return undefined
  return {
    subscription: seen.subscription.id,
    fromPlan: was.plan,
    fromName: was.planName,
    toPlan: will.plan,
    toName: will.planName,
    interval: will.interval,
    quantity: String(to.quantity),
    effectiveAt,
  }
}

function endNews(mirror: Mirror, before: MirrorBefore): PlannedNotice[] {
  const { account, id, plan, cancelAt, endedAt, observedAt } = mirror
  const cause = { subscription: id }
  if (hasEnded(mirror.status)) {
    if (hasEnded(before.status)) return []
    const data = { subscription: id, plan, endedAt: endedAt ?? observedAt }
    return [{ account, kind: 'subscription_ended', key: noticeKey.ended(id), cause, data }]
  }
  const news: PlannedNotice[] = []
  if (cancelAt !== null && cancelAt !== before.cancelAt) {
    const data = { subscription: id, plan, endsAt: cancelAt }
    news.push({
      account,
      kind: 'subscription_cancelling',
      key: noticeKey.cancelling(id, cancelAt),
      cause,
      data,
    })
  }
  if (cancelAt === null && before.cancelAt !== null) {
    const data = { subscription: id, plan }
    news.push({
      account,
      kind: 'subscription_resumed',
      key: noticeKey.resumed(id, before.cancelAt),
      cause,
      data,
    })
  }
  if (mirror.paused === true && !before.paused) {
    const data = { subscription: id, plan, resumesAt: null }
    news.push({
      account,
      kind: 'subscription_paused',
      key: noticeKey.paused(id, observedAt),
      cause,
      data,
    })
  }
  return news
}
