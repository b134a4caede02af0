/** Where processes begin: `main.ts api | worker | all`. Reads the config, builds the dependencies, passes them in. */
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import {
  bundleWorkflowCode,
  DefaultLogger,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker'
import type { Logger } from 'pino'
import { createApprovalActivities } from './activities/approval.ts'
import { createCalls } from './activities/calls.ts'
import { checkCatalog, ensureCatalog, readCatalog } from './activities/catalog.ts'
import { createCatchUpActivities } from './activities/catch-up.ts'
import { createChangeActivities } from './activities/change.ts'
import { createCheckoutActivities } from './activities/checkout.ts'
import { createCustomerActivities } from './activities/customer.ts'
import { createDriftActivities } from './activities/drift.ts'
import { createDutyActivities } from './activities/duty.ts'
import { createFreeActivities } from './activities/free.ts'
import { createNotifyActivities } from './activities/notify.ts'
import { createPreviewActivities } from './activities/preview.ts'
import { createPurchaseActivities } from './activities/purchase.ts'
import { createSubscriptionActivities } from './activities/subscription.ts'
import { createTopUpActivities } from './activities/top-up.ts'
import { buildApi } from './api/server.ts'
import { type Config, readConfig } from './config.ts'
import { createLogger } from './log.ts'
import { createMetrics, type Metrics, serveMetrics } from './metrics.ts'
import { createAdmission } from './store/breaker.ts'
import { connect } from './store/connect.ts'
import { readFleet } from './store/fleet.ts'
import { createChangeGateway } from './stripe/change.ts'
import { createCollectionGateway } from './stripe/collection.ts'
import { stripeDoor } from './stripe/edge.ts'
import { createEventGateway } from './stripe/event-list.ts'
import { API_VERSION, createGateway, isLiveKey, stripeClient } from './stripe/gateway.ts'
import { createPaymentGateway } from './stripe/payment.ts'
import { createPriceGateway } from './stripe/price.ts'
import { createPurchaseGateway } from './stripe/purchase.ts'
import { ATTRIBUTE } from './workflows/message.ts'
import { ensureSchedules } from './workflows/schedule.ts'

export interface MainDeps {
  /** with `databaseUrl` and `temporalAddress` filled in */
  config: Config
  log: Logger
  stripe: { apiKey: string; webhookSecrets: string[]; sandboxUrl?: string }
  /** of the whole process, where it has both roles */
  metrics?: Metrics
}

export interface Running {
  /** where it can be reached, for the API; the task queue, for the worker */
  address: string
  /** Finishes what it has begun, then ends. */
  stop(): Promise<void>
}

const WORKFLOWS = fileURLToPath(
  new URL(`./workflows/index${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
)

/** How a worker uses its machine. How many workflows it keeps in memory follows from its heap, by the SDK's rule. */
export const WORKER_OPTIONS = {
  maxConcurrentActivityTaskExecutions: 16,
  shutdownGraceTime: '20 seconds',
  shutdownForceTime: '25 seconds',
} as const

/** The SDK's own log lines go where ours go, and Ctrl-C is ours: the worker ends with the rest, in order. */
export function installRuntime(log: Logger): void {
  const logger = new DefaultLogger('WARN', ({ level, message, meta }) => {
    log[level === 'WARN' ? 'warn' : 'error'](meta ?? {}, message)
  })
  const filter = makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' })
  Runtime.install({ shutdownSignals: [], logger, telemetryOptions: { logging: { filter, forward: {} } } })
}

/** Runs workflows and activities. Registers search attributes, prices and schedules before it takes work. */
export async function startWorker({
  config,
  log,
  stripe,
  metrics = createMetrics(),
}: MainDeps): Promise<Running> {
  const { databaseUrl, temporalAddress } = reachable(config)
  const catalog = await readCatalog(config.catalogFile)
  const pool = connect(databaseUrl)
  const door = stripeDoor(createAdmission(pool, stripeRates(config, stripe)), (call) =>
    metrics.stripeCall(call),
  )
  const stripeApi = stripeClient(stripe.apiKey, stripe.sandboxUrl, 0, door)
  const prices = createPriceGateway(stripeApi)
  const events = createEventGateway(stripeApi)
  const calls = createCalls(pool)
  const gateway = createGateway(stripeApi, calls)
  const purchases = createPurchaseGateway(stripeApi, calls)
  const changes = createChangeGateway(stripeApi, calls)
  const collection = createCollectionGateway(stripeApi, calls)
  const payments = createPaymentGateway(stripeApi, calls)
  const connection = await NativeConnection.connect({ address: temporalAddress }).catch(
    async (error: Error) => {
      await pool.end()
      throw new Error(`Temporal does not answer at ${temporalAddress} (TEMPORAL_ADDRESS)`, { cause: error })
    },
  )
  try {
    // no activity yet: nobody but the client itself would try again; the sandbox's alone, so it asks nobody
    const patient = createPriceGateway(stripeClient(stripe.apiKey, stripe.sandboxUrl, 2))
    if (stripe.sandboxUrl !== undefined) await ensureCatalog(pool, patient, catalog)
    else if (!(await checkCatalog(pool, catalog)))
      log.warn('the catalogue file is not what is sold: run perennial catalog sync')
    const client = new Client({ connection, namespace: config.temporalNamespace })
    await registerAttributes(client, config.temporalNamespace)
    const reach = { client, taskQueue: config.taskQueue }
    const subscriptions = createSubscriptionActivities({ pool, gateway, collection, changes, reach })
    // before there is a worker that would have to be stopped if the port is taken
    const told =
      config.metricsPort === undefined
        ? undefined
        : await serveMetrics(() => metrics.render(() => readFleet(pool)), {
            port: config.metricsPort,
            host: config.production ? '0.0.0.0' : '127.0.0.1',
          })
    const worker = await Worker.create({
      connection,
      namespace: config.temporalNamespace,
      taskQueue: config.taskQueue,
      workflowBundle: await bundle(),
      activities: {
        ...subscriptions,
        ...createChangeActivities({ pool, gateway, changes }),
        ...createFreeActivities({ pool }),
        ...createCheckoutActivities({ pool, gateway, purchases, reach }),
        ...createPurchaseActivities({ pool, purchases }),
        ...createTopUpActivities({ pool, payments, purchases, reach }),
        ...createApprovalActivities({ pool, gateway, changes, reach }),
        ...createCustomerActivities({ pool, gateway, collection }),
        ...createDutyActivities({ pool, gateway, events, reach }),
        ...createCatchUpActivities({ pool, events, livemode: isLiveKey(stripe.apiKey) }),
        ...createDriftActivities({ pool, prices }),
        ...createNotifyActivities({ pool, ...outboundOf(config), anywhere: stripe.sandboxUrl !== undefined }),
        ...createPreviewActivities({
          pool,
          gateway,
          changes,
          payments,
          look: (asked) => subscriptions.observeSubscription(asked),
        }),
      },
      ...WORKER_OPTIONS,
    })
    const running = worker.run()
    await ensureSchedules(client, config.taskQueue)
    log.info({ taskQueue: config.taskQueue }, 'worker is running')
    return {
      address: config.taskQueue,
      async stop() {
        if (worker.getState() === 'RUNNING') worker.shutdown()
        await running
        await told?.close()
        await connection.close()
        await pool.end()
      },
    }
  } catch (error) {
    await connection.close()
    await pool.end()
    throw error
  }
}

/** Serves HTTP. Starts and answers also while Temporal is down: webhooks are stored, spends are spent. */
export async function startApi({
  config,
  log,
  stripe,
  metrics = createMetrics(),
}: MainDeps): Promise<Running> {
  const { databaseUrl, temporalAddress } = reachable(config)
  const pool = connect(databaseUrl)
  const connection = Connection.lazy({ address: temporalAddress, connectTimeout: 2_000 })
  const client = new Client({ connection, namespace: config.temporalNamespace })
  const api = await buildApi({
    pool,
    metrics,
    reach: { client, taskQueue: config.taskQueue },
    webhookSecrets: stripe.webhookSecrets,
    livemode: isLiveKey(stripe.apiKey),
    apiVersion: API_VERSION,
    product: config.productName,
    anywhere: stripe.sandboxUrl !== undefined,
    log,
  })
  const end = async () => {
    await connection.close()
    await pool.end()
  }
  try {
    const address = await api.listen({ port: config.port, host: config.production ? '0.0.0.0' : '127.0.0.1' })
    return {
      address,
      async stop() {
        await api.close()
        await end()
      },
    }
  } catch (error) {
    await end()
    throw error
  }
}

/** Stripe allows 100 calls a second live and 25 in test mode, and 25 to an endpoint: a fifth is left for others. */
function stripeRates({ stripeRateLimit }: Config, { apiKey, sandboxUrl }: MainDeps['stripe']) {
  // docs.stripe.com/rate-limits; the simulator on this machine has none
  if (sandboxUrl !== undefined && stripeRateLimit === undefined) return { account: 10_000, endpoint: 10_000 }
  const account = stripeRateLimit ?? (isLiveKey(apiKey) ? 80 : 20)
  return { account, endpoint: Math.min(account, 20) }
}

/** How notices leave the house. */
function outboundOf({ productName: product, smtpUrl: url, mailFrom: from }: Config) {
  return { product, smtp: url === undefined || from === undefined ? undefined : { url, from } }
}

function reachable(config: Config): { databaseUrl: string; temporalAddress: string } {
  const { databaseUrl, temporalAddress } = config
  if (databaseUrl === undefined) throw new Error('DATABASE_URL is not set')
  if (temporalAddress === undefined) throw new Error('TEMPORAL_ADDRESS is not set')
  return { databaseUrl, temporalAddress }
}

let bundled: ReturnType<typeof bundleWorkflowCode> | undefined
/** The workflows' code, once a process. */
function bundle(): ReturnType<typeof bundleWorkflowCode> {
  bundled ??= bundleWorkflowCode({ workflowsPath: WORKFLOWS, logger: new DefaultLogger('WARN') })
  return bundled
}

/** Temporal's numbers for the kinds of search attributes that we use. */
const TYPES: Record<string, number> = { KEYWORD: 2, DATETIME: 6, BOOL: 5 }

async function registerAttributes(client: Client, namespace: string): Promise<void> {
  const service = client.connection.operatorService
  const { customAttributes } = await service.listSearchAttributes({ namespace })
  const missing = Object.values(ATTRIBUTE).filter((key) => customAttributes[key.name] === undefined)
  if (missing.length === 0) return
  await service.addSearchAttributes({
    namespace,
    searchAttributes: Object.fromEntries(missing.map((key) => [key.name, TYPES[key.type] ?? 0])),
  })
}

/** One role or both, until SIGTERM or Ctrl-C. */
async function main(role: string | undefined): Promise<void> {
  if (role !== 'api' && role !== 'worker' && role !== 'all') {
    process.stderr.write('usage: main.ts api | worker | all\n')
    process.exit(2)
  }
  const config = readConfig()
  const log = createLogger(config.logLevel)
  const { stripeSecretKey, stripeApiUrl } = config
  const missing = [
    config.databaseUrl === undefined && 'DATABASE_URL',
    config.temporalAddress === undefined && 'TEMPORAL_ADDRESS',
    stripeSecretKey === undefined && 'STRIPE_SECRET_KEY',
  ].filter((name) => name !== false)
  if (stripeSecretKey === undefined || missing.length > 0) {
    throw new Error(`not set: ${missing.join(', ')}. npm start brings up what is missing, on a bare machine`)
  }
  const stripe = {
    apiKey: stripeSecretKey,
    webhookSecrets: config.stripeWebhookSecrets,
    ...(stripeApiUrl === undefined ? {} : { sandboxUrl: stripeApiUrl }),
  }
  // only a worker needs it; in a process without one it would never end and keep the process from ending
  if (role !== 'api') installRuntime(log)
  const deps = { config, log, stripe, metrics: createMetrics() }
  const running: Running[] = []
  if (role !== 'api') running.push(await startWorker(deps))
  if (role !== 'worker') running.push(await startApi(deps))
  log.info({ role, addresses: running.map(({ address }) => address) }, 'ready')
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, resolve)
  })
  log.info({ signal }, 'stopping')
  for (const each of running.reverse()) await each.stop()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(process.argv[2]).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exit(1)
  })
}
