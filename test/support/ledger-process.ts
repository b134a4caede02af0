/**
 * Work on the ledger in a process of its own, so that a test can kill it where it stands, or have two at once. Run by
 * itself it does the jobs of its arguments and prints what it was answered.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseCredits } from '../../src/domain/credits.ts'
import { captureHold, placeHold, releaseHold } from '../../src/ledger/hold.ts'
import { grant } from '../../src/ledger/post.ts'
import { reverseSpend } from '../../src/ledger/reversal.ts'
import { spend, spendMany } from '../../src/ledger/spend.ts'
import { SpendQueue } from '../../src/ledger/spend-queue.ts'
import { connect, type Pool, transaction } from '../../src/store/connect.ts'

export type Job =
  | { do: 'spend'; account: string; key: string; amount: string }
  | { do: 'grant'; account: string; key: string; amount: string }
  /** all of them at once: in one statement, or by the queue */
  | { do: 'batch' | 'queue'; account: string; keys: string[]; amount: string }
  | { do: 'hold'; account: string; key: string; amount: string }
  | { do: 'capture'; hold: string; key: string; amount: string }
  | { do: 'release'; hold: string; key: string }
  | { do: 'reverse'; spend: string; key: string }

export interface LedgerProcess {
  /** `kill -9`: no chance to say goodbye; resolves once it is gone */
  kill(): Promise<void>
  /** what each job was answered; rejects when the process ends without saying it */
  // oxlint-disable-next-line typescript/no-explicit-any -- a test looks at whatever came
  answers: Promise<any[]>
}

/** Starts a process that does some jobs, one after the other. */
export function startLedgerProcess(databaseUrl: string, jobs: Job[]): LedgerProcess {
  const child: ChildProcess = spawn(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(import.meta.url), databaseUrl, JSON.stringify(jobs)],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env['PATH'] } },
  )
  let written = ''
  child.stdout?.on('data', (chunk: Buffer) => {
    written += chunk.toString()
  })
  const answers = once(child, 'close').then(() => JSON.parse(written))
  answers.catch(() => {}) // of a process that was killed
  return {
    async kill() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
    answers,
  }
}

/** What a job was answered: a refusal by its code. */
async function carryOut(pool: Pool, queue: SpendQueue, job: Job): Promise<unknown> {
  const by = { actor: 'test' }
  if (job.do === 'release') return await told(releaseHold(pool, { ...job, ...by }))
  if (job.do === 'reverse') return await told(reverseSpend(pool, { ...job, ...by, reasonCode: 'test' }))
  const amount = parseCredits(job.amount)
  if (job.do === 'hold') return await told(placeHold(pool, { ...job, ...by, amount, seconds: 3600 }))
  if (job.do === 'capture') return await told(captureHold(pool, { ...job, ...by, amount, final: true }))
  if (job.do === 'spend') return await told(spend(pool, { ...job, ...by, amount }))
  if (job.do === 'grant') {
    const input = { ...job, ...by, kind: 'goodwill' as const, reasonCode: 'test', source: {} }
    return await told(transaction(pool, (client) => grant(client, input)))
  }
  const spends = job.keys.map((key) => ({ account: job.account, key, amount, ...by }))
  if (job.do === 'batch') return await spendMany(pool, spends)
  return await Promise.all(spends.map((one) => told(queue.spend(one))))
}

const told = (asked: Promise<unknown>) =>
  asked.catch((error: Error & { code?: string }) => ({ refused: error.code ?? error.message }))

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , url = '', jobs = '[]'] = process.argv
  const pool = connect(url)
  const queue = new SpendQueue(pool)
  const answers: unknown[] = []
  for (const job of JSON.parse(jobs) as Job[]) answers.push(await carryOut(pool, queue, job))
  await pool.end()
  process.stdout.write(JSON.stringify(answers))
}
