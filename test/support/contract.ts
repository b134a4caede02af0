/** The contract of the API: its document, how two documents differ, and whether an answer keeps to it. */
import assert from 'node:assert/strict'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { buildApi } from '../../src/api/server.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createLogger } from '../../src/log.ts'
import { connect } from '../../src/store/connect.ts'

/** Where the recorded document is. */
export const RECORDED = new URL('../fixtures/openapi.json', import.meta.url)

/** A body that the document describes. */
export interface Media {
  schema: { $ref?: string; examples?: unknown[] }
  example?: unknown
  examples?: Record<string, { $ref?: string; value?: unknown }>
}

interface Described {
  content?: Record<string, Media>
  headers?: Record<string, { $ref: string }>
}

/** A parameter that the document describes. */
export interface Parameter {
  in: string
  name: string
  required?: boolean
  example?: string | number | boolean
  schema: object
}

export interface Operation {
  parameters?: Parameter[]
  requestBody?: Described
  responses: Record<string, Described>
}

export interface OpenApi {
  paths: Record<string, Record<string, Operation>>
  components: Record<string, unknown> & { headers: Record<string, Header> }
}

interface Header {
  required?: boolean
  schema: object
}

/** Examples of what an operation is sent. */
export function requestExamples({ requestBody }: Operation): Record<string, unknown>[] {
  const { example, examples = {} } = requestBody?.content?.['application/json'] ?? {}
  const named = Object.values(examples).map(({ value }) => value)
  return [...(example === undefined ? [] : [example]), ...named] as Record<string, unknown>[]
}

/** The document as the API serves it. Asks nobody: the document needs no database. */
export async function currentDocument(): Promise<OpenApi> {
  const pool = connect('postgres://nobody@127.0.0.1:1/none')
  const app = await buildApi({
    pool,
    reach: undefined,
    webhookSecrets: ['whsec_none'],
    livemode: false,
    product: 'Product',
    anywhere: false,
    apiVersion: 'none',
    metrics: createMetrics(),
    log: createLogger('silent'),
  })
  const { payload } = await app.inject({ method: 'GET', url: '/openapi.json' })
  await app.close()
  await pool.end()
  return JSON.parse(payload) as OpenApi
}

let contract: Promise<(answer: Answered) => void> | undefined

/** Checks an answer by the API's own document, made once a run. @throws AssertionError */
export async function assertConforms(answer: Answered): Promise<void> {
  contract ??= currentDocument().then(conformance)
  ;(await contract)(answer)
}

/** A line for each place where two documents differ, with both values. */
export function differences(before: unknown, after: unknown, place = ''): string[] {
  if (isNode(before) && isNode(after) && Array.isArray(before) === Array.isArray(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    return names.flatMap((name) => differences(before[name], after[name], `${place} › ${name}`))
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  const shown = (value: unknown) => (JSON.stringify(value) ?? '').slice(0, 300)
  return [
    ...(before === undefined ? [] : [`-${place}: ${shown(before)}`]),
    ...(after === undefined ? [] : [`+${place}: ${shown(after)}`]),
  ]
}

function isNode(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

export interface Answered {
  method: string
  url: string
  status: number
  headers: Record<string, string | string[] | number | undefined>
  text: string
}

/**
 * A check that an answer is one that the document describes: its status, its media type, its headers as far as they are
 * those of the document, and its body by the schema. Answers of what is no operation of the document (its own pages, wrong paths and methods) pass.
 */
export function conformance(document: OpenApi): (answer: Answered) => void {
  const { components } = document
  const described = Object.entries(components.headers)
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  const compiled = new Map<unknown, ValidateFunction>()
  const paths = Object.entries(document.paths).map(([path, operations]) => ({
    pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
    operations,
  }))
  return ({ method, url, status, headers, text }) => {
    const [path = ''] = url.split('?')
    const operation = paths.find(({ pattern }) => pattern.test(path))?.operations[method.toLowerCase()]
    if (operation === undefined) return
    const what = `${method} ${path} answered ${status} ${text.slice(0, 500)}`
    const response = operation.responses[status]
    assert(response, `${what}, a status that the document does not name`)
    for (const [name, { required, schema }] of described) {
      const value = headers[name.toLowerCase()]
      if (response.headers?.[name] === undefined) {
        assert(value === undefined, `${what}, with ${name}, which the document does not name`)
      } else if (value === undefined) assert(required !== true, `${what}, without ${name}`)
      else assert(ajv.validate(schema, value), `${what}, with ${name}: ${value.toString()}`)
    }
    const [type = ''] = `${headers['content-type']?.toString()}`.split(';')
    const schema = response.content?.[type]?.schema
    assert(schema, `${what}, as ${type}, which the document does not name`)
    const validate = compiled.get(schema) ?? ajv.compile({ ...schema, components })
    compiled.set(schema, validate)
    assert(
      validate(JSON.parse(text)),
      `${what}, which does not fit its schema: ${ajv.errorsText(validate.errors)}`,
    )
  }
}
