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
  /** the most batches under way at once; an account is in one of them at most */
  lanes?: number
  /** the most spends of one batch */
  batchMax?: number
  /** the most callers that may wait; one more is refused at once */
  waitingMax?: number
  /** the most bytes their metadata may weigh */
  weightMax?: number
}

interface Waiting {
  input: SpendInput
  resolve: (result: SpendResult) => void
  reject: (error: unknown) => void
}

/** Those who wait for one account, in order of arrival. */
interface Line {
  account: string
  waiting: Waiting[]
  /** some of this account are being decided: the others wait for them, so that an account's spends keep their order */
  underWay: boolean
}

/** Those of each line whose turn it is, and all of them in one. */
interface Batch {
  parts: { line: Line; spends: Waiting[] }[]
  spends: Waiting[]
}

/** Keys that are known come in storms, when callers retry. */
const CAREFUL_FOR = 50

/**
 * How many must wait for another batch to be begun beside one that is under way: a batch costs as much as about twelve
 * spends before there is one in it. Measured: with 16 a tenth faster over HTTP than with 6, 8, 12, 20 or more.
 */
const WORTH_A_BATCH = 16
/** A batch that takes longer waits for something, such as a wallet that somebody has locked: nobody else waits for it. */
const PATIENCE_MS = 10

/** How long a spend that waits alone keeps its lane, as `ledger_spend_many` waits for a lock: then its wallet is locked. */
const LOCKED_MS = 200

export class SpendQueue {
  readonly #database: Queryable
  readonly #lanes: number
  readonly #batchMax: number
  readonly #waitingMax: number
  readonly #weightMax: number
  readonly #lines = new Map<string, Line>()
  /** lines whose account is not under way, in the order in which they may go */
  #ready: Line[] = []
  /** how many wait in them */
  #readyCount = 0
  /** how many wait or are being decided */
  #waiting = 0
  /** what their metadata weighs: few callers with much of it fill the memory before many with none do */
  #weight = 0
  #underWay = 0
  #woken = false
  /** runs while fewer wait than are worth a batch */
  #patience: NodeJS.Timeout | undefined
  /** how many batches to come look for every key first */
  #careful = 0

  constructor(
    database: Queryable,
    { lanes = 2, batchMax = 256, waitingMax = 10_000, weightMax = 64 * 2 ** 20 }: SpendQueueOptions = {},
  ) {
    this.#database = database
    this.#lanes = lanes
    this.#batchMax = batchMax
    this.#waitingMax = waitingMax
    this.#weightMax = weightMax
  }

