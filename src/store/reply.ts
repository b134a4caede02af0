/**
 * What commands were answered, byte for byte, so that the same key gets the same answer. The only rows beside
 * `customer` that may hold personal data (law 13): an erasure deletes those of its account.
 */
import { eq } from 'drizzle-orm'
import type { Queryable } from './connect.ts'
import { orm, reply, run } from './schema.ts'

/** An answer as it went out: a problem from status 400 on. */
export interface Reply {
  statusCode: number
  body: string
}

/** What a command was answered; undefined when nobody has answered it yet, or the answer was erased. */
export async function readReply(database: Queryable, command: string): Promise<Reply | undefined> {
  const [kept] = await run(
    orm(database)
      .select({ statusCode: reply.statusCode, body: reply.body })
      .from(reply)
      .where(eq(reply.commandId, command)),
  )
  return kept
}

/**
 * Keeps what a command is answered, unless it was answered before: two processes may answer it at the same moment.
 * @param account whose data the answer holds; null: nobody's
 * @returns the answer that stands, whoever wrote it: send this one
 */
export async function keepReply(
  database: Queryable,
  command: string,
  account: string | null,
  { statusCode, body }: Reply,
): Promise<Reply> {
  const { rowCount } = await run(
    orm(database)
      .insert(reply)
      .values({ commandId: command, accountId: account, statusCode, body })
      .onConflictDoNothing({ target: reply.commandId }),
  )
  const kept = rowCount === 1 ? { statusCode, body } : await readReply(database, command)
  if (kept === undefined) throw new Error(`the answer of ${command} was erased while it was given`)
  return kept
}
