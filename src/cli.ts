/** The `perennial` command: what an operator does beside the pages. Reads unless a command says that it writes. */
import { Command, Option } from 'commander'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { Listr } from 'listr2'
import { planCatalog, readCatalog, stepsInStripe, takeStep, writeDown } from './activities/catalog.ts'
import { addNoticeCommands } from './cli-notice.ts'
import { addStripeCommands } from './cli-stripe.ts'
import { type Config, readConfig } from './config.ts'
import { VERDICTS } from './domain/approval.ts'
import { inWords, termsInWords } from './domain/catalog-words.ts'
import { INVARIANTS, violations } from './ledger/invariant.ts'
import { createApiKey, listApiKeys, revokeApiKey, type Scope, SCOPES } from './store/api-key.ts'
import { listOpenAlerts, resolveAlert } from './store/alert.ts'
import { connect, type Pool } from './store/connect.ts'
import { parkedEvents, unparkEvent } from './store/inbox.ts'
import { migrate } from './store/migrate.ts'
import { catalogInForce, listOnSale } from './store/price-list.ts'
import { listStrays } from './store/stray.ts'
import { createEventGateway } from './stripe/event-list.ts'
import { isLiveKey, stripeClient } from './stripe/gateway.ts'
import { createPriceGateway } from './stripe/price.ts'

const program = new Command('perennial')
  .description('durable prepaid-credit billing')
  .option('--api <url>', 'where the API is, for what is asked of it; http://127.0.0.1:PORT')
  .showHelpAfterError()

program
  .command('migrate')
  .description('apply the migrations as the owner of the database')
  .action(async () => {
    const applied = await migrate(ownerUrl(readConfig()))
    say(applied.length === 0 ? 'nothing new' : applied.map((name) => `applied ${name}`).join('\n'))
  })

program
  .command('verify')
  .description('prove that the books balance: run every invariant of the ledger')
  .action(() =>
    withPool(async (pool) => {
      // every posting is read, which may take as long as it likes
      await pool.query('set statement_timeout = 0')
      const found = await violations(pool)
      for (const { name } of INVARIANTS) {
        const violation = found.find(({ invariant }) => invariant === name)
        say(`${violation === undefined ? '✔' : '✘'} ${name}`)
        if (violation !== undefined)
          say(`  ${violation.why}\n${violation.rows.map((row) => `  ${JSON.stringify(row)}`).join('\n')}`)
      }
      if (found.length > 0) process.exitCode = 1
    }),
  )

const key = program.command('key').description('API keys')
key
  .command('create')
  .description('make one; it is shown once and only its hash is kept (writes)')
  .requiredOption('--name <name>', 'what it is for')
  .addOption(
    new Option('--scope <scope...>', 'what it may do; one or more').choices(SCOPES).makeOptionMandatory(),
  )
  .action(({ name, scope }: { name: string; scope: Scope[] }) =>
    withPool(async (pool) => say(await createApiKey(pool, { name, scopes: [...new Set(scope)] }))),
  )
key
  .command('list')
  .description('list them, with what each may do')
  .action(() =>
    withPool(async (pool) => {
      for (const { id, name, scopes, createdAt, revokedAt } of await listApiKeys(pool)) {
        const since = revokedAt === null ? '' : `  revoked ${revokedAt.toISOString()}`
        say(`${id}  ${createdAt.toISOString()}  ${scopes.join(',')}  ${name}${since}`)
      }
    }),
  )
key
  .command('revoke <id>')
  .description('end one, key_…; API processes believe it for a few seconds more (writes)')
  .action((id: string) =>
    withPool(async (pool) => {
      if (!(await revokeApiKey(pool, id))) fail(`there is no key ${id} that is not revoked`)
      say(`${id} is revoked`)
    }),
  )

const approval = program
  .command('approval')
  .description('what needs two persons; asked of the API with PERENNIAL_API_KEY, which says who you are')
approval
  .command('list')
  .description('what waits for a decision, newest first')
  .option('--state <state>', 'another state: approved, rejected, expired, executed, refused', 'pending')
  .action(async ({ state }: { state: string }) => {
    const { data } = await ask(`/v1/approvals?limit=100&state=${encodeURIComponent(state)}`)
    const approvals = data as unknown as Record<string, string>[]
    if (approvals.length === 0) say('none')
    for (const { id, kind, account, requested_by, reason_code, expires_at } of approvals)
      say([id, kind, account, `asked by ${requested_by}`, reason_code, `until ${expires_at}`].join('  '))
  })
