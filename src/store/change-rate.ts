/**
 * How often a plan may be changed: as often as Stripe makes invoices of one subscription, which is ten a minute and
 * twenty a day. docs.stripe.com/rate-limits
 */
import { Refusal } from '../domain/error.ts'
import type { Client } from './connect.ts'

const A_MINUTE = 10
const A_DAY = 20

/**
 * Call it in the transaction that writes the change's command. Machine time, as Stripe counts.
 * @throws Refusal `change_rate` with `retry_after` in seconds
 */
export async function requireRate(client: Client, subscription: string): Promise<void> {
  const { rows } = await client.query<{ minute: number; day: number }>(
    `select count(*) filter (where created_at > clock_timestamp() - interval '1 minute')::int as minute,
            count(*)::int as day
       from command
      where owner = $1 and operation = 'change' and created_at > clock_timestamp() - interval '1 day'
        and (state = 'pending' or result ->> 'invoiced' = 'true')`,
    [subscription],
  )
  const { minute = 0, day = 0 } = rows[0] ?? {}
  // the one that asks is counted, too
  if (minute <= A_MINUTE && day <= A_DAY) return
  throw new Refusal(
    'change_rate',
    `a subscription is changed at most ${A_MINUTE} times a minute and ${A_DAY} times a day`,
    { retry_after: minute > A_MINUTE ? 60 : 3_600 },
  )
}
