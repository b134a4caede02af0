/**
 * The Idempotency-Key of every POST under /v1: asked for before anything else is read, and the one way to do what it
 * stands for once. What a key stands for is decided in Postgres: by the command's row, or by the posting of a spend.
 */
import { randomUUID } from 'node:crypto'
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { z } from 'zod'
import type { Foresight, PlannedDate } from '../domain/effect.ts'
import { idFrom } from '../domain/id.ts'
import {
  type Command,
  type CommandInput,
  finishCommand,
  insertCommand,
  isOwned,
  lasting,
} from '../store/command.ts'
import { rehearse } from '../ledger/rehearsal.ts'
import { type Client, type Queryable, transaction } from '../store/connect.ts'
import { keepReply, readReply, type Reply } from '../store/reply.ts'
import type { PreviewInput } from '../workflows/message.ts'
import type { ApiDeps } from './api.ts'
import { carryOut, sendPending } from './commands.ts'
import { askWorkflow, isDryRun, sendPreview } from './preview.ts'
import { Problem, refusedAnswer } from './problem.ts'

const KEY = /^[\x21-\x7e]{1,255}$/

/** For the documentation; the hook has checked it before. */
export const idempotencyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(KEY)
    .describe('1 to 255 visible ASCII characters. The same key with the same content gives the same answer.'),
})

/** An onRequest hook: a POST under /v1 without a usable key goes no further. */
export const requireIdempotencyKey: onRequestHookHandler = (request, _reply, done) => {
  const key = request.headers['idempotency-key']
  if (request.method !== 'POST' || request.routeOptions.config.scope === undefined) done()
  else if (key === undefined || key === '') {
    done(new Problem('idempotency_key_required', 'send an Idempotency-Key header with every POST'))
  } else if (typeof key !== 'string' || !KEY.test(key)) {
    done(new Problem('idempotency_key_invalid', 'an Idempotency-Key has 1 to 255 visible ASCII characters'))
  } else done()
}

/** The caller's key, on a route whose hook has checked it. */
export function keyOf(request: FastifyRequest): string {
  return String(request.headers['idempotency-key'])
}

/** Marks an answer that was given before. */
export function markReplayed(reply: FastifyReply, replayed: boolean): void {
  if (replayed) reply.header('Idempotent-Replayed', 'true')
}

/** What a POST does once for its key. */
export interface Once extends Pick<CommandInput, 'scope' | 'operation' | 'content' | 'input'> {
  /** id of the workflow that carries it out; null: `begin` does all of it */
  owner: string | null
  /** what a preview needs beside `input`: ids of what `begin` writes */
  foresee?: CommandInput['input']
  /** what `begin` sets going: a workflow does it by itself, so that only a preview asks it */
  afterwards?: PreviewInput | undefined
  /** what stands for it instead of a caller's Idempotency-Key, on a route that asks for none */
  key?: string
  /** status of the good answer, which the route describes */
  status: 200 | 201
  /**
   * For the first request of the key only, in the transaction that takes it. A Refusal takes nothing: the key stays
   * free, so that the same request may succeed later.
   * @returns what dates it made, for a preview
   */
  begin(client: Client, command: Command): Promise<PlannedDate[] | void>
  /** The good answer, of the rows as they are when it is first given and of what the workflow answered. */
  view(database: Queryable, command: Command, result: Record<string, unknown>): Promise<object>
}

/**
 * Does what a POST asks for, once for its key, and answers it: 202 while its workflow has no answer, and from the
 * first final answer on that one, byte for byte, whoever asks and whatever has happened since. What a workflow
 * refuses is a final answer, too.
 */
export async function answerOnce(
  deps: ApiDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  once: Once,
): Promise<FastifyReply> {
  if (isDryRun(request)) {
    // what it makes has an id only then
    const ids = Object.values(once.input).filter((id) => id !== once.scope)
    const minted = once.status === 201 ? ids : []
    return sendPreview(reply, await foresee(deps, request, once), minted)
  }
  const { scope, operation, content, owner, input, status } = once
  const viewed = async (database: Queryable, command: Command, result: Record<string, unknown>) => {
    // by the schema of the answer, as the server does with what a handler returns
    const body = String(
      reply.serializeInput({ ...(await once.view(database, command, result)) }, `${status}`),
    )
    return { statusCode: status, body }
  }
  const { command, replayed, kept } = await transaction(deps.pool, async (client) => {
    const id = idFrom('cmd', randomUUID())
    const claim = { id, scope, operation, key: once.key ?? keyOf(request), content, owner, input }
    const { command, replayed } = await insertCommand(client, claim)
    if (replayed) return { command, replayed, kept: await readReply(client, command.id) }
    await once.begin(client, command)
    if (owner !== null) return { command, replayed, kept: undefined }
    await finishCommand(client, command.id, { state: 'done', statusCode: status, result: {} })
    const answer = await viewed(client, command, {})
    return { command, replayed, kept: await keepReply(client, command.id, accountOf(command), answer) }
  })
  const account = accountOf(command)
  if (account !== null) request.trace['account'] = account
  request.trace['command'] = command.id
  markReplayed(reply, replayed)
  if (kept !== undefined) return send(reply, kept)
  const outcome = await carryOut(deps, request, command)
  if (outcome === undefined) return sendPending(reply, command)
  const answer =
    outcome.state === 'refused'
      ? refusedAnswer(outcome, request)
      : await viewed(deps.pool, command, outcome.result)
  return send(reply, await keepReply(deps.pool, command.id, account, answer))
}

/**
 * What a command would do: what `begin` writes is written and taken back, under a key of its own, so that none is used up
 * and nothing is answered from before; then its workflow is asked what it would do on top of that.
 */
async function foresee({ pool, reach }: ApiDeps, request: FastifyRequest, once: Once): Promise<Foresight> {
  const { scope, operation, content, owner, input } = once
  const claim = {
    id: idFrom('cmd', randomUUID()),
    scope,
    operation,
    key: randomUUID(),
    content,
    owner,
    input,
  }
  const begun = await rehearse(pool, {
    account: accountOf(claim) ?? scope,
    async act(client) {
      const { command } = await insertCommand(client, claim)
      return (await once.begin(client, command)) ?? []
    },
    refusalLeaves: 'nothing',
  })
  const following =
    owner !== null && isOwned(operation)
      ? { operation, subject: owner, input: { ...lasting(input), ...once.foresee } }
      : once.afterwards
  if (following === undefined || begun.refusal !== null) return begun
  const asked = await askWorkflow(reach, request, following)
  const { postings, stripe, notices, dates } = begun.effects
  return {
    ...asked,
    effects: {
      postings: [...postings, ...asked.effects.postings],
      stripe: [...stripe, ...asked.effects.stripe],
      notices: [...notices, ...asked.effects.notices],
      dates: [...dates, ...asked.effects.dates],
    },
  }
}

/** Whose command it is, if it is about an account: what makes one has made it under the id in its input. */
function accountOf({ scope, input }: Pick<Command, 'scope' | 'input'>): string | null {
  const account = input['account'] ?? scope
  return account.startsWith('acc_') ? account : null
}

/** Sends a text, not an object: nothing between here and the caller may write it differently. */
function send(reply: FastifyReply, { statusCode, body }: Reply): FastifyReply {
  const type = statusCode < 400 ? 'application/json; charset=utf-8' : 'application/problem+json'
  return reply.code(statusCode).type(type).send(body)
}
