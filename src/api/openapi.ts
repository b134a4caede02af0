/**
 * Completes the document that the routes' schemas make: what every route of a kind can answer with, problems with their
 * examples, headers. Pure: a document in, a document out.
 */
import { type Code, exampleOf } from './problem.ts'
import { problemsOf } from './schema.ts'

type Json = Record<string, unknown>

interface Operation {
  'x-problems'?: Code[]
  'x-body'?: 'optional' | 'required'
  security?: unknown
  requestBody?: { required: boolean; content: Record<string, { schema?: Json }> }
  parameters?: { in: string; name: string; schema: Json }[]
  responses: Record<string, Json>
}

export interface OpenApi {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Json>; examples?: Json; headers?: Json }
}

/** Every code that a route can answer with: those it names, and those of its kind. */
export function problemCodes(
  route: { url: string; method: string | string[]; config?: { scope?: string } },
  schema: { response?: unknown; body?: unknown },
): Code[] {
  const keyed = route.config?.scope !== undefined
  const codes: Code[] = [...problemsOf(schema.response), 'internal', 'request_invalid', 'text_invalid']
  if (route.url.includes(':')) codes.push('url_malformed')
  if (keyed) {
    codes.push('api_key_required', 'api_key_invalid', 'api_key_mistyped', 'api_key_revoked')
    codes.push('scope_missing', 'unavailable')
  }
  if (keyed && route.method === 'POST') {
    codes.push('idempotency_key_required', 'idempotency_key_invalid', 'idempotency_key_reused')
  }
  if (schema.body !== undefined) codes.push('body_too_large', 'json_malformed', 'media_type_unsupported')
  return [...new Set(codes)].sort()
}

const SAID: Record<string, string> = {
  '200': 'It is done',
  '201': 'It is made',
  '202': 'It was taken and goes on: ask for the command at Location, or send the same request again',
}

/** Of a command that also answers what it would do. */
const FORESEEN = 'With `dry_run=true`: what it would do, or why it would be refused'

const HEADERS = {
  'Idempotent-Replayed': {
    description: 'this answer was given before',
    schema: { type: 'string', enum: ['true'] },
  },
  Location: { description: 'where the command can be read', required: true, schema: { type: 'string' } },
  'Retry-After': { description: 'seconds', required: true, schema: { type: 'string', pattern: '^[0-9]+$' } },
  'WWW-Authenticate': { required: true, schema: { type: 'string', enum: ['Bearer'] } },
}

const headers = (...names: (keyof typeof HEADERS)[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))

/** The whole document. */
export function completed<T extends OpenApi>(document: T): T {
  const { schemas } = document.components
  // each named schema comes twice, as sent and as answered; only answers are named here
  for (const name of Object.keys(schemas)) if (name.endsWith('Input')) delete schemas[name]
  const named = new Set<Code>()
  for (const operations of Object.values(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      for (const code of complete(method, operation)) named.add(code)
    }
  }
  document.components.headers = HEADERS
  document.components.examples = Object.fromEntries(
    [...named].sort().map((code) => {
      const { summary, value } = exampleOf(code)
      return [code, { summary, value }]
    }),
  )
  return document
}

function complete(method: string, operation: Operation): Code[] {
  const { 'x-problems': codes = [], 'x-body': body, requestBody, parameters = [], responses } = operation
  delete operation['x-problems']
  delete operation['x-body']
  if (requestBody !== undefined) {
    requestBody.required = body === 'required'
    for (const { schema } of Object.values(requestBody.content)) keepable(schema)
  }
  for (const parameter of parameters) if (parameter.in !== 'header') keepable(parameter.schema)
  const replayable = method !== 'get' && operation.security !== undefined
  for (const [status, response] of Object.entries(responses)) {
    response['description'] = SAID[status] ?? 'It is answered'
    if (status === '200' && parameters.some(({ name }) => name === 'dry_run')) {
      response['description'] = responses['201'] === undefined ? `${SAID['200']}. ${FORESEEN}` : FORESEEN
    }
    const names = [
      ...(replayable ? (['Idempotent-Replayed'] as const) : []),
      ...(status === '202' ? (['Location'] as const) : []),
    ]
    if (names.length > 0) response['headers'] = headers(...names)
  }
  for (const status of new Set(codes.map((code) => exampleOf(code).status)))
    responses[status] = problemResponse(
      status,
      codes.filter((code) => exampleOf(code).status === status),
      replayable,
    )
  return codes
}

/** Refusals of these are not kept: whoever asks again is looked at anew. */
const NOT_KEPT = [400, 401, 413, 415, 429, 500, 503]

function problemResponse(status: number, codes: Code[], replayable: boolean): Json {
  const names = [
    ...(status === 401 ? (['WWW-Authenticate'] as const) : []),
    ...(status === 429 || status === 503 ? (['Retry-After'] as const) : []),
    ...(replayable && !NOT_KEPT.includes(status) ? (['Idempotent-Replayed'] as const) : []),
  ]
  return {
    description: codes.map((code) => `\`${code}\``).join(', '),
    ...(names.length > 0 && { headers: headers(...names) }),
    content: {
      'application/problem+json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            { properties: { status: { const: status }, code: { enum: codes } } },
          ],
        },
        examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  }
}

/** Says of every free text in a request that Postgres must be able to keep it. */
function keepable(at: unknown): void {
  if (typeof at !== 'object' || at === null) return
  const schema = at as Json
  const free = ['pattern', 'enum', 'const', 'format'].every((word) => schema[word] === undefined)
  if (schema['type'] === 'string' && free) schema['pattern'] = '^[^\\u0000]*$'
  for (const inner of Object.values(schema)) keepable(inner)
}
