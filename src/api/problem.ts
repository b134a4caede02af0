/**
 * The one place where something that went wrong becomes an answer: application/problem+json (RFC 9457) with a stable
 * `code`. Nothing else chooses a status for an error.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { Refusal, type RefusalCode } from '../domain/error.ts'
import { overflowOf } from '../ledger/overflow.ts'
import { describeFailure, isUnavailable } from './failure.ts'

/** Problems of the HTTP layer itself. */
export type HttpCode =
  | 'api_key_invalid'
  | 'api_key_mistyped'
  | 'api_key_required'
  | 'api_key_revoked'
  | 'body_too_large'
  | 'cursor_invalid'
  | 'event_malformed'
  | 'idempotency_key_invalid'
  | 'idempotency_key_required'
  | 'internal'
  | 'json_malformed'
  | 'livemode_mismatch'
  | 'media_type_unsupported'
  | 'method_not_allowed'
  | 'not_found'
  | 'request_invalid'
  | 'scope_missing'
  | 'signature_future'
  | 'signature_invalid'
  | 'signature_stale'
  | 'text_invalid'
  | 'too_much_to_read'
  | 'unavailable'
  | 'url_malformed'

export type Code = RefusalCode | HttpCode

/** Status and title of every code. */
const KNOWN: Record<Code, readonly [status: number, title: string]> = {
  account_not_found: [404, 'No such account'],
  api_key_invalid: [401, 'Unknown API key'],
  api_key_mistyped: [401, 'Mistyped API key'],
  api_key_required: [401, 'An API key is required'],
  api_key_revoked: [401, 'Revoked API key'],
  approval_decided: [409, 'It was decided before'],
  approval_expired: [409, 'Nobody decided it in time'],
  approval_not_found: [404, 'No such approval'],
  approval_stale: [409, 'What was approved cannot be done any more'],
  approver_is_requester: [403, 'Another person must decide'],
  balance_limit: [409, 'Beyond what an account can have'],
  body_too_large: [413, 'The body is too large'],
  catalog_mismatch: [409, 'The catalogue and Stripe differ'],
  change_overtaken: [409, 'Another change came between'],
  change_rate: [429, 'Too many changes of plan'],
  checkout_expired: [409, 'The checkout could not be opened in time'],
  checkout_open: [409, 'A checkout is open already'],
  command_not_found: [404, 'No such command'],
  commitment_not_sold: [409, 'A commitment is not changed'],
  credits_invalid: [400, 'Not an amount of credits'],
  cursor_invalid: [400, 'Not a cursor of this list'],
  delivery_not_found: [404, 'No such delivery'],
  delivery_sending: [409, 'The delivery is under way'],
  endpoint_not_found: [404, 'No such webhook endpoint'],
  endpoint_url_refused: [400, 'Not a URL that webhooks can go to'],
  customer_not_found: [409, 'The account has no customer in Stripe'],
  event_malformed: [400, 'Not an event of Stripe'],
  expiry_past: [400, 'The expiry is past'],
  external_id_taken: [409, 'The external id is taken'],
  grant_limit: [403, 'The grant is above the limit'],
  hold_closed: [409, 'The hold is closed'],
  hold_not_found: [404, 'No such hold'],
  idempotency_in_progress: [409, 'The same request is being processed'],
  idempotency_key_invalid: [400, 'Not an Idempotency-Key'],
  idempotency_key_required: [400, 'An Idempotency-Key is required'],
  idempotency_key_reused: [409, 'The Idempotency-Key was used for another request'],
  instant_not_over: [400, 'The instant is not over'],
  insufficient_credits: [402, 'Not enough credits'],
  internal: [500, 'Something is wrong on our side'],
  json_malformed: [400, 'The body is not JSON'],
  livemode_mismatch: [400, 'Live and test do not mix'],
  media_type_unsupported: [415, 'The body must be application/json'],
  method_not_allowed: [405, 'The method is not allowed here'],
  not_found: [404, 'Nothing is here'],
  notice_not_found: [404, 'No such notice'],
  pack_not_found: [404, 'The pack is not on sale'],
  payment_method_missing: [409, 'No card was kept'],
  payment_overdue: [409, 'A payment is overdue'],
  pending_change_not_found: [404, 'No change is pending'],
  plan_group_differs: [409, 'The plan is of another group'],
  plan_is_free: [409, 'The plan is free'],
  plan_not_found: [404, 'The plan is not on sale'],
  purchase_day_limit: [409, 'More than an account may buy in a day'],
  purchase_limit: [400, 'Less or more than one purchase may cost'],
  purchase_not_found: [404, 'No such purchase'],
  purchase_rate: [429, 'Too many purchases in an hour'],
  request_invalid: [400, 'The request is not valid'],
  reversal_too_large: [409, 'More than is left of the spend'],
  scope_missing: [403, 'The API key may not do this'],
  signature_future: [400, 'The signature is from the future'],
  signature_invalid: [400, 'The signature is not valid'],
  signature_stale: [400, 'The signature is too old'],
  spend_not_found: [404, 'No such spend'],
  spend_reversed: [409, 'The spend was given back'],
  stripe_refused: [502, 'Stripe refused the request'],
  subscription_cancelling: [409, 'The subscription is to end'],
  subscription_duplicate: [409, 'The subscription is a duplicate'],
  subscription_ended: [409, 'The subscription has ended'],
  subscription_exists: [409, 'A subscription of this group is live'],
  subscription_not_found: [404, 'No such subscription'],
  subscription_not_started: [409, 'The subscription has not begun'],
  top_up_not_found: [404, 'No automatic top-up'],
  subscription_paused: [409, 'The subscription is paused'],
  subscription_trialing: [409, 'The subscription is on trial'],
  text_invalid: [400, 'Not a valid text'],
  too_much_to_read: [422, 'Too much to read at once'],
  unavailable: [503, 'Not available right now'],
  url_malformed: [400, 'The URL is malformed'],
}

