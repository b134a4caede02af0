/** Processor time of whole process trees, from /proc (Linux). */
import { readdirSync, readFileSync } from 'node:fs'

const TICKS_A_SECOND = 100

interface Stat {
  pid: number
  parent: number
  /** seconds: its own, and of children that have ended */
  own: number
  ended: number
}

function stats(): Stat[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const text = readFileSync(`/proc/${name}/stat`, 'utf8')
      // the program's name is in parentheses and may hold anything
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
      const seconds = (index: number) => Number(fields[index]) / TICKS_A_SECOND
      const [own, ended] = [seconds(11) + seconds(12), seconds(13) + seconds(14)]
      return [{ pid: Number(name), parent: Number(fields[1]), own, ended }]
    } catch {
      return [] // it ended meanwhile
    }
  })
}

/** Seconds of processor time so far, of each named process with everything under it. */
export function cpuOf(roots: Record<string, number>): Record<string, number> {
  const all = stats()
  const known = new Set(Object.values(roots))
  const under = (pid: number): number =>
    all
      .filter(({ parent, pid: child }) => parent === pid && !known.has(child))
      .reduce((sum, { pid: child }) => sum + under(child), timeOf(pid))
  const timeOf = (pid: number): number => {
    const found = all.find((each) => each.pid === pid)
    return found === undefined ? 0 : found.own + (pid === process.pid ? 0 : found.ended)
  }
  return Object.fromEntries(Object.entries(roots).map(([name, pid]) => [name, under(pid)]))
}

/** Seconds that the whole machine was busy so far, whoever used it. */
export function busyMachine(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, soft = 0] = (
    /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? ''
  )
    .split(' ')
    .map(Number)
  return (user + nice + system + irq + soft) / TICKS_A_SECOND
}

/** Direct children of this process whose command line matches. */
export function childOf(pattern: RegExp): number {
  const found = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
    .split(' ')
    .filter(Boolean)
    .find((pid) => pattern.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')))
  if (found === undefined) throw new Error(`no child is ${pattern.source}`)
  return Number(found)
}
