/**
 * Owns which parts `npm start` brings up, in which order, and what each needs from those before it. A part that
 * the configuration names (DATABASE_URL, TEMPORAL_ADDRESS, STRIPE_SECRET_KEY) is used instead of started.
 */
import { join } from 'node:path'
import type { Config } from '../config.ts'
import type { Logger } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { installRuntime, startApi, startWorker } from '../main.ts'
import { ensureApiKey, makeApiKey, SCOPES } from '../store/api-key.ts'
import { migrate } from '../store/migrate.ts'
import { openSandboxClock } from './clock.ts'
import { keptSecret } from './data-dir.ts'
import { assertFree } from './ports.ts'
import { startPostgres } from './postgres.ts'
import { startMailbox } from './mailbox.ts'
import { startStripeSandbox, type StripeSandbox } from './stripe/index.ts'
import { findTemporal } from './temporal-binary.ts'
import { startTemporal } from './temporal.ts'
import { ensureWebhookEndpoint } from './webhook-endpoint.ts'

/** What the parts have told about themselves so far. */
export type Stack = {
  config: Config
  log: Logger
  /** Undo of each started part, newest first. */
  stops: { part: string; stop(): Promise<void> }[]
  /** A part of ours ended by itself: not while stopping. */
  onEnded(part: string): void
  stripe: { apiKey: string; webhookSecrets: string[]; sandboxUrl?: string }
  /** the simulator, where it runs: other pages of the sandbox are mounted on it */
  sandbox?: StripeSandbox
  mailUrl?: string
  apiKey?: string
  apiUrl?: string
  temporalUiUrl?: string
}

/** One line of the progress display; `start` answers where the part is or what it did. */
export type Part = { title: string; start(stack: Stack): Promise<string> }

/** Where the mailbox's pages are, on the sandbox's control plane. */
const MAIL_PATH = '/_sandbox/mail'

/** A key that only the simulator knows; it accepts any test key, and our client sends it nothing else. */
const SANDBOX_KEY = 'sk_test_perennial_sandbox'

export function createStack(config: Config, log: Logger, onEnded: (part: string) => void): Stack {
  const { stripeSecretKey, stripeWebhookSecrets } = config
  const stripe = { apiKey: stripeSecretKey ?? SANDBOX_KEY, webhookSecrets: stripeWebhookSecrets }
  return { config, log, stops: [], onEnded, stripe }
}

const ports: Part = {
  title: 'Ports',
  async start({ config }) {
    // those of our own process; Postgres and Temporal first look for what a crashed run of theirs left behind
    await assertFree(config.port, 'the API', 'PORT')
    if (!config.stripeSecretKey)
      await assertFree(config.stripeSandboxPort, 'the Stripe sandbox', 'STRIPE_SANDBOX_PORT')
    if (!config.stripeSecretKey && !config.smtpUrl)
      await assertFree(config.mailSandboxPort, 'the mailbox', 'MAIL_SANDBOX_PORT')
    return 'free'
  },
}

const postgres: Part = {
  title: 'Postgres',
  async start(stack) {
    const { config, log } = stack
    if (config.databaseUrl) return `the one of DATABASE_URL, ${new URL(config.databaseUrl).host}`
    const server = await startPostgres({ dataDir: config.dataDir, port: config.postgresPort, log })
    stack.stops.unshift({ part: 'Postgres', stop: () => server.stop() })
    void server.ended.then(() => stack.onEnded('Postgres'))
    config.databaseUrl = server.serviceUrl
    config.databaseOwnerUrl = server.ownerUrl
    return `127.0.0.1:${server.port}`
  },
}

const migrations: Part = {
  title: 'Migrations',
  async start({ config }) {
    if (!config.databaseOwnerUrl) return 'left to the owner, as DATABASE_OWNER_URL is not set'
    const applied = await migrate(config.databaseOwnerUrl)
    return applied.length === 0 ? 'nothing new' : `${applied.length} applied`
  },
}

