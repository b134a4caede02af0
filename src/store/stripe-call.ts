/** Calls that change something in Stripe: written down before they are sent, answered when their outcome is known. */
import type { Instant } from '../domain/calendar.ts'
import type { WrittenCall } from '../domain/stripe-call.ts'
import type { Queryable } from './connect.ts'

/** What a call is: its key, and for whoever reads the table what kind it is and what it is about. */
export interface CallName {
  key: string
  kind: string
  subject: string
}

/** Writes a call down, unless it is, and answers how it stands, with business now. */
export async function writeCall(
  database: Queryable,
  { key, kind, subject }: CallName,
): Promise<{ call: WrittenCall; now: Instant }> {
  const { rows } = await database.query<{
    generation: number
    asked_at: Date
    sent_at: Date
    object_id: string | null
    now: Date
  }>(
    // an update that changes nothing, because whoever loses the race is to read what the other one wrote
    `insert into stripe_call (key, kind, subject) values ($1, $2, $3)
     on conflict (key) do update set key = excluded.key
     returning generation, asked_at, sent_at, object_id, business_now() as now`,
    [key, kind, subject],
  )
  const [row] = rows
  if (row === undefined) throw new Error(`Postgres did not keep the call ${key}`)
  return {
    call: {
      generation: row.generation,
      askedAt: row.asked_at.toISOString(),
      sentAt: row.sent_at.toISOString(),
      object: row.object_id,
    },
    now: row.now.toISOString(),
  }
}

/** Notes that a call was answered, and what it made. What is known stays. */
export async function keepAnswer(database: Queryable, key: string, object: string | null): Promise<void> {
  await database.query(
    `update stripe_call set object_id = coalesce(object_id, $2), answered_at = coalesce(answered_at, clock_timestamp())
      where key = $1`,
    [key, object],
  )
}

/** A call is to be sent under another key, because this generation's made nothing. Of two who say so, one does it. */
export async function nextGeneration(database: Queryable, key: string, spent: number): Promise<void> {
  await database.query(
    `update stripe_call set generation = generation + 1, sent_at = business_now(), answered_at = null
      where key = $1 and generation = $2 and object_id is null`,
    [key, spent],
  )
}

/** What a call made is of no use any more: another one is made under the next key. Of two who say so, one does it. */
export async function makeAnother(database: Queryable, key: string, spent: string): Promise<void> {
  await database.query(
    `update stripe_call set generation = generation + 1, asked_at = business_now(), sent_at = business_now(),
            object_id = null, answered_at = null
      where key = $1 and object_id = $2`,
    [key, spent],
  )
}

/** What a call made; null: it made nothing, or nobody knows. */
export async function madeBy(database: Queryable, key: string): Promise<string | null> {
  const { rows } = await database.query<{ object_id: string | null }>(
    'select object_id from stripe_call where key = $1',
    [key],
  )
  return rows[0]?.object_id ?? null
}

/** Whether one of these was ever about to be sent. */
export async function wasAsked(database: Queryable, keys: string[]): Promise<boolean> {
  const { rowCount } = await database.query('select from stripe_call where key = any($1) limit 1', [keys])
  return rowCount === 1
}
