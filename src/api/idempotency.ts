/**
 * The Idempotency-Key of every POST under /v1: asked for before anything else is read, and what a replay looks like.
 * What a key stands for is decided in Postgres: by the command's row, or by the posting of a spend.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { Problem } from './problem.ts'

const KEY = /^[\x21-\x7e]{1,255}$/

/** For the documentation; the hook has checked it before. */
export const idempotencyHeaders = z.looseObject({
  'idempotency-key': z
    .string()
    .regex(KEY)
    .describe('1 to 255 visible ASCII characters. The same key with the same content gives the same answer.'),
})

/** An onRequest hook: a POST under /v1 without a usable key goes no further. */
export async function requireIdempotencyKey(request: FastifyRequest): Promise<void> {
  if (request.method !== 'POST' || request.routeOptions.config.scope === undefined) return
  const key = request.headers['idempotency-key']
  if (key === undefined || key === '') {
    throw new Problem('idempotency_key_required', 'send an Idempotency-Key header with every POST')
  }
  if (typeof key !== 'string' || !KEY.test(key)) {
    throw new Problem('idempotency_key_invalid', 'an Idempotency-Key has 1 to 255 visible ASCII characters')
  }
}

/** The caller's key, on a route whose hook has checked it. */
export function keyOf(request: FastifyRequest): string {
  return String(request.headers['idempotency-key'])
}

/** Marks an answer that was given before. */
export function markReplayed(reply: FastifyReply, replayed: boolean): void {
  if (replayed) reply.header('Idempotent-Replayed', 'true')
}
