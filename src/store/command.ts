/**
 * Commands: one request of one caller, its key, and what became of it. The row decides what a key means; Temporal only
 * carries the work. Rows hold ids, never personal data: what was asked is kept as a salted hash, and the answer's
 * words are in `reply.ts`.
 */
import { createHash } from 'node:crypto'
import { and, eq, sql } from 'drizzle-orm'
import { Refusal } from '../domain/error.ts'
import type { Client, Queryable } from './connect.ts'
import { command, orm, run, type Texts } from './schema.ts'

/** What finishes a command. A refusal's result is `{ code, detail, … }`, facts for programs beside the two. */
export interface Outcome {
  state: 'done' | 'refused'
  statusCode: number
  result: Record<string, unknown>
}

/** What a workflow carries out. */
export type OwnedOperation =
  | 'open'
  | 'cancel'
  | 'change'
  | 'portal'
  | 'resume'
  | 'withdraw'
  | 'approve'
  | 'reject'

/** That, and what the API's own transaction does. */
export type CommandOperation =
  | OwnedOperation
  | 'create'
  | 'set_top_up'
  | 'adjust'
  | 'update_endpoint'
  | 'rotate_secret'
  | 'resend'

const OWN: CommandOperation[] = [
  'create',
  'set_top_up',
  'adjust',
  'update_endpoint',
  'rotate_secret',
  'resend',
]

/** Whether a workflow carries it out. */
export function isOwned(operation: CommandOperation): operation is OwnedOperation {
  return !OWN.includes(operation)
}

/** A command as it stands. No `answer`: it is pending. */
export interface Command {
  id: string
  scope: string
  operation: CommandOperation
  owner: string | null
  input: Texts
  answer: Outcome | undefined
  createdAt: Date
  finishedAt: Date | null
}

type CommandRow = typeof command.$inferSelect

function commandOf(row: CommandRow): Command {
  const { id, scope, operation, owner, input, state, statusCode, result, createdAt, finishedAt } = row
  const answer =
    state === 'pending' ? undefined : { state, statusCode: statusCode ?? 200, result: result ?? {} }
  return { id, scope, operation, owner, input, answer, createdAt, finishedAt }
}

export interface CommandInput {
  /** a fresh `cmd_…`, used when this is the first request under its key */
  id: string
  /** account id, or `accounts` for what makes one */
  scope: string
  operation: CommandOperation
  /** the caller's Idempotency-Key */
  key: string
  /** the request as validated: what "the same content" means */
  content: unknown
  /** id of the workflow that carries it out; null: the caller's own transaction does */
  owner: string | null
  /** ids for whoever carries it out, and what is `passing` */
  input: Texts
}

/**
 * What a command's input has only until it is finished: a URL of the caller's may say who somebody is. Whoever carries
 * the command out reads it here; it stands in no history and no log.
 */
const PASSING = ['return_url']

/** An input without what is passing. */
export function lasting(input: Texts): Texts {
  return Object.fromEntries(Object.entries(input).filter(([name]) => !PASSING.includes(name)))
}

/**
 * Writes a command inside the caller's transaction, or answers the one that this key stands for already. Call it
 * first: it takes the key, so that a second request at the same moment is refused rather than done twice or kept
 * waiting, and gives it back at commit or rollback.
 * @throws Refusal `idempotency_in_progress`; `idempotency_key_reused` when the key was used for other content
 */
