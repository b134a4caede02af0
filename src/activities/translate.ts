/** Errors at the border to Temporal: what a retry cannot mend fails at once; everything else is tried again. */
import { asyncLocalStorage, heartbeat } from '@temporalio/activity'
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common'
import Stripe from 'stripe'
import { Refusal } from '../domain/error.ts'
import { StripeBusy, StripeUnavailable } from '../stripe/edge.ts'
import { STRIPE_WAITS } from '../workflows/message.ts'
import { isSpent } from '../stripe/call.ts'

// biome-ignore lint: activities take and give what they like
type Activity = (...args: never[]) => Promise<unknown>

/** How often a running activity says that its worker lives. The time-out in `workflows/proxy.ts` is a few of these. */
const ALIVE_EVERY_MS = 2_000

/** Wraps every activity: its errors are translated, and it shows that it is alive, so that a dead worker is noticed. */
export function translated<T extends Record<keyof T, Activity>>(activities: T): T {
  const wrapped = Object.entries<Activity>(activities).map(([name, activity]) => [
    name,
    async (...args: never[]) => {
      const context = asyncLocalStorage.getStore()
      const alive = context && setInterval(() => asyncLocalStorage.run(context, heartbeat), ALIVE_EVERY_MS)
      try {
        return await activity(...args)
      } catch (error) {
        throw translate(error)
      } finally {
        clearInterval(alive)
      }
    },
  ])
  return Object.fromEntries(wrapped) as T
}

/** What Stripe will refuse again however often it is asked; undefined for everything that may pass. */
export function refusalOf(error: unknown): { code: 'stripe_refused'; detail: string } | undefined {
  if (!(error instanceof Stripe.errors.StripeError) || isSpent(error)) return undefined
  const status = error.statusCode ?? 0
  if (status < 400 || status >= 500 || status === 409 || status === 429) return undefined
  const detail = `Stripe refused: ${error.code ?? error.type} (${error.requestId ?? 'no request id'})`
  return { code: 'stripe_refused', detail }
}

/** The same fault, as Temporal is to treat it. Messages carry ids, never personal data. */
export function translate(error: unknown): unknown {
  if (error instanceof Refusal) return ApplicationFailure.nonRetryable(error.message, error.code)
  const inner = error instanceof Stripe.errors.StripeConnectionError ? error.detail : undefined
  if (inner instanceof StripeUnavailable)
    return waiting(STRIPE_WAITS.unavailable, inner.message, inner.retryAfterMs)
  if (inner instanceof StripeBusy) return waiting(STRIPE_WAITS.busy, inner.message, inner.retryAfterMs)
  if (isDatabaseError(inner)) return translate(inner)
  // Stripe itself refused for the rate; that nobody goes before is known to the next one who asks
  if (error instanceof Stripe.errors.StripeRateLimitError && error.code !== 'lock_timeout')
    return waiting(STRIPE_WAITS.busy, 'Stripe refused for the rate', 0)
  if (error instanceof Stripe.errors.StripeError) {
    const refusal = refusalOf(error)
    if (refusal !== undefined) return ApplicationFailure.nonRetryable(refusal.detail, 'StripeRefused')
    return ApplicationFailure.retryable(
      `Stripe failed: ${error.type} ${error.statusCode ?? ''}`,
      'StripeFailed',
    )
  }
  if (isDatabaseError(error)) {
    // the text of a message may quote a value: the code and the constraint tell enough and nothing personal
    const message = ['Postgres', error.code, error.constraint].filter(Boolean).join(' ')
    // 22 data, 23 constraint, 42 definition: the same statement will fail again
    return /^(22|23|42)/.test(error.code)
      ? ApplicationFailure.nonRetryable(message, 'DatabaseRefused')
      : ApplicationFailure.retryable(message, 'DatabaseFailed')
  }
  return error
}

/** How far apart those that wait for the same thing come back, at most. */
const SPREAD_MAX_MS = 60_000

/** To be tried when Stripe may be called again, each at another moment and the later the longer it has waited. */
function waiting(type: string, message: string, retryAfterMs: number): ApplicationFailure {
  const attempt = asyncLocalStorage.getStore()?.info.attempt ?? 1
  const spread = Math.min(SPREAD_MAX_MS, 250 * 2 ** Math.min(attempt, 20))
  const nextRetryDelay = Math.ceil(retryAfterMs + spread * (0.25 + Math.random()))
  return ApplicationFailure.create({
    message,
    type,
    nextRetryDelay,
    category: ApplicationFailureCategory.BENIGN,
  })
}

function isDatabaseError(error: unknown): error is Error & { code: string; constraint?: string } {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    /^[0-9A-Z]{5}$/.test(error.code)
  )
}
