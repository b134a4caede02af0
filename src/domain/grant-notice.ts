/** The notice of credits that arrived without being bought as a pack: a plan's month, or a gift. */
import type { Instant } from './calendar.ts'
import { noticeKey } from './id.ts'
import type { PlannedNotice } from './notice.ts'

export interface Arrival {
  account: string
  /** the posting's business key */
  key: string
  posting: string
  amount: string
  /** after it */
  balance: string
  /** the posting's reason; of a gift, its kind: what a person writes there is for the ledger */
  reason: string
  /** null: never */
  expiresAt: Instant | null
  subscription: string | null
  /** ids of what it came from */
  source?: Record<string, string>
}

export function grantNotice(arrival: Arrival): PlannedNotice {
  const { account, key, source = {}, ...data } = arrival
  const { posting, amount, balance, reason, expiresAt, subscription } = data
  return {
    account,
    kind: 'credits_granted',
    key: noticeKey.granted(key),
    cause: { ...source, posting },
    data: { posting, amount, balance, reason, expiresAt, subscription },
  }
}
