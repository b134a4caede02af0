/**
 * `npm run bench:storm`: many subscriptions renew at the same moment, through the whole road on real parts, beside a
 * baseline of empty workflows on the same Temporal server. Docs: docs/performance-storm.md.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { stopPostgres } from '../test/support/postgres.ts'
import { eventually, type Stack, startStack } from '../test/support/stack.ts'
import { stopTemporal } from '../test/support/temporal.ts'
import { type Baseline, startBaseline } from './storm/baseline.ts'
import { busyMachine, childOf, cpuOf } from './cpu.ts'
import { proveAll } from './storm/proof.ts'
import { allContinued, atRest } from './storm/quiet.ts'
import { type Program, startProgram } from './program.ts'
import { each, grantsOf, makeSubscribers, type Subscriber, waitingEvents } from './storm/setup.ts'
import { type Counts, countsSince, meanOf } from './storm/shape.ts'
import { printTable, type Round } from './storm/table.ts'

const { values } = parseArgs({
  options: {
    subscriptions: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '3' },
    verbose: { type: 'boolean', default: false },
  },
})
const COUNT = Number(values.subscriptions)
const ROUNDS = Number(values.rounds)
/** Stripe leaves a renewal in draft for an hour. */
const DRAFT_MS = 2 * 3_600_000
/** Longer than what comes between the eve and the storm may take. */
const EVE_MS = 6 * 3_600_000
/** How many renewals are looked at in Temporal's histories. */
const SAMPLE = 100

const say = (text: string) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)

async function main(folder: string, stack: Stack, programs: Program[]): Promise<void> {
  const { config, deps } = stack
  const env = {
    PORT: String(config.port),
    DATABASE_URL: stack.database.serviceUrl,
    TEMPORAL_ADDRESS: config.temporalAddress ?? '',
    TEMPORAL_TASK_QUEUE: config.taskQueue,
    STRIPE_SECRET_KEY: deps.stripe.apiKey,
    STRIPE_WEBHOOK_SECRET: deps.stripe.webhookSecrets.join(','),
    STRIPE_API_URL: stack.sandbox.url,
  }
  const start = async (role: 'api' | 'worker') => {
    const program = await startProgram({ name: role, script: 'src/main.ts', args: [role], env, folder })
    programs.push(program)
    return program.pid
  }
  const pids: Record<string, number> = {
    Postgres: childOf(/postgres/),
    Temporal: childOf(/start-dev/),
    'Stripe (this)': process.pid,
    worker: await start('worker'),
    API: await start('api'),
  }
  say(`making ${COUNT} subscriptions`)
  const subscribers = await makeSubscribers(stack, COUNT)

  const rounds: Round[] = []
  let baseline: Baseline | undefined
  let shapes: Counts[] | undefined
  for (let number = 1; number <= ROUNDS; number += 1) {
    const until = await eve(stack)
    await atRest(pids)
    say(`storm ${number} of ${ROUNDS}`)
    const since = Date.now()
    rounds.push(await measured('storm', pids, () => storm(stack, number + 1, until)))
    await atRest(pids)
    shapes ??= await shapesOf(stack, subscribers, since)
    if (baseline === undefined) {
      baseline = await startBaseline({
        client: stack.temporal,
        address: config.temporalAddress ?? '',
        folder,
        count: COUNT,
        shapes: shapes.map(({ activities, timers }) => ({ activities, timers })),
        env: {},
      })
      programs.push(baseline.worker)
      pids['baseline worker'] = baseline.worker.pid
    }
    say(`baseline ${number} of ${ROUNDS}`)
    const rival = baseline
    rounds.push(await measured('baseline', pids, async () => ({ seconds: await rival.round(), notes: {} })))
  }
  say('comparing with Stripe')
  const proof = await proveAll(stack, subscribers, ROUNDS + 1)
  printTable({ count: COUNT, cores: cpus().length, rounds, shape: meanOf(shapes ?? []), proof })
}

async function measured(
  kind: Round['kind'],
  pids: Record<string, number>,
  run: () => Promise<{ seconds: number; notes: Record<string, number> }>,
): Promise<Round> {
  const [before, busy] = [cpuOf(pids), busyMachine()]
  const { seconds, notes } = await run()
  const after = cpuOf(pids)
  const cpu = Object.fromEntries(
    Object.keys(pids).map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)]),
  )
  const round = { kind, seconds, cpu, notes, machine: busyMachine() - busy }
  say(`  ${(COUNT / seconds).toFixed(1)} a second ${values.verbose ? JSON.stringify(round) : ''}`)
  return round
}

/**
 * One renewal of everybody. Timed from the moment at which Stripe has made, finalised and collected every invoice and
 * begins to tell, until the last account has its lot, the last event is settled and the last run is continued as new.
 */
async function storm(
  stack: Stack,
  periods: number,
  until: number,
): Promise<{ seconds: number; notes: Record<string, number> }> {
  const jumped = performance.now()
  await stack.clock.jump(until)
  const began = performance.now()
  const delivered = stack.sandbox.deliverDue().then((events) => ({ events, at: performance.now() }))
  await reached(
    'every renewal is granted',
    async () => (await grantsOf(stack)) === COUNT * periods,
    120_000 + COUNT * 200,
  )
  const granted = performance.now()
  const { events, at } = await delivered
  await reached('every event is settled', async () => (await waitingEvents(stack)) === 0, 120_000)
  await allContinued(stack.temporal, 'subscription', COUNT * (periods - 1))
  const settled = performance.now()
  const seconds = (ms: number) => Number((ms / 1000).toFixed(1))
  return {
    seconds: (settled - began) / 1000,
    notes: {
      'Stripe made them in': seconds(began - jumped),
      'told in': seconds(at - began),
      'granted after': seconds(granted - began),
      'events told': events,
    },
  }
}

/**
 * Goes to the eve of the renewals, not timed: a week before, Stripe announces them.
 * @returns where the storm jumps to; business time runs on meanwhile, so it is known before anybody can renew
 */
async function eve(stack: Stack): Promise<number> {
  const { rows } = await stack.database.pool.query<{ first: Date; last: Date }>(
    'select min(current_period_end) as first, max(current_period_end) as last from subscription',
  )
  const [ends] = rows
  if (ends === undefined) throw new Error('nobody has a period')
  await stack.clock.jump(ends.first.getTime() - EVE_MS)
  await stack.sandbox.deliverDue()
  await reached(
    'every announcement is settled',
    async () => (await waitingEvents(stack)) === 0,
    120_000 + COUNT * 100,
  )
  return ends.last.getTime() + DRAFT_MS
}

/** Asks seldom: what is asked is what is measured. */
const reached = (what: string, ask: () => Promise<boolean>, withinMs: number) =>
  eventually(what, async () => (await ask()) || (await pause(200), false), withinMs)

async function shapesOf(stack: Stack, subscribers: Subscriber[], since: number): Promise<Counts[]> {
  const every = Math.max(1, Math.floor(subscribers.length / SAMPLE))
  const sample = subscribers.filter((_, index) => index % every === 0)
  return each(sample, ({ subscription }) => countsSince(stack.temporal, subscription, since))
}

const folder = mkdtempSync(join(tmpdir(), 'perennial-storm-'))
const programs: Program[] = []
const stack = await startStack({ worker: false, api: false })
try {
  await main(folder, stack, programs)
} finally {
  await Promise.all(programs.map((program) => program.stop()))
  await stack.stop()
  await stopTemporal()
  await stopPostgres()
  rmSync(folder, { recursive: true, force: true })
}
