/**
 * The memory of calls to Stripe (law 10): written down before they are sent; a lost answer is had again by the same key
 * while Stripe knows it, and looked up after that. Only what is not there is asked for again, under another key.
 */
import { decideCall } from '../domain/stripe-call.ts'
import { stripeKey } from '../domain/id.ts'
import type { Pool } from '../store/connect.ts'
import { keepAnswer, makeAnother, nextGeneration, writeCall } from '../store/stripe-call.ts'
import { type Calls, isSpent, OutcomeUnknown } from '../stripe/call.ts'
import { refusalOf } from './translate.ts'

/** How many keys of one call a single try may use up. Temporal tries again. */
const GENERATIONS_MAX = 4

export function createCalls(pool: Pool): Calls {
  return {
    async make(making) {
      const { key, send, read, find } = making
      for (let tries = 1; ; tries += 1) {
        const { call, now } = await writeCall(pool, making)
        const step = decideCall(call, now)
        if (step === 'read') {
          const made = await read(call.object ?? '')
          if (made === undefined) throw new OutcomeUnknown(`Stripe made ${call.object} and does not know it`)
          if (making.isOver?.(made) !== true) return made
          await makeAnother(pool, key, made.id)
          continue
        }
        if (step === 'send') {
          try {
            const made = await send(stripeKey.generation(key, call.generation))
            await keepAnswer(pool, key, made.id)
            return made
          } catch (error) {
            // refused: nothing was made, and that is known
            if (refusalOf(error) !== undefined) await keepAnswer(pool, key, null)
            if (!isSpent(error) || tries === GENERATIONS_MAX) throw error
          }
        }
        const found = await find(call.askedAt)
        if (found !== undefined) {
          await keepAnswer(pool, key, found.id)
          return found
        }
        await nextGeneration(pool, key, call.generation)
      }
    },

    async set(setting) {
      const { key, send } = setting
      const { call } = await writeCall(pool, setting)
      try {
        const answer = await send(stripeKey.generation(key, call.generation))
        await keepAnswer(pool, key, null)
        return answer
      } catch (error) {
        if (refusalOf(error) !== undefined) await keepAnswer(pool, key, null)
        if (!isSpent(error)) throw error
        await nextGeneration(pool, key, call.generation)
        throw new OutcomeUnknown(`Stripe does not say what became of ${key}`)
      }
    },
  }
}
