/** The `perennial` command: what an operator does beside the pages. Reads unless a command says that it writes. */
import { Command, Option } from 'commander'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, readConfig } from './config.ts'
import { INVARIANTS, violations } from './ledger/invariant.ts'
import { createApiKey, listApiKeys, revokeApiKey, type Scope, SCOPES } from './store/api-key.ts'
import { connect, type Pool } from './store/connect.ts'
import { parkedEvents, unparkEvent } from './store/inbox.ts'
import { migrate } from './store/migrate.ts'

const program = new Command('perennial').description('durable prepaid-credit billing').showHelpAfterError()

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
  const pool = connect(ownerUrl(readConfig()), 2)
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
