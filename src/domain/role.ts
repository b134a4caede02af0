/**
 * Which of an account's live subscriptions of a plan group is its plan, and which are paid for beside it. Decided anew
 * on every pass, from what is there, so that whoever comes first, last or again finds the same. Pure.
 */
import type { Instant } from './calendar.ts'
import { hasEnded } from './status.ts'
import type { Mirror } from './subscription-facts.ts'

/** `duplicate`: another live subscription of its group is the account's plan. It is granted, and a person is asked. */
export type Role = 'primary' | 'duplicate'

/** A subscription in Stripe of the account, as its last pass left it. */
export interface Standing {
  id: string
  role: Role
  group: string
  status: string
  /** since when an approval says that it ends with its period; null: none does */
  keptAt: Instant | null
}

export interface RoleDecision {
  role: Role
  /** the live primary beside which it is a duplicate; null: there is none */
  beside: string | null
  /** a duplicate that nobody has settled, or that goes on although it was to end */
  unsettled: boolean
  /** other live duplicates, of groups without a live primary: each is to be looked at */
  orphans: string[]
}

/**
 * Decides the role of a subscription.
 * @param standing every live subscription in Stripe of its account, of whatever group; and itself, when it was seen before
 */
export function decideRole(
  mirror: Pick<Mirror, 'id' | 'group' | 'status' | 'cancelAt' | 'observedAt'>,
  standing: Standing[],
): RoleDecision {
  const before = standing.find(({ id }) => id === mirror.id)
  const others = standing.filter(({ id, status }) => id !== mirror.id && !hasEnded(status))
  const primaries = others.filter(({ role }) => role === 'primary')
  const beside = primaries.find(({ group }) => group === mirror.group)?.id ?? null
  const ended = hasEnded(mirror.status)
  const now = beside === null ? 'primary' : 'duplicate'
  // what has ended stays what it was
  const role = ended ? (before?.role ?? now) : now
  const held = new Set(primaries.map(({ group }) => group))
  if (role === 'primary' && !ended) held.add(mirror.group)
  return {
    role,
    beside,
    unsettled: role === 'duplicate' && !isKept(mirror, before?.keptAt ?? null),
    orphans: others
      .filter(({ role: theirs, group }) => theirs === 'duplicate' && !held.has(group))
      .map(({ id }) => id),
  }
}

/** Whether it ends as was approved. Who looked before that was done has not seen it yet. */
function isKept(
  { status, cancelAt, observedAt }: Pick<Mirror, 'status' | 'cancelAt' | 'observedAt'>,
  keptAt: Instant | null,
): boolean {
  return keptAt !== null && (hasEnded(status) || cancelAt !== null || observedAt <= keptAt)
}