const temporal: Part = {
  title: 'Temporal',
  async start(stack) {
    const { config, log } = stack
    if (config.temporalAddress) return `the one of TEMPORAL_ADDRESS, ${config.temporalAddress}`
    const program = await findTemporal({ cacheDir: config.cacheDir, log })
    const server = await startTemporal({
      program,
      dataDir: config.dataDir,
      port: config.temporalPort,
      uiPort: config.temporalUiPort,
      namespace: config.temporalNamespace,
      log,
    })
    stack.stops.unshift({ part: 'Temporal', stop: () => server.stop() })
    void server.ended.then(() => stack.onEnded('Temporal'))
    config.temporalAddress = server.address
    if (server.uiUrl) stack.temporalUiUrl = server.uiUrl
    return server.address
  },
}

const stripe: Part = {
  title: 'Stripe',
  async start(stack) {
    const { config, log } = stack
    if (config.stripeSecretKey) return 'Stripe itself, by STRIPE_SECRET_KEY'
    const { temporalAddress, temporalNamespace: namespace, taskQueue } = config as Required<Config>
    const clock = await openSandboxClock({ databaseUrl: ownerUrlOf(config) })
    stack.stops.unshift({ part: 'the sandbox clock', stop: () => clock.stop() })
    const sandbox = await startStripeSandbox({
      port: config.stripeSandboxPort,
      file: join(config.dataDir, 'stripe.jsonl'),
      now: () => clock.now(),
      log: (line) => log.info({ part: 'stripe sandbox' }, line),
    })
    stack.stops.unshift({ part: 'the Stripe sandbox', stop: () => sandbox.close() })
    await clock.attach({ stripe: sandbox, temporalAddress, namespace, taskQueue, notices: true })
    stack.sandbox = sandbox
    sandbox.useClock(clock)
    const secret = await ensureWebhookEndpoint({
      apiKey: SANDBOX_KEY,
      sandboxUrl: sandbox.url,
      url: `http://127.0.0.1:${config.port}/webhooks/stripe`,
      dataDir: config.dataDir,
    })
    stack.stripe = { apiKey: SANDBOX_KEY, webhookSecrets: [secret], sandboxUrl: sandbox.url }
    return sandbox.url
  },
}

/** Both roles run in this process, so both tell of it at the API's /metrics. */
const metrics = createMetrics()

const worker: Part = {
  title: 'Worker',
  async start(stack) {
    installRuntime(stack.log)
    const running = await startWorker({ ...stack, metrics })
    stack.stops.unshift({ part: 'the worker', stop: () => running.stop() })
    return `task queue ${stack.config.taskQueue}`
  },
}

const api: Part = {
  title: 'API',
  async start(stack) {
    const { config } = stack
    const key = config.apiKey ?? keptSecret(config.dataDir, 'api-key', makeApiKey)
    await ensureApiKey(ownerUrlOf(config), key, SCOPES)
    const running = await startApi({ ...stack, metrics })
    stack.stops.unshift({ part: 'the API', stop: () => running.stop() })
    stack.apiKey = key
    stack.apiUrl = `http://127.0.0.1:${config.port}`
    return stack.apiUrl
  },
}

/** The login that may do the most, of those we were given. */
const ownerUrlOf = (config: Config): string => (config.databaseOwnerUrl ?? config.databaseUrl) as string

const mailbox: Part = {
  title: 'Mailbox',
  async start(stack) {
    const { config } = stack
    if (config.smtpUrl) return 'the mail server of SMTP_URL'
    if (stack.sandbox === undefined) return 'none: set SMTP_URL to send e-mail'
    const box = await startMailbox({ port: config.mailSandboxPort, dir: join(config.dataDir, 'mail') })
    stack.stops.unshift({ part: 'the mailbox', stop: () => box.stop() })
    stack.sandbox.mount(MAIL_PATH, (rest) => box.page(rest))
    config.smtpUrl = box.url
    config.mailFrom ??= 'Billing <billing@sandbox.invalid>'
    stack.mailUrl = `${stack.sandbox.url}${MAIL_PATH}`
    return stack.mailUrl
  },
}

/** In the order of need; stopped in reverse, so that nothing loses what it stands on. */
export const PARTS: Part[] = [ports, postgres, migrations, temporal, stripe, mailbox, api, worker]
