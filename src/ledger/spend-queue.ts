/**
 * Spends that wait in one process are decided together. Nothing waits on purpose: what arrives while a batch is under
 * way is the next batch. Each caller gets its own answer, in order of arrival, under its own key.
 */
import { Refusal } from '../domain/error.ts'
import type { Queryable } from '../store/connect.ts'
import { type SpendInput, type SpendResult, spend, spendMany } from './spend.ts'

/** Too many callers wait: try again in a moment. Nothing was written. */
export class SpendQueueFull extends Error {
  override name = 'SpendQueueFull'
}

export interface SpendQueueOptions {
  /** accounts are spread over this many lanes, one batch under way in each */
  lanes?: number
  /** the most spends of one batch */
  batchMax?: number
  /** the most callers that may wait; one more is refused at once */
  waitingMax?: number
}

interface Waiting {
  input: SpendInput
  resolve: (result: SpendResult) => void
  reject: (error: unknown) => void
}

interface Lane {
  waiting: Waiting[]
  busy: boolean
  /** how many batches to come look for every key first */
  careful: number
}

/** Keys that are known come in storms, when callers retry. */
const CAREFUL_FOR = 50

export class SpendQueue {
  readonly #database: Queryable
  readonly #lanes: Lane[]
  readonly #batchMax: number
  readonly #waitingMax: number
  #waiting = 0

  constructor(
    database: Queryable,
    { lanes = 2, batchMax = 256, waitingMax = 10_000 }: SpendQueueOptions = {},
  ) {
    this.#database = database
    this.#lanes = Array.from({ length: lanes }, () => ({ waiting: [], busy: false, careful: 0 }))
    this.#batchMax = batchMax
    this.#waitingMax = waitingMax
  }

  /**
   * Spends credits, as `spend` does.
   * @throws Refusal as `spend`; `SpendQueueFull`
   */
  spend(input: SpendInput): Promise<SpendResult> {
    if (this.#waiting >= this.#waitingMax) {
      return Promise.reject(new SpendQueueFull('too many spends are waiting'))
    }
    this.#waiting += 1
    const lane = this.#laneOf(input.account)
    return new Promise<SpendResult>((resolve, reject) => {
      lane.waiting.push({ input, resolve, reject })
      this.#wake(lane)
    })
  }

  /**
   * Has a lane work off who waits, once this turn of the event loop is over: who comes in the same turn, such as all who
   * were answered together and ask again, comes along instead of after the first. No time passes for that.
   */
  #wake(lane: Lane): void {
    if (lane.busy || lane.waiting.length === 0) return
    lane.busy = true
    setImmediate(() => void this.#run(lane))
  }

  async #run(lane: Lane): Promise<void> {
    const batch = takeBatch(lane.waiting, this.#batchMax)
    const [only] = batch
    if (batch.length === 1 && only !== undefined) await this.#single(only)
    else await this.#many(lane, batch)
    this.#waiting -= batch.length
    lane.busy = false
    this.#wake(lane)
  }

  /** The lean way, when nobody else waits. */
  async #single({ input, resolve, reject }: Waiting): Promise<void> {
    await spend(this.#database, input).then(resolve, reject)
  }

  async #many(lane: Lane, batch: Waiting[]): Promise<void> {
    const inputs = batch.map(({ input }) => input)
    const careful = lane.careful > 0
    if (careful) lane.careful -= 1
    let answers: (SpendResult | Refusal)[]
    try {
      answers = await spendMany(this.#database, inputs, careful).catch(async (error: unknown) => {
        if (isAboutOne(error)) throw error
        // A key was known, or nobody knows what was committed: the keys do.
        if (isKnownKey(error)) lane.careful = CAREFUL_FOR
        return await spendMany(this.#database, inputs, true)
      })
    } catch (error) {
      if (isAboutOne(error) || isKnownKey(error)) for (const one of batch) await this.#single(one)
      else for (const { reject } of batch) reject(error)
      return
    }
    batch.forEach(({ resolve, reject }, index) => {
      const answer = answers[index]
      if (answer === undefined || answer instanceof Refusal) reject(answer)
      else resolve(answer)
    })
  }

  /** An account is always in the same lane, so that its spends keep their order. */
  #laneOf(account: string): Lane {
    let hash = 0
    for (let i = account.length - 8; i < account.length; i++) hash = (hash * 31 + account.charCodeAt(i)) | 0
    return this.#lanes[Math.abs(hash) % this.#lanes.length] as Lane
  }
}

/** The callers at the front of a lane, until one whose key is in the batch already: it gets the answer of the first. */
function takeBatch(waiting: Waiting[], max: number): Waiting[] {
  const keys = new Set<string>()
  for (const { input } of waiting) {
    if (keys.size === max) break
    const key = `${input.account} ${input.key}`
    if (keys.has(key)) break
    keys.add(key)
  }
  return waiting.splice(0, keys.size)
}

/** Postgres refused the batch for something in one of its spends (22 data, 23 constraint) or too many lots (54). */
function isAboutOne(error: unknown): boolean {
  return !isKnownKey(error) && /^(22|23|54)/.test(codeOf(error))
}

function isKnownKey(error: unknown): boolean {
  return codeOf(error) === '23505'
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
