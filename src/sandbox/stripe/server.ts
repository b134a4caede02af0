// The HTTP face: Stripe's API, the control plane and the hosted page on one loopback port.
import http from 'node:http'
import { answer, authenticate, checkVersion, failure, idempotencyKeyOf, type Answer } from './api.ts'
import { control } from './control.ts'
import { nobody, type ControlContext } from './control-context.ts'
import { answeredBefore, meetFault } from './fault.ts'
import { StripeFault } from './error.ts'
import type { IdempotencyKeys } from './idempotency.ts'
import { invoicePage } from './invoice-page.ts'
import { page } from './page.ts'
import { portalPage } from './portal-page.ts'
import { API_VERSION } from './wire.ts'

const MAX_BODY = 1024 * 1024

export interface ServerContext extends ControlContext {
  /** A page of somebody else's, if one is mounted at this path. */
  mounted(path: string): Answer | undefined
  keys: IdempotencyKeys
  /** Has nobody connect for so many milliseconds; who is connected is cut off. */
  refuse(ms: number): void
  /** Business time in ms, once the engine has caught up with it. */
  catchUp(): number
}

export function makeServer(context: ServerContext): http.Server {
  const server = http.createServer((request, response) => {
    void handle(context, request)
      .catch((error: unknown): Answer => ({ ...failure(error, 'req_none'), headers: {} }))
      .then((done) => {
        if (done === 'none') return
        const cut = typeof done === 'object' && 'cut' in done
        const { status, headers, body } = cut ? done.cut : done
        response.writeHead(status, {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          'stripe-version': API_VERSION,
          ...headers,
        })
        if (cut) response.write(body.slice(0, body.length / 2), () => request.socket.destroy())
        else response.end(body)
      })
  })
  server.keepAliveTimeout = 60_000
  return server
}

/** What goes back: an answer, half of one, or nothing, because the connection is gone or hangs. */
type Reply = Answer | { cut: Answer } | 'none'

async function handle(context: ServerContext, request: http.IncomingMessage): Promise<Reply> {
  const url = new URL(request.url ?? '/', 'http://127.0.0.1')
  const method = request.method ?? 'GET'
  const path = url.pathname
  const mounted = context.mounted(path)
  if (method === 'GET' && mounted !== undefined) return mounted
  if (path.startsWith('/_sandbox/')) return control(context, method, path, await bodyOf(request))
  if (path.startsWith('/c/pay/')) return page(context.world, path.slice('/c/pay/'.length))
  if (path.startsWith('/p/session/')) return portalPage(context.world, path.slice('/p/session/'.length))
  if (path.startsWith('/i/')) return invoicePage(context.world, path.slice('/i/'.length))
  return await ask(context, request, { method, path, query: url.search.slice(1) })
}

/** A request to Stripe's own API, and what goes wrong with it. */
async function ask(
  context: ServerContext,
  request: http.IncomingMessage,
  asked: { method: string; path: string; query: string },
): Promise<Reply> {
  const { world, keys } = context
  const { headers, socket } = request
  const id = world.id('req')
  const key = idempotencyKeyOf(headers, asked.method)
  let release = (): void => {}
  try {
    authenticate(headers)
    checkVersion(headers)
    const met = meetFault(world, context.catchUp(), { ...asked, key })
    if (met?.fault === 'refused') {
      context.refuse(met.latency_ms)
      return 'none'
    }
    if (met?.fault === 'reset') {
      socket.resetAndDestroy()
      return 'none'
    }
    if (met?.fault === 'timeout') return 'none'
    if (met?.fault === 'latency') await new Promise((done) => setTimeout(done, met.latency_ms))
    const early = met && answeredBefore(met)
    if (early !== undefined) {
      request.resume()
      return { ...failure(early.fault, id), headers: { 'request-id': id, ...early.headers } }
    }
    if (key !== undefined) release = keys.claim(key)
    const body = await bodyOf(request)
    const now = context.catchUp()
    const done = answer(world, keys, { ...asked, body, headers, origin: context.origin(), id }, now)
    if (met?.fault === 'timeout_after_commit') return 'none'
    if (met?.fault === 'truncated_after_commit') return { cut: done }
    // what a key repeats was carried out before: Stripe does not change its mind about it
    const anew = done.status === 200 && done.headers['idempotent-replayed'] === undefined
    if (met?.fault === '500_after_commit' && anew) {
      const failed = failure(
        new StripeFault(500, { type: 'api_error', message: 'Sorry, something went wrong.' }),
        id,
      )
      if (key !== undefined) world.step(now, nobody, () => keys.replace(key, failed))
      return { ...failed, headers: done.headers }
    }
    return done
  } catch (error) {
    request.resume()
    return { ...failure(error, id), headers: { 'request-id': id } }
  } finally {
    release()
  }
}

async function bodyOf(request: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY)
      throw new StripeFault(413, { type: 'invalid_request_error', message: 'Request body is too large.' })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
