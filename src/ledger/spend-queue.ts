/**
 * Spends that wait in one process are decided together. Nothing waits on purpose: what arrives while a batch is under
 * way is the next batch. Each caller gets its own answer, in order of arrival, under its own key.
 */
import { randomUUID } from 'node:crypto'
import { Refusal } from '../domain/error.ts'
import { type Connections, InOrder } from '../store/connect.ts'
import { type SpendInput, type SpendResult, spend, spendMany } from './spend.ts'
import {
  type Batch,
  follow,
  goAtOnce,
  hasFollowers,
  isIdle,
  isNearlyIdle,
  type Lane,
  type Line,
  type Part,
  takeFrom,
  unfollow,
  type Waiting,
  WORTH_A_BATCH,
} from './spend-lane.ts'

/** Too many callers wait: try again in a moment. Nothing was written. */
export class SpendQueueFull extends Error {
  override name = 'SpendQueueFull'
}

export interface SpendQueueOptions {
  /** connections for batches; an account is on one of them at most */
  lanes?: number
  /** the most spends of one batch */
  batchMax?: number
  /** the most callers that may wait; one more is refused at once */
  waitingMax?: number
  /** the most bytes their metadata may weigh */
  weightMax?: number
}

/** Keys that are known come in storms, when callers retry. */
const CAREFUL_FOR = 50

/** A batch that takes longer waits for something, such as a wallet that somebody has locked: nobody else waits for it. */
const PATIENCE_MS = 10

/** How long a spend that waits alone keeps its lane, as `ledger_spend_many` waits for a lock: then its wallet is locked. */
const LOCKED_MS = 200

export class SpendQueue {
  readonly #database: Connections
  readonly #lanes: Lane[]
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
  #woken = false
  /** runs while fewer wait than are worth a batch */
  #patience: NodeJS.Timeout | undefined
  /** how many batches to come look for every key first */
  #careful = 0

