/** Business time (law 14). One authority: Postgres, whose wall the sandbox may move; nobody else may. */
import type { Queryable } from './store/connect.ts'

/** Now, in business time, as an ISO instant. */
export async function businessNow(database: Queryable): Promise<string> {
  const { rows } = await database.query<{ now: Date }>('select business_now() as now')
  const now = rows[0]?.now
  if (now === undefined) throw new Error('Postgres did not tell the time')
  return now.toISOString()
}
