/** A grant and the notice of it, together: whoever grants what was not bought as a pack does it here. */
import { grantNotice } from '../domain/grant-notice.ts'
import { grant, type GrantInput, type GrantResult } from '../ledger/post.ts'
import type { Client } from '../store/connect.ts'
import { writeNotice } from '../store/notice.ts'

/** As `grant`, inside the caller's transaction; what was granted before is not told again. */
export async function grantAndTell(client: Client, input: GrantInput): Promise<GrantResult> {
  const granted = await grant(client, input)
  if (granted.outcome === 'replayed') return granted
  const { account, key, source, reasonCode: reason, expiresAt = null, recurring } = input
  const { posting, amount, balanceAfter: balance } = granted
  const subscription = recurring?.subscription ?? null
  await writeNotice(
    client,
    grantNotice({ account, key, source, reason, expiresAt, posting, amount, balance, subscription }),
  )
  return granted
}
