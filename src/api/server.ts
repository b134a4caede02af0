/** Builds the HTTP server from its routes: what every request passes on its way in and out. Owns no route itself. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  type FastifyBaseLogger,
  fastify,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { $ZodType } from 'zod/v4/core'
import { accountRoutes } from './accounts.ts'
import { adjustmentRoutes } from './adjustments.ts'
import type { Api, ApiDeps } from './api.ts'
import { approvalRoutes } from './approvals.ts'
import { authenticate } from './auth.ts'
import { BODY_LIMIT_BYTES, readJsonBodies, refuseUnkeepableText } from './body.ts'
import { catalogRoutes } from './catalog.ts'
import { commandRoutes } from './commands.ts'
import { describeApi, serveDocs } from './docs.ts'
import { grantRoutes } from './grants.ts'
import { healthRoutes } from './health.ts'
import { holdRoutes } from './holds.ts'
import { requireIdempotencyKey } from './idempotency.ts'
import { LazyLog } from './lazy-log.ts'
import { ledgerRoutes } from './ledger.ts'
import { noticeRoutes } from './notices.ts'
import { sendForeseenRefusal } from './preview.ts'
import { Problem, render, sendProblem } from './problem.ts'
import { purchaseRoutes } from './purchases.ts'
import { spendRoutes } from './spends.ts'
import { portalSessionRoutes } from './portal-sessions.ts'
import { subscriptionChangeRoutes } from './subscription-change.ts'
import { subscriptionRoutes } from './subscriptions.ts'
import { topUpRoutes } from './top-up.ts'
import { watchTopUps } from './top-up-watch.ts'
import { webhookEndpointRoutes } from './webhook-endpoints.ts'
import { webhookRoutes } from './webhooks.ts'

export type { ApiDeps } from './api.ts'

/**
 * Builds the server; it does not listen yet. `close()` takes no new connections, finishes what it has begun, and
 * leaves the pool to whoever made it.
 */
export async function buildApi(deps: ApiDeps): Promise<FastifyInstance> {
  const loggerInstance: FastifyBaseLogger = deps.log
  const app: Api = fastify({
    loggerInstance,
    // one line a request, below; the framework's own would have the URL, and a URL can hold personal data
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    childLoggerFactory: (logger, bindings) => new LazyLog(logger, bindings),
    genReqId: () => `req_${randomUUID().replaceAll('-', '')}`,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: 30_000,
    // an id of any length is an id: one that nobody has is not found, like any other
    routerOptions: { maxParamLength: 16 * 1024 },
    exposeHeadRoutes: false,
    // a request that arrives while closing, on a connection that is open, is still served
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => {
      void sendProblem(error, request, reply.header('request-id', request.id))
    },
    clientErrorHandler: refuseGarbage,
  }).withTypeProvider<ZodTypeProvider>()
  // headers are described for the document; what matters of them is checked by the hooks below, in better words
  const unchecked: ReturnType<typeof validatorCompiler> = (value) => ({ value })
  app.setValidatorCompiler<$ZodType>((route) =>
    route.httpPart === 'headers' ? unchecked : validatorCompiler(route),
  )
  app.setSerializerCompiler(serializerCompiler)
  app.setErrorHandler(async (error, request, reply) => {
    if (await sendForeseenRefusal(deps.pool, error, request, reply)) return reply
    return sendProblem(error, request, reply)
  })
  app.decorateRequest('holder', undefined)
  app.decorateRequest('trace', null as never)
  readJsonBodies(app)
  const allowed = rememberRoutes(app)

  app.addHook('onRequest', (request, reply, done) => {
    request.trace = {}
    reply.headers({
      'request-id': request.id,
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    })
    done()
  })
  const strayOf = (request: FastifyRequest) => {
    const methods = allowed(request.url)
    if (methods.length === 0) return new Problem('not_found', 'no route has this path')
    const allow = methods.join(', ')
    return new Problem('method_not_allowed', `this path takes ${allow}`, { headers: { allow } })
  }
  // before a body is read: what is wrong with it does not matter here
  app.addHook('onRequest', (request, _reply, done) => done(request.is404 ? strayOf(request) : undefined))
  app.addHook('onRequest', authenticate(deps.pool))
  app.addHook('onRequest', requireIdempotencyKey)
  app.addHook('preValidation', refuseUnkeepableText)
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    // otherwise the connection stays open for a next request, and closing waits for it
    if (closing) reply.header('connection', 'close')
    done()
  })
  // ids of ours and of Stripe's and nothing else: looking for secrets in them would cost a quarter of a spend
  const lines = deps.log.child({}, { redact: [] })
  app.addHook('onResponse', (request, reply, done) => {
    deps.metrics.request({
      method: request.method,
      // what is no route could be any text
      route: request.routeOptions.url ?? 'none',
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1_000,
    })
    lines.info(
      {
        request_id: request.id,
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        ...accountOf(request),
        ...request.trace,
      },
      'request',
    )
    done()
  })
  app.setNotFoundHandler((request) => {
    throw strayOf(request)
  })

  await describeApi(app)
  accountRoutes(app, deps)
  ledgerRoutes(app, deps)
  const watch = watchTopUps(deps)
  app.addHook('onClose', () => watch.close())
  spendRoutes(app, deps, watch)
  holdRoutes(app, deps, watch)
  grantRoutes(app, deps)
  adjustmentRoutes(app, deps)
  approvalRoutes(app, deps)
  catalogRoutes(app, deps)
  subscriptionRoutes(app, deps)
  subscriptionChangeRoutes(app, deps)
  portalSessionRoutes(app, deps)
  purchaseRoutes(app, deps)
  topUpRoutes(app, deps, watch)
  commandRoutes(app, deps)
  noticeRoutes(app, deps)
  webhookEndpointRoutes(app, deps)
  healthRoutes(app, deps)
  await app.register(async (scope) => webhookRoutes(scope, deps))
  await serveDocs(app)
  await app.ready()
  return app
}

/** Notes every route, so that a wrong method is told from a wrong path. Insists on a scope for what needs a key. */
function rememberRoutes(app: Api): (url: string) => string[] {
  const routes: { method: string; path: RegExp }[] = []
  app.addHook('onRoute', ({ method, url, config }) => {
    if (url.startsWith('/v1/') && config?.scope === undefined) throw new Error(`${url} states no scope`)
    const path = new RegExp(`^${url.replaceAll('.', '\\.').replaceAll(/:[^/]+/g, '[^/]+')}$`)
    for (const one of [method].flat()) routes.push({ method: one, path })
  })
  return (url) => {
    const [path = ''] = url.split('?')
    return [...new Set(routes.filter((route) => route.path.test(path)).map((route) => route.method))]
  }
}

/** The account of a request's path, if it looks like one of ours: a caller may have put anything there. */
function accountOf(request: FastifyRequest): { account?: string } {
  const { account } = (request.params ?? {}) as { account?: unknown }
  return typeof account === 'string' && /^acc_[A-Za-z0-9]{1,64}$/.test(account) ? { account } : {}
}

/** Answers what is no HTTP at all, or has headers beyond every limit. */
function refuseGarbage(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, reason] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : [400, 'Bad Request']
  const code = 'request_invalid'
  const body = render(
    { code, status, title: reason, detail: 'the request cannot be read', data: {} },
    { id: `req_${randomUUID().replaceAll('-', '')}` },
  )
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
