// The one source of chance: seeded, so that a run can be repeated. Ids look like Stripe's.
import { createHash, randomInt } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export class Random {
  #state: number

  constructor(seed: number | undefined, generation: number) {
    const from = seed ?? randomInt(2 ** 47)
    this.#state = createHash('sha256').update(`${from}/${generation}`).digest().readUInt32LE(0)
  }

  /** mulberry32: a number in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }

  text(length: number): string {
    return Array.from({ length }, () => ALPHABET[Math.floor(this.next() * ALPHABET.length)]).join('')
  }

  shuffle<T>(items: T[]): T[] {
    const out = [...items]
    for (let i = out.length - 1; i > 0; i -= 1) {
      const j = Math.floor(this.next() * (i + 1))
      const [a, b] = [out[i] as T, out[j] as T]
      out[i] = b
      out[j] = a
    }
    return out
  }
}

/** The shape of an id after its prefix, by prefix; what is not named here has 24 characters. */
const lengths: Record<string, number> = { cus: 14, prod: 14, si: 14, req: 14, we: 24, cs_test: 58 }

export function idFor(random: Random, prefix: string): string {
  const length = lengths[prefix]
  if (length !== undefined) return `${prefix}_${prefix === 'cs_test' ? 'a1' : ''}${random.text(length)}`
  const first = prefix === 'pi' || prefix === 'ch' || prefix === 'py' ? '3' : '1'
  return `${prefix}_${first}${random.text(23)}`
}
