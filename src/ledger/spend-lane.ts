/** Who waits for spends where: an account's line, and the connections where batches are under way. Decides nothing about money. */
import type { InOrder } from '../store/connect.ts'
import type { SpendInput, SpendResult } from './spend.ts'

export interface Waiting {
  input: SpendInput
  resolve: (result: SpendResult) => void
  reject: (error: unknown) => void
}

/** Those who wait for one account, in order of arrival. */
export interface Line {
  account: string
  waiting: Waiting[]
  /** when the first and the last of them came, in milliseconds */
  firstAt: number
  lastAt: number
  /** how many batches have some of this account: the others come after them, so that its spends keep their order */
  underWay: number
  /** where they may go behind those that are under way; undefined: nowhere, until these are decided */
  lane: Lane | undefined
}

/**
 * A connection. A second batch goes behind the first before that is answered: when Postgres is done with one, the next is
 * there, and nobody waits for the way through this process.
 */
export interface Lane {
  connection: InOrder
  underWay: Batch[]
  /** lines that some may go from, and how many wait in them */
  lines: Set<Line>
  waiting: number
}

/** Those of each line whose turn it is, and all of them in one. */
export interface Batch {
  id: string
  parts: Part[]
  spends: Waiting[]
  /** whether Postgres did it when it was first asked */
  done?: Promise<boolean>
}

export interface Part {
  line: Line
  spends: Waiting[]
}

/**
 * How many must wait for another batch to be begun beside one that is under way: a batch costs as much as about twelve
 * spends before there is one in it. Measured: with 16 a tenth faster over HTTP than with 6, 8, 12, 20 or more.
 */
export const WORTH_A_BATCH = 16
/** Who came over a longer time than this came one after the other: as long as a batch takes before a spend is in it. */
const SLOWLY_MS = 0.5

export const isIdle = (lane: Lane): boolean => lane.underWay.length === 0

/** Fewer are under way than are worth a batch. */
export const isNearlyIdle = ({ underWay }: Lane): boolean =>
  underWay.reduce((sum, { spends }) => sum + spends.length, 0) < WORTH_A_BATCH

/** Enough wait for a batch behind the only one that is under way. */
export const hasFollowers = (lane: Lane): boolean =>
  lane.underWay.length === 1 && lane.waiting >= WORTH_A_BATCH

/** So many more of this line may go behind what is under way on its lane. */
export function follow(line: Line, count: number): void {
  const { lane } = line
  if (lane === undefined || count === 0) return
  lane.lines.add(line)
  lane.waiting += count
}

/** Who waits in this line goes when nobody of its account is under way any more, and not before. */
export function unfollow(line: Line): void {
  if (line.lane?.lines.delete(line)) line.lane.waiting -= line.waiting.length
  line.lane = undefined
}

/**
 * How many of a line go first. Who came together goes together: one batch costs less than two. Of those who came one after
 * the other, as over HTTP, half do, since telling them and hearing from them again takes this process as long as deciding
 * takes Postgres: so neither waits for the other.
 */
export function goAtOnce({ waiting, firstAt, lastAt }: Line): number {
  if (lastAt - firstAt < SLOWLY_MS) return waiting.length
  return Math.max(WORTH_A_BATCH, Math.ceil(waiting.length / 2))
}

/** Those at the front of a line, until one whose key is among them already: it gets the answer of the first. */
export function takeFrom(waiting: Waiting[], max: number): Waiting[] {
  const keys = new Set<string>()
  for (const { input } of waiting) {
    if (keys.size === max || keys.has(input.key)) break
    keys.add(input.key)
  }
  return waiting.splice(0, keys.size)
}
