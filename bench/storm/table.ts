/** The one table of the bench, in plain text. */
import { type Counts, median } from './shape.ts'

export interface Round {
  kind: 'storm' | 'baseline'
  seconds: number
  /** seconds of processor time of each program */
  cpu: Record<string, number>
  /** of the whole machine, also of strangers */
  machine: number
  notes: Record<string, number>
}

/** What the figure should be at least. */
const WANTED = 0.6

export function printTable(result: {
  count: number
  cores: number
  rounds: Round[]
  shape: Counts
  proof: string
}): void {
  const { count, cores, rounds, shape, proof } = result
  const of = (kind: Round['kind']) => rounds.filter((round) => round.kind === kind)
  const rate = (round: Round) => count / round.seconds
  const spread = (numbers: number[], digits: number) =>
    `${median(numbers).toFixed(digits)} (${Math.min(...numbers).toFixed(digits)} to ${Math.max(...numbers).toFixed(digits)})`
  const line = (name: string, ...cells: string[]) =>
    console.log(name.padEnd(34) + cells.map((cell) => cell.padStart(26)).join(''))
  const both = (name: string, digits: number, value: (round: Round) => number) =>
    line(name, spread(of('storm').map(value), digits), spread(of('baseline').map(value), digits))

  console.log(
    `\n${count} subscriptions renew at once; ${of('storm').length} rounds each, interleaved; ${cores} cores`,
  )
  console.log(`medians (least to most)\n`)
  line('', 'renewals', 'baseline cycles')
  both('a second', 1, rate)
  both('seconds for all', 1, (round) => round.seconds)
  const programs = [...new Set(rounds.flatMap(({ cpu }) => Object.keys(cpu)))]
  for (const name of programs)
    both(`ms of processor each: ${name}`, 2, ({ cpu }) => ((cpu[name] ?? 0) * 1000) / count)
  const own = ({ cpu }: Round) => Object.values(cpu).reduce((sum, each) => sum + each, 0)
  both('ms of processor each: all', 2, (round) => (own(round) * 1000) / count)
  both('cores used by these', 2, (round) => own(round) / round.seconds)
  both('cores used by strangers', 2, (round) => Math.max(0, round.machine - own(round)) / round.seconds)
  for (const name of Object.keys(of('storm')[0]?.notes ?? {}))
    line(
      name,
      spread(
        of('storm').map(({ notes }) => notes[name] ?? Number.NaN),
        1,
      ),
    )
  const counts = Object.entries(shape).map(([name, value]) => `${value.toFixed(1)} ${name}`)
  console.log(
    `\na renewal in Temporal, mean of a sample: ${counts.join(', ')} (runs: continued as new)\n` +
      `a baseline cycle: as many activities and timers, workflow by workflow of that sample, 1 run, 1 signal`,
  )
  console.log(`proof: ${proof}`)
  const work = median(of('baseline').map(own)) / median(of('storm').map(own))
  console.log(`processor time of a baseline cycle ÷ that of a renewal = ${work.toFixed(2)}`)
  const ratio = median(of('storm').map(rate)) / median(of('baseline').map(rate))
  console.log(
    `renewals a second ÷ baseline cycles a second = ${ratio.toFixed(2)} (wanted: ${WANTED} or more)`,
  )
}
