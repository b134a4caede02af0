// Idempotency keys as Stripe keeps them: the first answer is repeated for 24 hours of business time, whatever it was,
// once the request had begun to act.
import { createHash } from 'node:crypto'
import { StripeFault, invalid } from './error.ts'
import type { SavedAnswer } from './wire.ts'
import type { World } from './world.ts'

const DAY_MS = 24 * 3600 * 1000

export class IdempotencyKeys {
  readonly #world: World
  readonly #running = new Set<string>()

  constructor(world: World) {
    this.#world = world
  }

  /** Claims the key while its request runs; another one with it is turned away. Returns the release. */
  claim(key: string): () => void {
    if (key.length > 255)
      throw invalid(
        'The idempotency key is too long: the maximum is 255 characters.',
        undefined,
        'idempotency_key_too_long',
      )
    if (this.#running.has(key))
      throw new StripeFault(409, {
        type: 'invalid_request_error',
        code: 'idempotency_key_in_use',
        message: `There is currently another in-progress request using this Stripe-Idempotency-Key (that probably means you submitted twice, and the other request is still going through): ${key}. Please try again later.`,
      })
    this.#running.add(key)
    return () => this.#running.delete(key)
  }

  /** The answer given before, if the key was used within a day; a key reused for something else is an error. */
  find(key: string, method: string, path: string, body: string, nowMs: number): SavedAnswer | undefined {
    const saved = this.#world.store.get('_answer', key)
    if (!saved || saved.at + DAY_MS <= nowMs) return undefined
    if (saved.method !== method || saved.path !== path)
      throw mismatch(
        `Keys for idempotent requests can only be used for the same endpoint they were first used for ('${path}' vs '${saved.path}'). Try using a key other than '${key}' if you meant to execute a different request.`,
      )
    if (saved.params !== hashOf(body))
      throw mismatch(
        `Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '${key}' if you meant to execute a different request.`,
      )
    return saved
  }

  keep(answer: Omit<SavedAnswer, 'params'> & { body: string }, sent: string): void {
    this.#world.store.put('_answer', answer.key, { ...answer, params: hashOf(sent) })
  }

  /** Has the answer that is kept under a key be another one: the request was carried out and then answered this. */
  replace(key: string, answer: Pick<SavedAnswer, 'status' | 'body'>): void {
    const saved = this.#world.store.get('_answer', key)
    if (saved) this.#world.store.put('_answer', key, { ...saved, ...answer })
  }

  prune(nowMs: number): void {
    for (const saved of this.#world.store.all('_answer'))
      if (saved.at + DAY_MS <= nowMs) this.#world.store.delete('_answer', saved.key)
  }
}

function mismatch(message: string): StripeFault {
  return new StripeFault(400, { type: 'idempotency_error', message })
}

/** Independent of the order in which a client writes its parameters. */
function hashOf(body: string): string {
  const sorted = body.split('&').sort().join('&')
  return createHash('sha256').update(sorted).digest('hex')
}
