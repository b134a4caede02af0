/** Credits that nobody bought, given by people with a reason. The one kind of grant that a request may ask for. */
import type { Exact } from '../domain/credits.ts'
import { Refusal } from '../domain/error.ts'
import { postingKey } from '../domain/id.ts'
import type { Client } from '../store/connect.ts'
import { grant, type GrantResult } from './post.ts'

export const GIFT_KINDS = ['goodwill', 'promotion'] as const

export interface GiftInput {
  account: string
  /** the caller's Idempotency-Key */
  key: string
  kind: (typeof GIFT_KINDS)[number]
  amount: Exact
  /** business time; absent: never */
  expiresAt: string | undefined
  /** the lower burns first among credits that expire together */
  priority: number
  actor: string
  reasonCode: string
  metadata?: Record<string, string> | undefined
}

/**
 * Gives credits inside the caller's transaction; a debt is repaid first. Safe to retry under the same key: a replay
 * answers as first given, also after the credits have expired.
 * @throws Refusal `expiry_past`; `account_not_found`; `idempotency_key_reused`
 */
export async function give(client: Client, input: GiftInput): Promise<GrantResult> {
  const { key, expiresAt, priority, reasonCode } = input
  const granted = await grant(client, {
    ...input,
    key: postingKey.grant(key),
    source: {},
    content: { reason_code: reasonCode, expires_at: expiresAt ?? null, priority: String(priority) },
  })
  // under the lock it is known when this is, and whether it is new
  const late = expiresAt !== undefined && new Date(expiresAt) <= granted.occurredAt
  if (late && granted.outcome === 'granted') {
    throw new Refusal('expiry_past', 'expires_at must be in the future')
  }
  return granted
}
