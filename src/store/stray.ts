/**
 * Objects in Stripe that belong to no account of ours. One that names nothing of ours is somebody else's business; one
 * that names an account or order which is not here is a discrepancy, and a person is told.
 */
import type { Queryable } from './connect.ts'
import { raiseAlert, resolveAlert } from './alert.ts'

export interface Stray {
  /** Stripe's id; of a page, the order that it names */
  id: string
  kind: 'subscription' | 'checkout'
  /** the account or order of ours that it names; null: none, it is foreign */
  named: string | null
}

/** The alert of an object of ours without an account; its subject is Stripe's id. */
const ORPHAN = 'orphan_object'

/** Writes a stray object down, once; seen again, it is only dated. */
export async function noteStray(database: Queryable, { id, kind, named }: Stray): Promise<void> {
  const standing = named === null ? 'foreign' : 'orphan'
  await database.query(
    `insert into stray_object (id, kind, standing, named) values ($1, $2, $3, $4)
     on conflict (id) do update set standing = $3, named = $4, last_at = clock_timestamp()`,
    [id, kind, standing, named],
  )
  if (named !== null) {
    await raiseAlert(database, ORPHAN, id, `this ${kind} in Stripe names ${named}, which is not here`)
  }
}

/** Forgets one that has an owner by now, and closes its alert. */
export async function forgetStray(client: Queryable, id: string): Promise<void> {
  const { rowCount } = await client.query('delete from stray_object where id = $1', [id])
  if (rowCount === 1) await resolveAlert(client, ORPHAN, id)
}

/** Every stray object, newest first. */
export async function listStrays(
  database: Queryable,
  limit: number,
): Promise<(Stray & { standing: 'foreign' | 'orphan'; lastAt: Date })[]> {
  const { rows } = await database.query<Stray & { standing: 'foreign' | 'orphan'; last_at: Date }>(
    'select id, kind, standing, named, last_at from stray_object order by first_at desc, id limit $1',
    [limit],
  )
  return rows.map(({ last_at: lastAt, ...stray }) => ({ ...stray, lastAt }))
}