export async function insertCommand(
  client: Client,
  input: CommandInput,
): Promise<{ command: Command; replayed: boolean }> {
  const { rows } = await client.query<{ taken: boolean }>(
    'select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as taken',
    [JSON.stringify(['command', input.scope, input.operation, input.key])],
  )
  if (rows[0]?.taken !== true) {
    throw new Refusal(
      'idempotency_in_progress',
      'a request with this Idempotency-Key is being processed right now',
    )
  }
  const [before] = await run(
    orm(client)
      .select()
      .from(command)
      .where(
        and(
          eq(command.scope, input.scope),
          eq(command.operation, input.operation),
          eq(command.key, input.key),
        ),
      ),
  )
  if (before !== undefined) {
    if (before.requestHash !== requestHash(before.id, input.content)) {
      throw new Refusal('idempotency_key_reused', 'this Idempotency-Key was used for another request', {
        command: before.id,
      })
    }
    return { command: commandOf(before), replayed: true }
  }
  const [made] = await run(
    orm(client)
      .insert(command)
      .values({
        id: input.id,
        scope: input.scope,
        operation: input.operation,
        key: input.key,
        requestHash: requestHash(input.id, input.content),
        owner: input.owner,
        input: input.input,
        // whoever wrote it sends it; the sweeper comes after that
        nextAttemptAt: sql`clock_timestamp() + interval '6 seconds'`,
      })
      .returning(),
  )
  if (made === undefined) throw new Error('Postgres did not answer the command it wrote')
  return { command: commandOf(made), replayed: false }
}

/** Salted with the command's id, so that nobody looks a request up in a table of hashes. */
function requestHash(salt: string, content: unknown): string {
  return createHash('sha256')
    .update(`${salt}\n${canonical(content)}`)
    .digest('base64url')
}

/** JSON with sorted keys: the same for the same content. Absent and undefined fields are the same. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

/** Reads a command; undefined when there is none. */
export async function readCommand(database: Queryable, id: string): Promise<Command | undefined> {
  const [row] = await run(orm(database).select().from(command).where(eq(command.id, id)))
  return row && commandOf(row)
}

/**
 * The key of another attempt at what stands for itself: a refusal under one key is no answer to who asks later. Whoever
 * asks while nothing is refused gets the same key.
 */
export async function attemptKey(
  database: Queryable,
  { scope, operation, key }: Pick<CommandInput, 'scope' | 'operation' | 'key'>,
): Promise<string> {
  const { rows } = await database.query<{ refused: number }>(
    `select count(*)::int as refused from command
      where scope = $1 and operation = $2 and (key = $3 or starts_with(key, $3 || '#')) and state = 'refused'`,
    [scope, operation, key],
  )
  const refused = rows[0]?.refused ?? 0
  return refused === 0 ? key : `${key}#${refused + 1}`
}

/**
 * Writes down how a command ended, once, and forgets what was passing: a second call changes nothing and answers the
 * first outcome.
 * @throws Refusal `command_not_found`
 */
export async function finishCommand(database: Queryable, id: string, outcome: Outcome): Promise<Outcome> {
  const [finished] = await run(
    orm(database)
      .update(command)
      .set({
        ...outcome,
        input: sql`${command.input} - ${sql.param(PASSING)}::text[]`,
        finishedAt: sql`clock_timestamp()`,
      })
      .where(and(eq(command.id, id), eq(command.state, 'pending')))
      .returning(),
  )
  if (finished !== undefined) return outcome
  const before = (await readCommand(database, id))?.answer
  if (before === undefined) throw new Refusal('command_not_found', `there is no command ${id}`)
  return before
}

/** A command that nobody has carried out yet. */
export interface PendingCommand {
  id: string
  owner: string
  operation: OwnedOperation
  /** how often it was taken from here, this time included */
  attempts: number
}

type PendingCommandRow = { [Field in keyof PendingCommand]: PendingCommand[Field] }

/**
 * Takes commands that are to be sent (again) to their owner, and puts each off: 5 s, 10 s, … up to ten minutes. Two
 * sweepers never take the same command.
 */
export async function pendingCommands(database: Queryable, limit: number): Promise<PendingCommand[]> {
  const { rows } = await database.query<PendingCommandRow>(
    `with due as (
       select id from command
        where state = 'pending' and owner is not null and next_attempt_at <= clock_timestamp()
        order by next_attempt_at, id limit $1 for update skip locked
     )
     update command c
        set attempts = c.attempts + 1,
            next_attempt_at = clock_timestamp()
              + least(interval '10 minutes', interval '5 seconds' * power(2, least(c.attempts, 20)))
       from due where c.id = due.id
     returning c.id, c.owner, c.operation, c.attempts`,
    [limit],
  )
  return rows
}
