/** Reads bodies: strict UTF-8 and JSON, and no text that Postgres cannot keep. Knows no route. */
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, preValidationHookHandler } from 'fastify'
import { Problem } from './problem.ts'

/** What a request may send, in bytes. */
export const BODY_LIMIT_BYTES = 64 * 1024

/** NUL, which Postgres refuses, and halves of a surrogate pair, which are no characters. */
const UNKEEPABLE = /\0|\p{Surrogate}/u

/** Replaces the server's parsers by one for JSON. Keys that would change a prototype are refused. */
export function readJsonBodies(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, bytes, done) => {
    if (bytes.length === 0) {
      done(null, undefined)
      return
    }
    if (!isUtf8(bytes)) {
      done(new Problem('json_malformed', 'the body is not UTF-8'))
      return
    }
    const text = bytes.toString()
    void parseJson(request, text, (error: Error | null, body?: unknown) => {
      if (error === null && saysTwice(text, body)) {
        done(new Problem('json_malformed', 'an object in the body has a key twice'))
      } else done(error, body)
    })
  })
}

/** The strings of a JSON text, each with the colon after it that makes it a key. */
const STRINGS = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?/g

/**
 * Whether an object of a JSON text has a key twice: of two amounts the parser keeps the last and somebody else may have
 * read the first. The text is JSON, so every quote outside a string begins one; it has more keys than what was parsed.
 */
function saysTwice(text: string, parsed: unknown): boolean {
  let kept = 0
  const open: unknown[] = [parsed]
  while (open.length > 0) {
    const at = open.pop()
    if (typeof at !== 'object' || at === null) continue
    const inner = Object.values(at)
    if (!Array.isArray(at)) kept += inner.length
    for (const one of inner) open.push(one)
  }
  // a key has a colon: with no more of those than keys, which is nearly always, nobody looks for strings
  let colons = 0
  for (let at = text.indexOf(':'); at >= 0; at = text.indexOf(':', at + 1)) colons += 1
  if (colons <= kept) return false
  let said = 0
  for (const [, colon] of text.matchAll(STRINGS)) if (colon !== undefined) said += 1
  return said > kept
}

/** A preValidation hook: texts anywhere in the request can be kept. */
export const refuseUnkeepableText: preValidationHookHandler = (request, _reply, done) => {
  if (hasUnkeepable([request.params, request.query, request.body])) {
    done(new Problem('text_invalid', 'texts must not contain NUL or half of a surrogate pair'))
  } else done()
}

function hasUnkeepable(root: unknown): boolean {
  const open: unknown[] = [root]
  while (open.length > 0) {
    const at = open.pop()
    if (typeof at === 'string') {
      if (UNKEEPABLE.test(at)) return true
    } else if (typeof at === 'object' && at !== null && !Buffer.isBuffer(at)) {
      // bytes are no texts yet: byte by byte, a webhook's body would cost more than all the rest of it
      for (const [key, inner] of Object.entries(at)) open.push(key, inner)
    }
  }
  return false
}