  /**
   * Spends credits, as `spend` does.
   * @throws Refusal as `spend`; `SpendQueueFull`
   */
  spend(input: SpendInput): Promise<SpendResult> {
    const weight = weightOf(input)
    if (this.#waiting >= this.#waitingMax || this.#weight + weight > this.#weightMax) {
      return Promise.reject(new SpendQueueFull('too many spends are waiting'))
    }
    this.#waiting += 1
    this.#weight += weight
    const answer = new Promise<SpendResult>((resolve, reject) => {
      const { account } = input
      let line = this.#lines.get(account)
      if (line === undefined) {
        line = { account, waiting: [], underWay: false }
        this.#lines.set(account, line)
      }
      line.waiting.push({ input, resolve, reject })
      if (line.underWay) return
      if (line.waiting.length === 1) this.#ready.push(line)
      this.#readyCount += 1
      this.#wake()
    })
    return weight === 0 ? answer : answer.finally(() => (this.#weight -= weight))
  }

  /**
   * Has those who wait go, once this turn of the event loop is over: who comes in the same turn, such as all who were
   * answered together and ask again, comes along instead of after the first. No time passes for that.
   */
  #wake(): void {
    if (this.#woken || this.#readyCount === 0 || this.#underWay === this.#lanes) return
    if (this.#underWay > 0 && this.#readyCount < WORTH_A_BATCH) {
      this.#patience ??= setTimeout(() => this.#go(1), PATIENCE_MS)
      return
    }
    this.#woken = true
    setImmediate(() => this.#go(WORTH_A_BATCH))
  }

  /** @param least how many must wait for another batch beside one that is under way */
  #go(least: number): void {
    this.#woken = false
    clearTimeout(this.#patience)
    this.#patience = undefined
    while (this.#underWay < this.#lanes && this.#readyCount >= (this.#underWay === 0 ? 1 : least)) {
      void this.#run(this.#take())
    }
  }

  /** Those whose turn it is: all of them, or half when there is another lane for the other half and that is worth it. */
  #take(): Batch {
    const free = this.#lanes - this.#underWay
    const share = Math.min(this.#batchMax, Math.max(WORTH_A_BATCH, Math.ceil(this.#readyCount / free)))
    const batch: Batch = { parts: [], spends: [] }
    for (const line of this.#ready) {
      if (batch.spends.length >= share) break
      this.#readyCount -= line.waiting.length
      line.underWay = true
      const spends = takeFrom(line.waiting, this.#batchMax - batch.spends.length)
      batch.parts.push({ line, spends })
      batch.spends.push(...spends)
    }
    this.#ready.splice(0, batch.parts.length)
    return batch
  }

  async #run({ parts, spends }: Batch): Promise<void> {
    this.#underWay += 1
    const [only] = spends
    const lone = spends.length === 1 && only !== undefined ? this.#single(only) : undefined
    const tell = await (lone === undefined ? this.#many(spends) : within(LOCKED_MS, lone))
    this.#underWay -= 1
    if (tell === undefined) {
      for (const part of parts) void this.#apart(part, lone)
      this.#wake()
      return
    }
    this.#waiting -= spends.length
    for (const { line } of parts) this.#release(line)
    // many who wait are on their way before these are told
    if (this.#readyCount >= WORTH_A_BATCH) this.#go(WORTH_A_BATCH)
    tell()
    this.#wake()
  }

  /**
   * One account's spends, one after the other: whoever has locked its wallet holds up nobody else.
   * @param lone what tells the only one, if it was asked for already
   */
  async #apart({ line, spends }: Batch['parts'][number], lone?: Promise<() => void>): Promise<void> {
    let locked: unknown
    if (lone !== undefined) (await lone)()
    else {
      for (const { input, resolve, reject } of spends) {
        try {
          // those behind one that waited as long as may be would wait as long again
          if (locked !== undefined) throw locked
          resolve(await spend(this.#database, input))
        } catch (error) {
          if (isLocked(error)) locked = error
          reject(error)
        }
      }
    }
    this.#waiting -= spends.length
    this.#release(line)
    this.#wake()
  }

  #release(line: Line): void {
    line.underWay = false
    if (line.waiting.length === 0) {
      this.#lines.delete(line.account)
      return
    }
    this.#ready.push(line)
    this.#readyCount += line.waiting.length
  }

  /** The lean way, when nobody else waits. @returns tells the caller */
  #single({ input, resolve, reject }: Waiting): Promise<() => void> {
    return spend(this.#database, input).then(
      (result) => () => resolve(result),
      (error: unknown) => () => reject(error),
    )
  }

  /** @returns tells each caller; undefined: nothing was done, because somebody has locked one of the wallets */
  async #many(batch: Waiting[]): Promise<(() => void) | undefined> {
    const inputs = batch.map(({ input }) => input)
    const careful = this.#careful > 0
    if (careful) this.#careful -= 1
    let answers: (SpendResult | Refusal)[]
    try {
      answers = await spendMany(this.#database, inputs, careful).catch(async (error: unknown) => {
        if (isAboutOne(error) || isLocked(error)) throw error
        // A key was known, or nobody knows what was committed: the keys do.
        if (isKnownKey(error)) this.#careful = CAREFUL_FOR
        return await spendMany(this.#database, inputs, true)
      })
    } catch (error) {
      if (isLocked(error)) return undefined
      if (!isAboutOne(error) && !isKnownKey(error)) return () => batch.forEach(({ reject }) => reject(error))
      for (const one of batch) (await this.#single(one))()
      return () => {}
    }
    return () =>
      batch.forEach(({ resolve, reject }, index) => {
        const answer = answers[index]
        if (answer === undefined || answer instanceof Refusal) reject(answer)
        else resolve(answer)
      })
  }
}

/** The bytes of its metadata in memory, two a character at most. */
function weightOf({ metadata }: SpendInput): number {
  let characters = 0
  for (const name in metadata) characters += name.length + (metadata[name]?.length ?? 0)
  return 2 * characters
}

/** Those at the front of a line, until one whose key is among them already: it gets the answer of the first. */
function takeFrom(waiting: Waiting[], max: number): Waiting[] {
  const keys = new Set<string>()
  for (const { input } of waiting) {
    if (keys.size === max || keys.has(input.key)) break
    keys.add(input.key)
  }
  return waiting.splice(0, keys.size)
}

/** What was asked for, or undefined when that takes longer. It must not fail. */
function within<T>(ms: number, asked: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, undefined)
    void asked.then((done) => {
      clearTimeout(timer)
      resolve(done)
    })
  })
}

/** Postgres refused the batch for something in one of its spends (22 data, 23 constraint). */
function isAboutOne(error: unknown): boolean {
  return !isKnownKey(error) && /^(22|23)/.test(codeOf(error))
}

/** A wallet was locked for longer than may be waited. */
function isLocked(error: unknown): boolean {
  return codeOf(error) === '55P03'
}

function isKnownKey(error: unknown): boolean {
  return codeOf(error) === '23505'
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