/** A problem of the HTTP layer, thrown by hooks and routes. `detail` is for a person; no personal data in it. */
export class Problem extends Error {
  readonly code: HttpCode
  readonly data: Record<string, unknown>
  readonly headers: Record<string, string>

  constructor(
    code: HttpCode,
    detail: string,
    more: { data?: Record<string, unknown>; headers?: Record<string, string> } = {},
  ) {
    super(detail)
    this.name = 'Problem'
    this.code = code
    this.data = more.data ?? {}
    this.headers = more.headers ?? {}
  }
}

/** What a schema cannot tell: fields of the body that do not go with the others. */
export function invalidFields(fields: string[], message: string): Problem {
  const errors = fields.map((field) => ({ path: `body/${field}`, message }))
  return new Problem('request_invalid', `${errors[0]?.path}: ${message}`, { data: { errors } })
}

/** What a problem looks like; facts for programs may stand beside these fields. */
export const problemSchema = z
  .looseObject({
    type: z.string().meta({ examples: ['urn:perennial:problem:insufficient_credits'] }),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(KNOWN) as [Code, ...Code[]]).describe('stable; decide by this'),
    detail: z.string(),
    request_id: z.string(),
  })
  .meta({ id: 'Problem' })

/** Facts that some problems carry for programs, as examples. */
const FACTS: Partial<Record<Code, Record<string, unknown>>> = {
  change_rate: { retry_after: 60 },
  checkout_open: { subscription: 'ord_3b9d2f6a81c44e0fa7d5c1b2e3f40596' },
  external_id_taken: { account: 'acc_9f1c6b0e3d5a47c2b8e4d7a1f0c3b256' },
  grant_limit: { limit: '1000', scope: 'grants:large' },
  hold_closed: { hold_status: 'released' },
  insufficient_credits: { available: '3.5' },
  purchase_day_limit: { limit: '200000', left: '5000' },
  purchase_limit: { least: '500', most: '100000' },
  purchase_rate: { limit: 10, retry_after: 1800 },
  request_invalid: { errors: [{ path: 'body/amount', message: 'expected an amount as a string' }] },
  reversal_too_large: { left: '2.5' },
  scope_missing: { scope: 'spend' },
  spend_reversed: { left: '0' },
  subscription_exists: { subscription: 'ord_3b9d2f6a81c44e0fa7d5c1b2e3f40596' },
}

/** What the documentation says of a problem: its status, and how it looks. */
export function exampleOf(code: Code): { status: number; summary: string; value: unknown } {
  const [status, title] = KNOWN[code]
  const answer = { code, status, title, detail: title, data: FACTS[code] ?? {} }
  return { status, summary: title, value: JSON.parse(render(answer, { id: 'req_5d1f…' })) }
}

/** The status of every code. */
export function statusOf(code: Code): number {
  return KNOWN[code][0]
}

/** What the state of things refuses; undefined for every other failure. */
export function refusalIn(error: unknown): Refusal | undefined {
  return error instanceof Refusal ? error : overflowOf(error)
}

