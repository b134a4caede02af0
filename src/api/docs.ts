/** /openapi.json and /docs: the API described by the schemas that validate it. Works without the internet. */
import swagger from '@fastify/swagger'
import reference from '@scalar/fastify-api-reference'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import type { z } from 'zod'
import type { Api } from './api.ts'
import { completed, type OpenApi, problemCodes } from './openapi.ts'

const ABOUT = `Prepaid credits, exact and proven.

Amounts are decimal strings. Every POST under /v1 needs an \`Idempotency-Key\`: the same key with the same content gives
the same answer, marked \`Idempotent-Replayed: true\`. Errors are application/problem+json with a stable \`code\`; each
operation names those it can answer with. A path that exists answers every method it does not name (HEAD and OPTIONS,
too) with 405 and \`Allow\`. No text may contain NUL or half of a surrogate pair.`

/** Only what this page needs, and only from here: nothing it shows is told to anybody else. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
  "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

/** Registers the document before the routes it is made of. */
export async function describeApi(app: Api): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Perennial', version: '1', description: ABOUT },
      // relative: wherever this document was read from
      servers: [{ url: '/' }],
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    },
    transform: (document) => {
      const transformed = jsonSchemaTransform(document)
      const { scope } = document.route.config ?? {}
      if (transformed.schema === undefined) return transformed
      const { body } = document.schema as { body?: z.ZodType }
      Object.assign(transformed.schema, {
        'x-problems': problemCodes(document.route, document.schema),
        'x-body': body?.isOptional() === true ? 'optional' : 'required',
      })
      // OpenAPI has scopes for OAuth only, so they are said in words
      if (scope !== undefined) {
        const { description } = transformed.schema
        Object.assign(transformed.schema, {
          security: [{ key: [] }],
          description: `${description === undefined ? '' : `${description}\n\n`}Scope: \`${scope}\``,
        })
      }
      return transformed
    },
    transformObject(document) {
      const whole = jsonSchemaTransformObject(document)
      return 'components' in whole ? completed(whole as unknown as OpenApi) : whole
    },
  })
}

/** Registers the two pages, after all routes. */
export async function serveDocs(app: Api): Promise<void> {
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(app.swagger())),
  )
  app.addHook('onSend', (request, reply, _payload, done) => {
    if (request.routeOptions.url?.startsWith('/docs') === true) {
      reply.header('content-security-policy', PAGE_POLICY).header('cache-control', 'public, max-age=3600')
    }
    done()
  })
  await app.register(reference, {
    routePrefix: '/docs',
    configuration: {
      url: '/openapi.json',
      pageTitle: 'Perennial API',
      authentication: { preferredSecurityScheme: 'key' },
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      showDeveloperTools: 'never',
      agent: { disabled: true },
      mcp: { disabled: true },
    },
  })
}
