// Stripe's error objects: type, code, parameter and HTTP status as its API answers them.

export interface FaultBody {
  type: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error'
  message: string
  code?: string
  param?: string
  [extra: string]: unknown
}

export class StripeFault extends Error {
  readonly status: number
  readonly body: FaultBody
  /** True once the request had begun to act: its effects stay and the answer is kept under the idempotency key. */
  readonly executed: boolean

  constructor(status: number, body: FaultBody, executed = false) {
    super(body.message)
    this.status = status
    this.body = body
    this.executed = executed
  }
}

/** A request that Stripe refuses before doing anything. */
export function invalid(message: string, param?: string, code?: string): StripeFault {
  return new StripeFault(400, {
    type: 'invalid_request_error',
    message,
    ...(param === undefined ? {} : { param }),
    ...(code === undefined ? {} : { code }),
  })
}

/** A well-formed request that the object's present state does not allow. */
export function refused(message: string, code?: string): StripeFault {
  return new StripeFault(400, { type: 'invalid_request_error', message, ...(code ? { code } : {}) }, true)
}

const nouns: Record<string, string> = {
  payment_method: 'PaymentMethod',
  payment_intent: 'payment_intent',
  setup_intent: 'setupintent',
  webhook_endpoint: 'webhook endpoint',
}

/** No such object: 404 when the URL names it, 400 when a parameter does. */
export function missing(kind: string, id: string, param?: string): StripeFault {
  return new StripeFault(param === undefined ? 404 : 400, {
    type: 'invalid_request_error',
    code: 'resource_missing',
    message: `No such ${nouns[kind] ?? kind}: '${id}'`,
    param: param ?? (kind === 'payment_intent' || kind === 'setup_intent' ? 'intent' : 'id'),
  })
}

export function unknownParameter(path: string): StripeFault {
  return invalid(`Received unknown parameter: ${path}`, path, 'parameter_unknown')
}

export function missingParameter(path: string): StripeFault {
  return invalid(`Missing required param: ${path}.`, path, 'parameter_missing')
}

/** The sandbox's own honesty: Stripe knows this, the simulator does not. Never silently ignored. */
export function notSimulated(what: string, param?: string): StripeFault {
  return invalid(`The Stripe sandbox does not simulate ${what}.`, param, 'sandbox_not_simulated')
}

/** The answer's `error` object with what Stripe adds to every one. */
export function errorObject(fault: StripeFault, requestId: string): Record<string, unknown> {
  const { code } = fault.body
  return {
    ...(code ? { doc_url: `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}` } : {}),
    ...fault.body,
    request_log_url: `https://dashboard.stripe.com/test/logs/${requestId}`,
  }
}