interface Answer {
  code: string
  status: number
  title: string
  detail: string
  data: Record<string, unknown>
  headers: Record<string, string>
}

/** Codes of the framework that mean more than a bad request. */
const FRAMEWORK: Record<string, Code> = {
  FST_ERR_BAD_URL: 'url_malformed',
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'json_malformed',
  FST_ERR_CTP_INVALID_JSON_BODY: 'json_malformed',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media_type_unsupported',
}

const FRAMEWORK_DETAIL: Partial<Record<Code, string>> = {
  body_too_large: 'the body is larger than this route accepts',
  json_malformed: 'the body cannot be read as JSON',
  media_type_unsupported: 'send the body with Content-Type: application/json',
  url_malformed: 'the path cannot be decoded',
}

/** Answers an error, whatever it is. Logs what is our fault, without values that a caller sent. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const answer = answerOf(error)
  // a request that the framework could not even route has passed no hook
  request.trace ??= {}
  if (answer.status >= 500) {
    request.log.error(
      { ...request.trace, code: answer.code, failure: describeFailure(error) },
      'request failed',
    )
  }
  request.trace['code'] = answer.code
  return reply
    .headers(answer.headers)
    .code(answer.status)
    .type('application/problem+json')
    .send(render(answer, request))
}

/** What a workflow refused, as the answer to its command: the row of the command says with what. */
export function refusedAnswer(
  outcome: { statusCode: number; result: Record<string, unknown> },
  request: { id: string },
): { statusCode: number; body: string } {
  const { code, detail, ...data } = outcome.result
  const known = typeof code === 'string' && code in KNOWN ? KNOWN[code as Code] : undefined
  const body = render(
    {
      code: typeof code === 'string' ? code : 'request_invalid',
      status: outcome.statusCode,
      title: known?.[1] ?? 'Refused',
      detail: typeof detail === 'string' ? detail : 'the request was refused',
      data,
    },
    request,
  )
  return { statusCode: outcome.statusCode, body }
}

/** The document itself. Facts for programs cannot overwrite its own fields. */
export function render(answer: Omit<Answer, 'headers'>, request: { id: string }): string {
  const { code, status, title, detail, data } = answer
  const type = `urn:perennial:problem:${code}`
  return JSON.stringify({ ...data, type, title, status, code, detail, request_id: request.id })
}

function answerOf(error: unknown): Answer {
  const refusal = refusalIn(error)
  if (refusal !== undefined) {
    const { retry_after: after } = refusal.data
    const headers = typeof after === 'number' ? { 'retry-after': `${after}` } : {}
    return { ...known(refusal.code, refusal.message, refusal.data), headers }
  }
  if (error instanceof Problem)
    return { ...known(error.code, error.message, error.data), headers: error.headers }
  if (hasZodFastifySchemaValidationErrors(error)) return invalid(error)
  if (isFrameworkRefusal(error)) {
    const code = FRAMEWORK[error.code] ?? 'request_invalid'
    return known(code, FRAMEWORK_DETAIL[code] ?? 'the request cannot be read', {})
  }
  if (isUnavailable(error)) {
    const retry = 'try again with the same Idempotency-Key'
    return { ...known('unavailable', retry, {}), headers: { 'retry-after': '1' } }
  }
  return known('internal', 'this was reported; the request id finds it', {})
}

function known(code: Code, detail: string, data: Record<string, unknown>): Answer {
  const [status, title] = KNOWN[code]
  return { code, status, title, detail, data, headers: {} }
}

const PLACE: Record<string, string> = { querystring: 'query', params: 'path', headers: 'header' }

function invalid(
  error: Omit<FastifyError, 'validation'> & { validation: { instancePath: string; message?: string }[] },
) {
  const context = error.validationContext ?? 'body'
  const place = PLACE[context] ?? context
  const errors = error.validation.map((issue) => ({
    path: `${place}${issue.instancePath === '/' ? '' : issue.instancePath}`,
    message: issue.message ?? 'is not valid',
  }))
  const first = errors[0]
  return known('request_invalid', first === undefined ? 'not valid' : `${first.path}: ${first.message}`, {
    errors,
  })
}

function isFrameworkRefusal(error: unknown): error is FastifyError {
  if (!(error instanceof Error) || !('statusCode' in error)) return false
  return typeof error.statusCode === 'number' && error.statusCode >= 400 && error.statusCode < 500
}
