// The HTTP face: Stripe's API, the control plane and the hosted page on one loopback port.
import http from 'node:http'
import { answer, authenticate, checkVersion, failure, idempotencyKeyOf, type Answer } from './api.ts'
import { control } from './control.ts'
import type { ControlContext } from './control-context.ts'
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
  /** Business time in ms, once the engine has caught up with it. */
  catchUp(): number
}

export function makeServer(context: ServerContext): http.Server {
  const server = http.createServer((request, response) => {
    void handle(context, request)
      .catch((error: unknown): Answer => ({ ...failure(error, 'req_none'), headers: {} }))
      .then((done) => {
        response.writeHead(done.status, {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(done.body),
          'stripe-version': API_VERSION,
          ...done.headers,
        })
        response.end(done.body)
      })
  })
  server.keepAliveTimeout = 60_000
  return server
}

async function handle(context: ServerContext, request: http.IncomingMessage): Promise<Answer> {
  const url = new URL(request.url ?? '/', 'http://127.0.0.1')
  const method = request.method ?? 'GET'
  const path = url.pathname
  const mounted = context.mounted(path)
  if (method === 'GET' && mounted !== undefined) return mounted
  if (path.startsWith('/_sandbox/')) return control(context, method, path, await bodyOf(request))
  if (path.startsWith('/c/pay/')) return page(context.world, path.slice('/c/pay/'.length))
  if (path.startsWith('/p/session/')) return portalPage(context.world, path.slice('/p/session/'.length))
  if (path.startsWith('/i/')) return invoicePage(context.world, path.slice('/i/'.length))
  const id = context.world.id('req')
  let release = (): void => {}
  try {
    authenticate(request.headers)
    checkVersion(request.headers)
    const key = idempotencyKeyOf(request.headers, method)
    if (key !== undefined) release = context.keys.claim(key)
    const body = await bodyOf(request)
    const { headers } = request
    const now = context.catchUp()
    const origin = context.origin()
    return answer(
      context.world,
      context.keys,
      { method, path, query: url.search.slice(1), body, headers, origin, id },
      now,
    )
  } catch (error) {
    const answered = { ...failure(error, id), headers: { 'request-id': id } }
    request.resume()
    return answered
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