  constructor(
    database: Connections,
    { lanes = 2, batchMax = 256, waitingMax = 10_000, weightMax = 64 * 2 ** 20 }: SpendQueueOptions = {},
  ) {
    this.#database = database
    this.#lanes = Array.from({ length: lanes }, () => ({
      connection: new InOrder(database),
      underWay: [],
      lines: new Set(),
      waiting: 0,
    }))
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
        line = { account, waiting: [], firstAt: 0, lastAt: 0, underWay: 0, lane: undefined }
        this.#lines.set(account, line)
      }
      line.lastAt = performance.now()
      if (line.waiting.length === 0) line.firstAt = line.lastAt
      line.waiting.push({ input, resolve, reject })
      if (line.underWay > 0) follow(line, 1)
      else {
        if (line.waiting.length === 1) this.#ready.push(line)
        this.#readyCount += 1
      }
      this.#wake()
    })
    return weight === 0 ? answer : answer.finally(() => (this.#weight -= weight))
  }

  /**
   * Has those who wait go, once this turn of the event loop is over: who comes in the same turn, such as all who were
   * answered together and ask again, comes along instead of after the first. No time passes for that.
   */
  #wake(): void {
    if (this.#woken) return
    const idle = this.#lanes.filter(isIdle).length
    const least = idle === this.#lanes.length ? 1 : WORTH_A_BATCH
    if ((idle > 0 && this.#readyCount >= least) || this.#lanes.some(hasFollowers)) {
      this.#woken = true
      setImmediate(() => this.#go(WORTH_A_BATCH))
    } else if (idle > 0 && this.#readyCount > 0) {
      this.#patience ??= setTimeout(() => this.#go(1), PATIENCE_MS)
    }
  }

  /** @param least how many must wait for another batch beside one that is under way */
  #go(least: number): void {
    this.#woken = false
    clearTimeout(this.#patience)
    this.#patience = undefined
    for (;;) {
      const idle = this.#lanes.filter(isIdle)
      const [lane] = idle
      if (lane === undefined || this.#readyCount < (idle.length === this.#lanes.length ? 1 : least)) break
      // half of them, when there is another lane for the other half and that is worth it. One with a few will be done soon:
      // else one caller who was first and all the others go for ever as two batches
      const share = Math.max(
        WORTH_A_BATCH,
        Math.ceil(this.#readyCount / this.#lanes.filter(isNearlyIdle).length),
      )
      void this.#run(lane, this.#take(lane, Math.min(this.#batchMax, share)))
    }
    for (const lane of this.#lanes) {
      // with whoever is ready, as a lane that always has followers would never be theirs
      if (hasFollowers(lane)) void this.#run(lane, this.#take(lane, this.#batchMax))
    }
  }

  /** Those whose turn it is on a lane: who may go behind what is under way there, and who is ready. */
  #take(lane: Lane, share: number): Batch {
    batches += 1
    const batch: Batch = { id: `${PROCESS}:${batches}`, parts: [], spends: [] }
    const add = (line: Line, max: number) => {
      const spends = takeFrom(line.waiting, max - batch.spends.length)
      line.underWay += 1
      batch.parts.push({ line, spends })
      batch.spends.push(...spends)
      return spends.length
    }
    for (const line of lane.lines) {
      if (batch.spends.length >= share) break
      lane.waiting -= add(line, share)
      if (line.waiting.length === 0) lane.lines.delete(line)
    }
    let taken = 0
    for (const line of this.#ready) {
      if (batch.spends.length >= share) break
      taken += 1
      this.#readyCount -= line.waiting.length
      add(line, Math.min(this.#batchMax, batch.spends.length + goAtOnce(line)))
      line.lane = lane
      follow(line, line.waiting.length)
    }
    this.#ready.splice(0, taken)
    return batch
  }

  async #run(lane: Lane, batch: Batch): Promise<void> {
    const { parts, spends } = batch
    const before = lane.underWay.at(-1)
    lane.underWay.push(batch)
    const [only] = spends
    const lone =
      before === undefined && spends.length === 1 && only !== undefined ? this.#single(only) : undefined
    // nobody goes behind the only one: it is not asked for on the lane's connection
    if (lone !== undefined) parts.forEach(({ line }) => unfollow(line))
    const tell = await (lone === undefined ? this.#many(lane, batch, before) : within(LOCKED_MS, lone))
    lane.underWay.splice(lane.underWay.indexOf(batch), 1)
    if (tell === 'locked') {
      for (const part of parts) void this.#apart(part, lone)
    } else if (tell === 'postponed') {
      for (const { line, spends: first } of parts) {
        line.waiting.unshift(...first)
        this.#release(line)
      }
    } else {
      this.#waiting -= spends.length
      for (const { line } of parts) this.#release(line)
      // many who wait are on their way before these are told
      if (this.#readyCount >= WORTH_A_BATCH || hasFollowers(lane)) this.#go(WORTH_A_BATCH)
      tell()
    }
    this.#wake()
  }

  /**
   * One account's spends, one after the other: whoever has locked its wallet holds up nobody else.
   * @param lone what tells the only one, if it was asked for already
   */
  async #apart({ line, spends }: Part, lone?: Promise<() => void>): Promise<void> {
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
    line.underWay -= 1
    if (line.underWay > 0) return
    unfollow(line)
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

  /**
   * @param before what it goes behind
   * @returns tells each caller; or nothing was done: somebody has locked one of the wallets, or what it goes behind was not
   *   done either
   */
  async #many(lane: Lane, batch: Batch, before?: Batch): Promise<(() => void) | 'locked' | 'postponed'> {
    const { spends, parts } = batch
    const inputs = spends.map(({ input }) => input)
    const careful = this.#careful > 0
    if (careful) this.#careful -= 1
    const asked = spendMany(lane.connection, inputs, careful, { id: batch.id, after: before?.id })
    batch.done = asked.then(
      () => true,
      () => false,
    )
    let answers: (SpendResult | Refusal)[]
    try {
      answers = await asked.catch(async (error: unknown) => {
        // nobody goes behind what is decided anew
        for (const { line } of parts) unfollow(line)
        if (isAboutOne(error) || isLocked(error) || (await before?.done) === false) throw error
        // A key was known, or nobody knows what was committed: the keys do.
        if (isKnownKey(error)) this.#careful = CAREFUL_FOR
        return await spendMany(this.#database, inputs, true)
      })
    } catch (error) {
      if ((await before?.done) === false) return 'postponed'
      if (isLocked(error)) return 'locked'
      if (!isAboutOne(error) && !isKnownKey(error)) return () => spends.forEach(({ reject }) => reject(error))
      for (const one of spends) (await this.#single(one))()
      return () => {}
    }
    return () =>
      spends.forEach(({ resolve, reject }, index) => {
        const answer = answers[index]
        if (answer === undefined || answer instanceof Refusal) reject(answer)
        else resolve(answer)
      })
  }
}

/** With a number behind it, no batch of another process has its id. */
const PROCESS = randomUUID()
let batches = 0

/** The bytes of its metadata in memory, two a character at most. */
function weightOf({ metadata }: SpendInput): number {
  let characters = 0
  for (const name in metadata) characters += name.length + (metadata[name]?.length ?? 0)
  return 2 * characters
}

/** What was asked for, or `locked` when that takes longer. It must not fail. */
function within<T>(ms: number, asked: Promise<T>): Promise<T | 'locked'> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms, 'locked')
    void asked.then((done) => {
      clearTimeout(timer)
      resolve(done)
    })
  })
}

/** Postgres refused the batch for something in one of its spends (22 data, 23 constraint, 44 check of a view). */
function isAboutOne(error: unknown): boolean {
  return !isKnownKey(error) && /^(22|23|44)/.test(codeOf(error))
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
