/**
 * What may be said about an error in a log: names, codes, places. Messages of Postgres quote values, so they stay out
 * (law 13); and which failures pass by themselves.
 */
import { SpendQueueFull } from '../ledger/spend-queue.ts'

const CHAIN_MAX = 5

/** Describes an error and its causes without any value that a caller sent. */
export function describeFailure(error: unknown): Record<string, unknown>[] {
  const described: Record<string, unknown>[] = []
  for (let at = error; at instanceof Error && described.length < CHAIN_MAX; at = at.cause) {
    const { code, constraint, table } = at as Error &
      Partial<Record<'code' | 'constraint' | 'table', unknown>>
    const sqlState = isSqlState(code)
    described.push({
      name: at.name,
      ...(code !== undefined && { code }),
      ...(sqlState ? { constraint, table } : quotesInput(at) ? {} : { message: at.message }),
      stack: framesOf(at),
    })
  }
  return described.length > 0 ? described : [{ name: typeof error }]
}

/** A parser's message repeats a piece of what it could not read. */
function quotesInput(error: Error): boolean {
  return error instanceof SyntaxError
}

/** The frames of a stack without its first lines, which repeat the message. */
function framesOf(error: Error): string[] {
  return (error.stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .map((line) => line.trim())
}

function isSqlState(code: unknown): code is string {
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)
}

/** 08 connection, 53 resources, 57 operator intervention, 40 rollback, 55P03 lock, 25P03 idle: a retry may succeed. */
const PASSING_STATE = /^(08|53|57|40)|^55P03$|^25P03$/
const PASSING_CODE = /^E(CONNREFUSED|CONNRESET|TIMEDOUT|PIPE|NOTFOUND|AI_AGAIN|HOSTUNREACH|NETUNREACH)$/
/** Errors of the driver and its pool that carry no code. */
const PASSING_MESSAGE =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after|Query read timeout)/

/** Whether Postgres could not be reached or has too much to do for now: the same request may succeed later. */
export function isUnavailable(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < CHAIN_MAX; at = at.cause, depth += 1) {
    const code = 'code' in at ? at.code : undefined
    if (typeof code === 'string' && (isSqlState(code) ? PASSING_STATE : PASSING_CODE).test(code)) return true
    if (at instanceof SpendQueueFull) return true
    if (PASSING_MESSAGE.test(at.message)) return true
  }
  return false
}

/** Whether Postgres gave a statement up because it took too long. */
export function ranOutOfTime(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '57014'
}
