/** Tells a receiver something, once: a signed POST by the rules of Standard Webhooks. Follows no redirect. */
import { request as overHttp } from 'node:http'
import { request as overHttps } from 'node:https'
import { isIP } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { CallTry } from '../domain/delivery.ts'
import { isPublic, publicLookup } from './address.ts'

/** A receiver that has not answered by then is tried again later. */
const ANSWER_WITHIN_MS = 10_000
/** How much of an answer is kept, for whoever looks for what went wrong. */
const KEPT_BYTES = 200

export interface Call {
  url: string
  /** one, or two while it is being rolled: the receiver accepts either signature */
  secrets: string[]
  /** stable: the same at every try */
  id: string
  body: string
  /** machine time */
  at: Date
}

/**
 * Makes a caller.
 * @param anywhere whether private addresses and plain http are allowed: in the sandbox only
 */
export function createCaller({ anywhere }: { anywhere: boolean }): (call: Call) => Promise<CallTry> {
  return async ({ url: text, secrets, id, body, at }) => {
    const url = new URL(text)
    const host = url.hostname.replace(/^\[|\]$/g, '')
    if (!anywhere && url.protocol !== 'https:') return { code: null, detail: 'the URL is not https' }
    // a name is looked at when it is resolved; a bare address is never resolved
    if (!anywhere && isIP(host) !== 0 && !isPublic(host)) {
      return { code: null, detail: 'the address is not public' }
    }
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': 'Perennial-Webhooks/1',
      'webhook-id': id,
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(id, at, body)).join(' '),
    }
    try {
      return await post(url, headers, body, anywhere)
    } catch (error) {
      return { code: null, detail: reasonOf(error) }
    }
  }
}

function post(
  url: URL,
  headers: Record<string, string | number>,
  body: string,
  anywhere: boolean,
): Promise<CallTry> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? overHttp : overHttps)(
      url,
      {
        method: 'POST',
        headers,
        agent: false,
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
        ...(anywhere ? {} : { lookup: publicLookup }),
      },
      (response) => {
        const code = response.statusCode ?? 0
        let kept = Buffer.alloc(0)
        const done = () => {
          resolve({ code, detail: textOf(kept) })
          request.destroy()
        }
        response.on('data', (chunk: Buffer) => {
          kept = Buffer.concat([kept, chunk.subarray(0, KEPT_BYTES - kept.length)])
          if (kept.length >= KEPT_BYTES) done()
        })
        response.on('end', done)
        // the status is the answer, however its body ends
        response.on('error', done)
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** The beginning of an answer as one line of text that Postgres can keep. */
function textOf(bytes: Buffer): string {
  return bytes
    .toString('utf8')
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, KEPT_BYTES)
}

function reasonOf(error: unknown): string {
  const { name, message, code } = error as Error & { code?: unknown }
  if (name === 'AbortError' || name === 'TimeoutError') return 'no answer in time'
  if (name === 'ClosedAddress') return message
  // never the message of a lookup or a socket: it has the address, which the endpoint has already
  return typeof code === 'string' ? code : 'the connection failed'
}
