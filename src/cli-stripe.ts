/** `perennial stripe`: what Stripe tells, beside what came by itself. */
import { type Command, Option } from 'commander'
import { Listr } from 'listr2'
import { comparePage, emptyTally, type Tally } from './activities/catch-up.ts'
import { businessNow } from './clock.ts'
import type { Instant } from './domain/calendar.ts'
import { LISTED_DAYS, percentDone, sinceOf } from './domain/catch-up.ts'
import { readBreaker } from './store/breaker.ts'
import { waitingBuckets } from './store/stripe-bucket.ts'
import { missingOf, storeMissing } from './store/catch-up.ts'
import type { Pool } from './store/connect.ts'
import type { EventGateway } from './stripe/event-list.ts'

/** What the main lends: the database, the screen, and Stripe with the mode of its key. */
export interface StripeTerminal {
  withPool: (work: (pool: Pool) => Promise<void>) => Promise<void>
  say: (text: string) => void
  fail: (text: string) => never
  stripe: () => { events: EventGateway; livemode: boolean }
}

const BAR_WIDTH = 24

export function addStripeCommands(program: Command, { withPool, say, fail, stripe }: StripeTerminal): void {
  const command = program.command('stripe').description('what Stripe has told, and what has not come')
  command
    .command('status')
    .description('whether Stripe is called: the circuit breaker of all processes')
    .action(() =>
      withPool(async (pool) => {
        const { state, trips, openedAt, retryAt, lastReason } = await readBreaker(pool)
        say(`circuit  ${state}`)
        say(`trips    ${trips}`)
        if (openedAt !== null) say(`open since  ${openedAt.toISOString()}`)
        if (retryAt !== null)
          say(`${state === 'open' ? 'next probe' : 'probe until'}  ${retryAt.toISOString()}`)
        if (lastReason !== null) say(`last outage  ${lastReason}`)
        for (const bucket of await waitingBuckets(pool))
          say(`rate limit  ${bucket.name} is used up for ${bucket.waitMs} ms more`)
      }),
    )
  command
    .command('catch-up')
    .description('compare Stripe’s list of events with the inbox and store what is missing (writes)')
    .addOption(
      new Option(
        '--since <when>',
        `7d, 12h, or an ISO time; at most ${LISTED_DAYS} days ago`,
      ).makeOptionMandatory(),
    )
    .option('--check', 'store nothing; exit with 1 when something is missing')
    .action(({ since, check }: { since: string; check?: true }) =>
      withPool(async (pool) => {
        const now = await businessNow(pool)
        const from =
          sinceOf(since, now) ??
          fail(
            `--since ${since}: expected 7d, 12h or an ISO time that is over; Stripe lists ${LISTED_DAYS} days`,
          )
        const tally = emptyTally()
        await new Listr(
          [
            {
              title: `events since ${from}`,
              task: async (_, task) => {
                let shown = -1
                for await (const at of compare(pool, stripe(), from, check === true, tally)) {
                  const percent = at === null ? 100 : percentDone(from, now, at)
                  // where there is no terminal, each is a line
                  if (percent > shown) task.output = progress(percent, tally)
                  shown = percent
                }
                task.title = `events since ${from} ${progress(100, tally)}`
              },
            },
          ],
          { fallbackRenderer: 'simple' },
        ).run()
        say(summary(tally, check === true))
        if (check && tally.missing > 0) process.exitCode = 1
      }),
    )
}

/** Compares page by page, newest first. Yields how far back it has got; null at the end. */
async function* compare(
  pool: Pool,
  { events, livemode }: { events: EventGateway; livemode: boolean },
  from: Instant,
  check: boolean,
  tally: Tally,
): AsyncGenerator<Instant | null> {
  for (let after: string | null = null; ; ) {
    const page = await events.page(from, after)
    const { oldest } = await comparePage(
      { pool, events, livemode },
      page.events,
      tally,
      check ? missingOf : storeMissing,
    )
    if (page.next === undefined) return yield null
    yield oldest
    after = page.next
  }
}

/** `████████░░░░  33 %  1200 listed, 17 missing` */
function progress(percent: number, { listed, missing }: Tally): string {
  const done = Math.round((BAR_WIDTH * percent) / 100)
  const bar = '█'.repeat(done) + '░'.repeat(BAR_WIDTH - done)
  return `${bar} ${String(percent).padStart(3)} %  ${listed} listed, ${missing} missing`
}

function summary(tally: Tally, check: boolean): string {
  const { missing, unhandled, other_version, malformed, other_mode } = tally
  const odd = [
    [unhandled, 'of types that nobody handles'],
    [other_version, 'of another API version: their objects are read again'],
    [malformed, 'malformed, not kept'],
    [other_mode, 'of the other mode, not kept'],
  ] as const
  const lines = odd.filter(([many]) => many > 0).map(([many, what]) => `  ${many} ${what}`)
  const first =
    missing === 0
      ? 'nothing is missing'
      : `${missing} were missing${check ? '; nothing was stored' : '; they are stored, and their owners woken within half a minute'}`
  return [first, ...lines].join('\n')
}
