/** What must be true after the storm: the books verify, every account has its lots, and Stripe says the same. */
import { Decimal } from 'decimal.js'
import { violations } from '../../src/ledger/invariant.ts'
import type { Stack } from '../../test/support/stack.ts'
import { PLAN, type Subscriber } from './setup.ts'

interface Oracle {
  paid: { subscription: string | null; lines: { id: string }[] }[]
}

/**
 * Compares the ledger with what Stripe was paid, account by account and line by line.
 * @param periods how many were paid in all, the first among them
 * @returns what was compared, in words
 * @throws Error with everything that differs
 */
export async function proveAll(stack: Stack, subscribers: Subscriber[], periods: number): Promise<string> {
  const wrong = (await violations(stack.database.owner)).map((each) => JSON.stringify(each))
  const { rows } = await stack.database.owner.query<{ account_id: string; keys: string[]; balance: string }>(
    `select w.account_id, w.balance::text, array_agg(p.key order by p.seq) filter (where p.kind = 'grant') as keys
       from wallet w join posting p using (account_id) group by w.account_id, w.balance`,
  )
  const books = new Map(rows.map((row) => [row.account_id, row]))
  let lines = 0
  for (const { account, customer } of subscribers) {
    const { paid } = await stack.control<Oracle>(`oracle/${customer}`)
    const billed = paid.flatMap((invoice) => invoice.lines.map(({ id }) => `invoice_line:${id}`)).sort()
    const row = books.get(account)
    const granted = [...(row?.keys ?? [])].sort()
    lines += billed.length
    if (billed.length !== periods) wrong.push(`${account}: Stripe was paid ${billed.length} times`)
    if (billed.join() !== granted.join())
      wrong.push(`${account}: paid ${billed.join()}, granted ${granted.join()}`)
    // each new period's lot ends the one before, so one month is what is left
    if (!new Decimal(row?.balance ?? 0).eq(PLAN.credits)) wrong.push(`${account}: balance ${row?.balance}`)
  }
  if (wrong.length > 0)
    throw new Error(`the storm left ${wrong.length} things wrong:\n${wrong.slice(0, 20).join('\n')}`)
  return `${subscribers.length} accounts, ${lines} paid lines in Stripe, as many grants under their keys; no invariant broken`
}
