/** Callers that each wait for their answer before they ask again, and what that came to. */

export interface Round {
  perSecond: number
  p50Ms: number
  p99Ms: number
  /** processor time of this process, in cores */
  cores: number
  done: number
}

/**
 * Runs `callers` callers for `ms` milliseconds. A call that fails ends the run: only what succeeded is counted.
 * @throws what a call throws
 */
export async function load(callers: number, ms: number, call: () => Promise<unknown>): Promise<Round> {
  const took: number[] = []
  const cpu = process.cpuUsage()
  const begun = performance.now()
  const until = begun + ms
  const caller = async () => {
    for (let at = performance.now(); at < until; ) {
      await call()
      const now = performance.now()
      took.push(now - at)
      at = now
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  const elapsed = performance.now() - begun
  const used = process.cpuUsage(cpu)
  took.sort((a, b) => a - b)
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0
  return {
    perSecond: (took.length / elapsed) * 1000,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    cores: (used.user + used.system) / 1000 / elapsed,
    done: took.length,
  }
}

/** The middle of several figures. */
export function median(figures: number[]): number {
  const sorted = [...figures].sort((a, b) => a - b)
  const half = sorted.length / 2
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(half)] ?? 0)
    : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2
}