approval
  .command('show <id>')
  .description('one of them, whole')
  .action(async (id: string) => show(await ask(`/v1/approvals/${encodeURIComponent(id)}`)))
for (const verdict of VERDICTS) {
  const command = approval
    .command(`${verdict} <id>`)
    .description(
      verdict === 'approve'
        ? 'have its plan carried out; it is shown first (writes)'
        : 'nothing is done (writes)',
    )
    .option('-y, --yes', 'do not ask')
  if (verdict === 'reject') command.requiredOption('--reason <code>', 'a slug: why')
  command.action(async (id: string, { yes, reason }: { yes?: true; reason?: string }) => {
    const path = `/v1/approvals/${encodeURIComponent(id)}`
    show(await ask(path))
    if (!yes && !(await agrees(`${verdict} it?`))) fail('nothing was done')
    const { state, result } = await ask(
      `${path}/${verdict}`,
      reason === undefined ? {} : { reason_code: reason },
    )
    say(`${id} is ${state} ${JSON.stringify(result)}`)
  })
}

/** Asks the API. Ends the program with what it says when it refuses. */
async function ask(path: string, body?: object): Promise<Record<string, string>> {
  const { apiKey, port } = readConfig()
  if (apiKey === undefined)
    fail('PERENNIAL_API_KEY is not set: a key of your own, with the scopes read and approvals')
  const answer = await fetch(`${program.opts<{ api?: string }>().api ?? `http://127.0.0.1:${port}`}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${apiKey}`,
      ...(body !== undefined && { 'content-type': 'application/json', 'idempotency-key': randomUUID() }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  // whatever is shown is a text or becomes one
  const said = (await answer.json()) as Record<string, string>
  if (!answer.ok) fail(`${said['code']}: ${said['detail']}`)
  if (answer.status === 202) fail(`it was taken and goes on: GET /v1/commands/${said['id']}`)
  return said
}

function show(facts: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(facts)) {
    if (name !== 'object')
      say(`${name.padEnd(22)} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
  }
}

const inbox = program.command('inbox').description('webhook events that were set aside')
inbox
  .command('parked')
  .description('list them, with the reason')
  .action(() =>
    withPool(async (pool) => {
      const events = await parkedEvents(pool, 100)
      if (events.length === 0) say('none')
      for (const { eventId, type, owner, reason } of events)
        say(`${eventId}  ${type}  ${owner ?? '-'}  ${reason}`)
    }),
  )
inbox
  .command('unpark <event>')
  .description('give one back to the sweeper (writes)')
  .action((event: string) =>
    withPool(async (pool) => {
      if (!(await unparkEvent(pool, event))) fail(`there is no parked event ${event}`)
      say(`${event} will be tried again within half a minute`)
    }),
  )

const alerts = program.command('alert').description('what a person must look at')
alerts
  .command('list')
  .description('list what is open, oldest first')
  .action(() =>
    withPool(async (pool) => {
      const open = await listOpenAlerts(pool, 1_000)
      if (open.length === 0) say('none')
      for (const { kind, subject, detail, times, raisedAt } of open)
        say(`${raisedAt.toISOString()}  ${kind}  ${subject}  ${times} ×  ${detail}`)
    }),
  )
alerts
  .command('close <kind> <subject>')
  .description('somebody has seen to it; it is raised again when it is found again (writes)')
  .action((kind: string, subject: string) =>
    withPool(async (pool) => {
      if (!(await resolveAlert(pool, kind, subject))) fail(`no alert ${kind} about ${subject} is open`)
      say('closed')
    }),
  )

program
  .command('strays')
  .description(
    'objects in Stripe that belong to no account: foreign ones, and orphans that name what is not here',
  )
  .action(() =>
    withPool(async (pool) => {
      const found = await listStrays(pool, 1_000)
      if (found.length === 0) say('none')
      for (const { id, kind, standing, named, lastAt } of found)
        say(`${lastAt.toISOString()}  ${standing}  ${kind}  ${id}${named === null ? '' : `  names ${named}`}`)
    }),
  )

addNoticeCommands(program, { withPool, say, product: () => readConfig().productName })
addStripeCommands(program, {
  withPool,
  say,
  fail,
  stripe: () => {
    const config = readConfig()
    const livemode = isLiveKey(config.stripeSecretKey ?? '')
    return { events: createEventGateway(stripeOf(config)), livemode }
  },
})

const catalog = program.command('catalog').description('plans, prices and packs')
catalog
  .command('sync')
  .description(
    'make what is sold, here and in Stripe, what the file says; the difference is shown first (writes)',
  )
  .option('--check', 'change nothing; exit with 1 when there is a difference')
  .option('-y, --yes', 'do not ask')
  .action((options: { check?: true; yes?: true }) => withPool((pool) => syncCatalog(pool, options)))
catalog
  .command('show')
  .description('what is on sale')
  .action(() =>
    withPool(async (pool) => {
      const inForce = await catalogInForce(pool)
      if (inForce === undefined) return say('nothing is on sale yet: perennial catalog sync')
      const { version, currency, limits } = inForce
      say(`catalogue ${version}`)
      for (const terms of await listOnSale(pool))
        say(`  ${terms.lookupKey.padEnd(34)} ${termsInWords(terms)}`)
      say(
        `one purchase ${limits.purchaseMin} to ${limits.purchaseMax} ${currency}, a day ${limits.purchaseDayMax}, ${limits.purchaseHourMax} an hour`,
      )
      say(`one grant without the scope grants:large at most ${limits.grantMax} credits`)
    }),
  )

/** Shows what differs, asks, and does it step by step. What was done stays when a step fails: run it again. */
async function syncCatalog(pool: Pool, { check, yes }: { check?: true; yes?: true }): Promise<void> {
  const config = readConfig()
  const file = await readCatalog(config.catalogFile)
  const stripe = createPriceGateway(stripeOf(config))
  const plan = await planCatalog(pool, stripe, file)
  for (const key of plan.inPlace) say(`  =  ${'already there'.padEnd(16)} ${key}`)
  for (const [what, which] of plan.steps.map(inWords)) say(`  +  ${what.padEnd(16)} ${which}`)
  for (const { lookupKey, why } of plan.conflicts) say(`  !  ${'differs'.padEnd(16)} ${lookupKey}: ${why}`)
  if (plan.conflicts.length > 0) fail('nothing was done: the lines with ! are for a person to settle')
  if (plan.steps.length === 0) say('there is no difference')
  if (check) {
    if (plan.steps.length > 0) process.exitCode = 1
    return
  }
  if (plan.steps.length > 0 && !yes && !(await agrees('do it?'))) fail('nothing was done')
  const tasks = stepsInStripe(plan).map((step) => ({
    title: inWords(step).join(' '),
    task: () => takeStep(pool, stripe, step),
  }))
  const last = { title: 'write down what is sold', task: () => writeDown(pool, file, plan, 'operator') }
  await new Listr([...tasks, last], { fallbackRenderer: 'simple' }).run().catch((error: Error) => {
    fail(`${error.message}\nwhat was done stays; run it again for the rest`)
  })
}

/** Stripe by STRIPE_SECRET_KEY, or the sandbox of a running `npm start`, which takes any test key. */
function stripeOf({ stripeSecretKey, stripeApiUrl, stripeSandboxPort }: Config) {
  const retries = 2
  if (stripeSecretKey !== undefined) return stripeClient(stripeSecretKey, stripeApiUrl, retries)
  return stripeClient('sk_test_perennial_sandbox', `http://127.0.0.1:${stripeSandboxPort}`, retries)
}

async function agrees(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) fail('nobody can be asked here: pass --yes, or --check to change nothing')
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim())
  } finally {
    terminal.close()
  }
}

/** The database of DATABASE_URL, or the one that `npm start` keeps in the data folder. */
function ownerUrl(config: Config): string {
  const url = config.databaseOwnerUrl ?? config.databaseUrl
  if (url !== undefined) return url
  try {
    const password = readFileSync(join(config.dataDir, 'postgres-owner'), 'utf8').trim()
    return `postgres://perennial_owner:${password}@127.0.0.1:${config.postgresPort}/perennial`
  } catch {
    return fail('DATABASE_URL is not set, and npm start has not made a database in this folder')
  }
}

async function withPool(work: (pool: Pool) => Promise<void>): Promise<void> {
  const pool = connect(ownerUrl(readConfig()), 1)
  try {
    await work(pool)
  } finally {
    await pool.end()
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`)
  process.exit(1)
}

await program.parseAsync().catch((error: Error & { code?: string }) => {
  const hint = error.code === 'ECONNREFUSED' ? '\nPostgres does not answer there: is npm start running?' : ''
  fail(`${error.message}${hint}`)
})
