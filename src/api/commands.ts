/** /v1/commands: what became of a request that was answered 202; and how a route carries a command out. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Refusal } from '../domain/error.ts'
import { type Command, type Outcome, readCommand } from '../store/command.ts'
import { sendCommand } from '../workflows/owner.ts'
import type { Api, ApiDeps } from './api.ts'
import { describeFailure } from './failure.ts'
import { answers, EXAMPLE, instant, noQuery } from './schema.ts'

/** How long a caller waits for a workflow before 202, in milliseconds. */
const WAIT_MS = 5_000

export const commandView = z
  .object({
    id: z.string(),
    object: z.literal('command'),
    operation: z.string(),
    state: z.enum(['pending', 'done', 'refused']),
    subject: z.string().nullable().describe('id of what it is about'),
    status_code: z.int().nullable().describe('what the request would have been answered'),
    result: z.record(z.string(), z.unknown()).nullable(),
    created_at: instant,
    finished_at: instant.nullable(),
  })
  .meta({
    id: 'Command',
    examples: [
      {
        id: EXAMPLE.command,
        object: 'command',
        operation: 'open',
        state: 'pending',
        subject: EXAMPLE.order,
        status_code: null,
        result: null,
        created_at: EXAMPLE.at,
        finished_at: null,
      },
    ],
  })

/** Registers the route. */
export function commandRoutes(app: Api, { pool }: ApiDeps): void {
  app.get('/v1/commands/:id', {
    config: { scope: 'read' },
    schema: {
      summary: 'What became of a request that was answered 202',
      tags: ['commands'],
      params: z.object({ id: z.string().meta({ examples: [EXAMPLE.command] }) }),
      querystring: noQuery,
      response: answers({ 200: commandView }, ['command_not_found']),
    },
    async handler({ params }) {
      const command = await readCommand(pool, params.id)
      if (command === undefined) throw new Refusal('command_not_found', `there is no command ${params.id}`)
      return viewOf(command)
    },
  })
}

/**
 * Has a command's owner carry it out, once, and waits a few seconds for the pass that follows, also when the command
 * is done: its row ends before the pass, and only the update's answer says that the rows show what it did. A run that
 * has the update answers both; one that begins anew, with the old one closed or forgotten, finds it done and passes.
 * @returns undefined when there is no answer yet. A pending row is sent again by the sweeper. One that is done waits,
 *   too: the first good answer stands for ever, so it must not be of before, and its command says what became of it
 */
export async function carryOut(
  { reach }: ApiDeps,
  request: FastifyRequest,
  command: Command,
): Promise<Outcome | undefined> {
  const { id, owner, operation, answer } = command
  // a refusal shows no rows, and no pass follows what `begin` did
  if (answer !== undefined && (answer.state === 'refused' || owner === null)) return answer
  if (owner === null) throw new Error(`no workflow carries out ${operation}`)
  request.trace['workflow'] = owner
  if (reach === undefined) return undefined
  try {
    const again = answer === undefined ? undefined : 'done'
    return await sendCommand(reach, { id, owner, operation, again }, WAIT_MS)
  } catch (error) {
    request.log.warn(
      { command: id, workflow: owner, failure: describeFailure(error) },
      'a command was not sent',
    )
    return undefined
  }
}

/** Answers 202: the command was taken, and its workflow has not answered yet. */
export function sendPending(reply: FastifyReply, command: Command): FastifyReply {
  return reply.code(202).header('Location', `/v1/commands/${command.id}`).send(viewOf(command))
}

/** What the ids in a command's input are of, the closest first. */
const SUBJECTS = ['subscription', 'purchase', 'approval', 'account']

function viewOf(command: Command): z.infer<typeof commandView> {
  return {
    id: command.id,
    object: 'command',
    operation: command.operation,
    state: command.answer?.state ?? 'pending',
    subject: SUBJECTS.map((name) => command.input[name]).find((id) => id !== undefined) ?? null,
    status_code: command.answer?.statusCode ?? null,
    result: command.answer?.result ?? null,
    created_at: command.createdAt.toISOString(),
    finished_at: command.finishedAt?.toISOString() ?? null,
  }
}
