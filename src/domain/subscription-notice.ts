/** What is news about a subscription: what changed since the pass before, as notices. Pure. */
import type { NoticeKind, PlanChangeFacts, PlannedNotice } from './notice.ts'
import { Exact, formatCredits } from './credits.ts'
import { paymentNotices } from './dunning.ts'
import { noticeKey } from './id.ts'
import { hasEnded } from './status.ts'
import type { GrantStep, Mirror, MirrorBefore, Observation, PendingFacts } from './subscription-facts.ts'

/**
 * The news since the mirror before. How it stands at a first look is no news: what began it has told of it.
 * @returns `news`: how many passes have found some by now. A pass that is applied twice counts once, for both begin at
 *   the same mirror, and so it is told once
 */
export function noticesOf(
  seen: Observation,
  mirror: Mirror,
  grants: GrantStep[],
): { notices: PlannedNotice[]; news: number } {
  const { before } = seen
  const payments = paymentNotices(seen, mirror.account)
  if (before == null) return { notices: payments, news: 0 }
  const told = before.news ?? 0
  const keyOf = (kind: NoticeKind) => noticeKey.news(kind, mirror.id, told + 1)
  const plan = planNews({ seen, mirror, before, keyOf }, grants)
  const end = endNews({ seen, mirror, before, keyOf })
  const isNews = plan.length + end.length > 0
  return { notices: [...plan, ...payments, ...end], news: isNews ? told + 1 : told }
}

interface Look {
  seen: Observation
  mirror: Mirror
  before: MirrorBefore
  keyOf: (kind: NoticeKind) => string
}

function planNews({ seen, mirror, before, keyOf }: Look, grants: GrantStep[]): PlannedNotice[] {
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
      key: keyOf('plan_changed'),
      cause,
      data: { ...facts, credits: brought.length === 0 ? null : formatCredits(credits) },
    })
  }
  const pending = mirror.pending ?? null
  if (pending !== null && pending.state === 'scheduled' && !samePending(pending, before.pending)) {
    news.push(...pendingNews('plan_change_scheduled', { seen, mirror, keyOf }, is, pending))
  }
  // what was to change was dropped, unless it was made or another took its place
  const dropped = before.pending
  if (
    dropped !== null &&
    pending === null &&
    !(dropped.priceId === is.priceId && dropped.quantity === is.quantity)
  ) {
    news.push(...pendingNews('plan_change_withdrawn', { seen, mirror, keyOf }, is, dropped))
  }
  return news
}

function pendingNews(
  kind: 'plan_change_scheduled' | 'plan_change_withdrawn',
  { seen, mirror: { id, account }, keyOf }: Omit<Look, 'before'>,
  is: Has,
  pending: PendingFacts,
): PlannedNotice[] {
  const facts = changeFacts(seen, is, pending, pending.effectiveAt ?? seen.at)
  if (facts === undefined) return []
  const cause = { subscription: id, change: pending.cause }
  return [{ account, kind, key: keyOf(kind), cause, data: facts }]
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

function endNews({ seen, mirror, before, keyOf }: Look): PlannedNotice[] {
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
    const kind = 'subscription_cancelling'
    news.push({ account, kind, key: keyOf(kind), cause, data })
  }
  if (cancelAt === null && before.cancelAt !== null) {
    const kind = 'subscription_resumed'
    news.push({ account, kind, key: keyOf(kind), cause, data: { subscription: id, plan } })
  }
  if (mirror.paused === true && !before.paused) {
    const kind = 'subscription_paused'
    const resumesAt = seen.subscription.paused?.resumesAt ?? null
    news.push({ account, kind, key: keyOf(kind), cause, data: { subscription: id, plan, resumesAt } })
  }
  if (mirror.paused !== true && before.paused) {
    const kind = 'subscription_unpaused'
    news.push({ account, kind, key: keyOf(kind), cause, data: { subscription: id, plan } })
  }
  return news
}
