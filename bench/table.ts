/** Prints what was measured: medians with their spread, and ratios to the bare statement beside what is wanted. */
import { median, type Round } from './load.ts'

export interface Result {
  name: string
  callers: number
  rounds: (Round & { postgres: number; api: number })[]
}

/** Each: the ratio of its median to a bare statement's, and how much is wanted. */
const WANTED: Record<string, { of: 'bare hot' | 'bare spread'; ratio: number }> = {
  'ours hot 32': { of: 'bare hot', ratio: 5 },
  'ours hot 256': { of: 'bare hot', ratio: 9 },
  'ours spread 32': { of: 'bare spread', ratio: 1.2 },
  'ours spread 256': { of: 'bare spread', ratio: 2 },
  'http hot, 1 api 32': { of: 'bare hot', ratio: 3 },
  'http hot, 2 api 32': { of: 'bare hot', ratio: 3 },
  'http spread, 1 api 32': { of: 'bare spread', ratio: 0.8 },
  'http spread, 2 api 32': { of: 'bare spread', ratio: 0.8 },
}
/** A lone caller's p99 may be this many times that of the bare statement. */
const LONE_P99_MAX = 2

const rate = (result: Result) => median(result.rounds.map(({ perSecond }) => perSecond))
const p99 = (result: Result) => median(result.rounds.map(({ p99Ms }) => p99Ms))

export function printTable(
  results: Result[],
  about: { cpus: number; rounds: number; seconds: number; postings: string },
): void {
  const find = (name: string, callers?: number) =>
    results.filter((each) => each.name === name && (callers === undefined || each.callers === callers))
  // the best of the bare statement at any number of callers; on many accounts, at 32
  const base = {
    'bare hot': Math.max(0, ...find('bare hot').map(rate)),
    'bare spread': Math.max(0, ...find('bare spread', 32).map(rate)),
  }
  const lines = results.map((result) => {
    const wanted = WANTED[`${result.name} ${result.callers}`]
    const ratio = wanted === undefined || base[wanted.of] === 0 ? undefined : rate(result) / base[wanted.of]
    const lone = result.callers === 1 && result.name.startsWith('ours')
    const [bare] = lone ? find(result.name.replace('ours', 'bare'), 1) : []
    const tail = bare === undefined ? undefined : p99(result) / p99(bare)
    return [
      result.name,
      String(result.callers),
      ...figures(result),
      ratio === undefined ? '' : `${ratio.toFixed(2)} ×`,
      ratio !== undefined ? `≥ ${wanted?.ratio} ×` : tail !== undefined ? `p99 ${tail.toFixed(2)} ×` : '',
      ratio !== undefined
        ? verdict(ratio >= (wanted?.ratio ?? 0))
        : tail !== undefined
          ? `≤ ${LONE_P99_MAX} × ${verdict(tail <= LONE_P99_MAX)}`
          : '',
    ]
  })
  const head = ['case', 'callers', 'a second', 'least', 'most', 'p50 ms', 'p99 ms', 'load', 'api', 'postgres']
  print([...head, 'ratio', 'wanted', ''], lines)
  process.stdout.write(
    `\nMedians of ${about.rounds} interleaved rounds of ${about.seconds} s; ${about.cpus} processors shared by load, API and ` +
      `Postgres; ${about.postings} older postings, ten lots a wallet. load, api and postgres: processors used by them.\n`,
  )
}

/** @param when in which state of the server */
export function printScale(when: string, results: Result[]): void {
  process.stdout.write(`\n${when}\n`)
  const small = results.filter(({ name }) => name.endsWith('@10000'))
  const lines = small.map((one) => {
    const name = one.name.replace(' @10000', '')
    const large = results.find((each) => each.name === `${name} @10000000` && each.callers === one.callers)
    if (large === undefined) throw new Error(`${name} was not measured on the large ledger`)
    const cost = rate(one) / rate(large)
    return [
      name,
      String(one.callers),
      rate(one).toFixed(0),
      rate(large).toFixed(0),
      `${cost.toFixed(2)} ×`,
      verdict(cost <= 1.1),
    ]
  })
  print(['case', 'callers', 'at 10⁴ postings', 'at 10⁷', 'cost', '≤ 1.10 ×'], lines)
}

function figures(result: Result): string[] {
  const rates = result.rounds.map(({ perSecond }) => perSecond)
  const of = (pick: (round: Result['rounds'][number]) => number) => median(result.rounds.map(pick))
  return [
    ...[rate(result), Math.min(...rates), Math.max(...rates)].map((figure) => figure.toFixed(0)),
    ...[of(({ p50Ms }) => p50Ms), p99(result)].map((figure) => figure.toFixed(2)),
    ...[of(({ cores }) => cores), of(({ api }) => api), of(({ postgres }) => postgres)].map((figure) =>
      figure.toFixed(2),
    ),
  ]
}

const verdict = (good: boolean) => (good ? 'yes' : 'NO')

function print(head: string[], lines: string[][]): void {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...lines.map((line) => line[column]?.length ?? 0)),
  )
  for (const line of [head, ...lines]) {
    const cells = line.map((text, column) =>
      column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0),
    )
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`)
  }
}
