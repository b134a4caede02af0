/** What is measured in the process itself: the bare statement, and a spend through the queue. */
import { randomUUID } from 'node:crypto'
import { parseCredits } from '../src/domain/credits.ts'
import { SpendQueue } from '../src/ledger/spend-queue.ts'
import type { Pool } from '../src/store/connect.ts'
import { accountOf } from './seed.ts'
import type { Case } from './spend.ts'

/** How many accounts a spread load is over. */
export const SPREAD = 10_000

/**
 * The least that a durable debit must do: a conditional `UPDATE` of the balance and an `INSERT` with a unique key, in one
 * prepared statement.
 */
export const BARE = `with paid as (update bare_wallet set balance = balance - $2 where id = $1 and balance >= $2 returning id)
  insert into bare_ledger (wallet, amount, key) select id, $2, $3 from paid`

export function libraryCases(pool: Pool, accounts: number): Case[] {
  const amount = parseCredits('0.01')
  const queue = new SpendQueue(pool)
  const hot = () => 0
  const spread = () => Math.floor(Math.random() * accounts)
  const bare = (pick: () => number) => async () => {
    const { rowCount } = await pool.query({
      name: 'bare',
      text: BARE,
      values: [pick(), '0.01', randomUUID()],
    })
    if (rowCount !== 1) throw new Error('the bare statement did nothing')
  }
  const ours = (pick: () => number) => async () => {
    const { replayed } = await queue.spend({
      account: accountOf(pick()),
      key: randomUUID(),
      amount,
      feature: 'bench',
      actor: 'key_bench',
    })
    if (replayed) throw new Error('a fresh key was known')
  }
  return [
    ...[1, 8, 32].map((callers) => ({ name: 'bare hot', callers, call: bare(hot) })),
    ...[1, 32, 256].map((callers) => ({ name: 'ours hot', callers, call: ours(hot) })),
    ...[1, 32].map((callers) => ({ name: 'bare spread', callers, call: bare(spread) })),
    ...[1, 32, 256].map((callers) => ({ name: 'ours spread', callers, call: ours(spread) })),
  ]
}
