/**
 * The whole product on real parts: Postgres, Temporal, the Stripe sandbox, a worker and the API. The API is in the
 * test's process, or there are several in processes of their own behind a proxy.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import Stripe from 'stripe'
import type { Config } from '../../src/config.ts'
import { workflowId } from '../../src/domain/id.ts'
import { createLogger } from '../../src/log.ts'
import { type MainDeps, type Running, startApi, startWorker } from '../../src/main.ts'
import { openSandboxClock, type SandboxClock } from '../../src/sandbox/clock.ts'
import { startStripeSandbox, type StripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { ensureApiKey, makeApiKey, SCOPES } from '../../src/store/api-key.ts'
import { API_VERSION, stripeClient } from '../../src/stripe/gateway.ts'
import { wakeOwner } from '../../src/workflows/owner.ts'
import { DUTIES } from '../../src/workflows/schedule.ts'
import { type Balancer, startBalancer } from './balancer.ts'
import { assertConforms } from './contract.ts'
import { createDatabase, type TestDatabase } from './postgres.ts'
import { type Role, startRole } from './process.ts'
import { taskQueue, temporalServer } from './temporal.ts'
import { freePort } from '../../src/sandbox/ports.ts'

const STRIPE_KEY = 'sk_test_perennial'

export interface Answer<T = Record<string, unknown>> {
  status: number
  headers: Headers
  body: T
}

export interface Stack {
  database: TestDatabase
  clock: SandboxClock
  sandbox: StripeSandbox
  /** the official client, for what a person or another program does in Stripe */
  stripe: Stripe
  temporal: Client
  config: Config
  deps: MainDeps
  /** where callers and Stripe reach the API: the proxy, where there is one */
  apiUrl: string
  /** the API processes behind the proxy; none when the API is in this process */
  apis: ApiProcess[]
  /** how many connections the proxy gave to each */
  connections(): number[]
  /** @param at one API's own address, instead of `apiUrl` */
  call<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    key?: string,
    at?: string,
  ): Promise<Answer<T>>
  /** As `call`, and where workers have so much to do that the answer is 202, once more when there is another. */
  ask<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    key?: string,
  ): Promise<Answer<T>>
  control<T = Record<string, unknown>>(path: string, body?: unknown): Promise<T>
  startWorker(): Promise<void>
  stopWorker(): Promise<void>
  startApi(): Promise<void>
  stopApi(): Promise<void>
  stop(): Promise<void>
}

/** An API in a process of its own, by its own address. */
export type ApiProcess = Role & { url: string }

/** How many APIs a stack has when a test does not say: `TEST_APIS=2 npm test` runs every system test over two. */
const APIS = Number(process.env['TEST_APIS'] ?? 1)

/** A suite over the API in this process, and once more over two processes behind a proxy. */
export function describeBoth(title: string, tests: (this: Mocha.Suite, apis: number) => void): void {
  describe(title, function () {
    tests.call(this, 1)
  })
  describe(`${title}, with two APIs behind a proxy`, function () {
    tests.call(this, 2)
  })
}

/**
 * @param parts what is started; the rest the test starts itself. `apis`: 1 is run in this process, more are processes
 *   of their own behind a round-robin proxy; `smtpUrl`: a mail server, and then what is quiet has been told
 */
export async function startStack(
  parts: { worker?: boolean; api?: boolean; apis?: number; smtpUrl?: string } = {},
): Promise<Stack> {
  const { address } = await temporalServer()
  const database = await createDatabase()
  const clock = await openSandboxClock({ databaseUrl: database.ownerUrl })
  const sandbox = await startStripeSandbox({
    port: 0,
    now: () => clock.now(),
    log: (line) => process.env['TEST_LOG'] && console.log(line),
  })
  const port = await freePort()
  const config: Config = {
    port,
    dataDir: '/nonexistent',
    cacheDir: '/nonexistent',
    databaseUrl: database.serviceUrl,
    postgresPort: 1,
    temporalAddress: address,
    temporalPort: 1,
    temporalUiPort: 1,
    temporalNamespace: 'default',
    taskQueue: taskQueue(),
    stripeWebhookSecrets: [],
    stripeSandboxPort: sandbox.port,
    productName: 'Perennial',
    ...(parts.smtpUrl === undefined
      ? {}
      : { smtpUrl: parts.smtpUrl, mailFrom: 'Billing <billing@example.com>' }),
    mailSandboxPort: 1,
    logLevel: 'silent',
    production: false,
  }
  await clock.attach({
    stripe: sandbox,
    temporalAddress: address,
    namespace: config.temporalNamespace,
    taskQueue: config.taskQueue,
    notices: parts.smtpUrl !== undefined,
  })
  sandbox.useClock(clock)
  const stripe = stripeClient(STRIPE_KEY, sandbox.url)
  const apiUrl = `http://127.0.0.1:${port}`
  const endpoint = await stripe.webhookEndpoints.create({
    url: `${apiUrl}/webhooks/stripe`,
    enabled_events: ['*'],
    api_version: API_VERSION,
  })
  const deps: MainDeps = {
    config,
    log: createLogger((process.env['TEST_LOG'] ?? 'silent') as 'silent'),
    stripe: { apiKey: STRIPE_KEY, webhookSecrets: [endpoint.secret ?? ''], sandboxUrl: sandbox.url },
  }
  const apiKey = makeApiKey()
  await ensureApiKey(database.ownerUrl, apiKey, SCOPES)
  const connection = await Connection.connect({ address })
  const temporal = new Client({ connection })
  let worker: Running | undefined
  let api: Running | undefined
  let balancer: Balancer | undefined
  const count = parts.apis ?? APIS
  const apis: ApiProcess[] = []

  async function startApis(): Promise<void> {
    const ports: number[] = []
    for (let index = 0; index < count; index += 1) ports.push(await freePort())
    const started = await Promise.allSettled(
      ports.map(async (each) => {
        apis.push({
          ...(await startRole(stack, 'api', { port: each })),
          url: `http://127.0.0.1:${each}`,
        })
      }),
    )
    for (const one of started) if (one.status === 'rejected') throw one.reason
    balancer = await startBalancer(port, ports)
  }

  const stack: Stack = {
    database,
    clock,
    sandbox,
    stripe,
    temporal,
    config,
    deps,
    apiUrl,
    apis,
    connections: () => balancer?.given() ?? [],
    async call(method, path, body, key, at = apiUrl) {
      const answer = await fetch(at + path, {
        method,
        headers: {
          authorization: `Bearer ${apiKey}`,
          // each call on a connection of its own, so that the next API gets it
          ...(count > 1 ? { connection: 'close' } : {}),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(method === 'POST' ? { 'idempotency-key': key ?? randomUUID() } : {}),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const { status, headers } = answer
      const text = await answer.text()
      await assertConforms({ method, url: path, status, headers: Object.fromEntries(headers), text })
      return { status, headers, body: JSON.parse(text) }
    },
    async ask<T>(method: string, path: string, body?: unknown, key: string = randomUUID()) {
      // a DELETE has no key, and when it is done there is nothing left to ask for
      const view = method === 'DELETE' ? path.slice(0, path.lastIndexOf('/')) : undefined
      return await answered(stack, () => stack.call<T>(method, path, body, key), view)
    },
    async control(path, body) {
      const answer = await fetch(`${sandbox.url}/_sandbox/${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
      return JSON.parse(text)
    },
    async startWorker() {
      worker = await startWorker(deps)
      // a test that loses webhooks says itself when they are found again
      await temporal.schedule.getHandle(workflowId.duty('catch_up', config.taskQueue)).pause()
    },
    async stopWorker() {
      await worker?.stop()
      worker = undefined
    },
    async startApi() {
      if (count === 1) api = await startApi(deps)
      else await startApis()
    },
    async stopApi() {
      await api?.stop()
      api = undefined
      await Promise.all(apis.splice(0).map((each) => each.stop()))
      await balancer?.close()
      balancer = undefined
    },
    async stop() {
      for (const { duty } of DUTIES) {
        await temporal.schedule
          .getHandle(workflowId.duty(duty, config.taskQueue))
          .delete()
          .catch(() => {})
      }
      await stack.stopApi()
      await stack.stopWorker()
      await clock.stop()
      await sandbox.close()
      await connection.close()
      await database.drop()
    },
  }
  try {
    if (parts.worker !== false) await stack.startWorker()
    if (parts.api !== false) await stack.startApi()
    return stack
  } catch (error) {
    // whoever asked has nothing to stop
    await stack.stop()
    throw error
  }
}

/** Wakes an owner, if need be more than once: one call gives Temporal two seconds. */
export async function wake({ temporal: client, config }: Stack, owner: string): Promise<void> {
  const { taskQueue } = config
  const woken = () =>
    wakeOwner({ client, taskQueue }, owner, { reason: 'test' }).then(
      () => true,
      () => false,
    )
  await eventually(`${owner} is woken`, woken)
}

/**
 * Asks, and where the answer is 202, once more when its command has ended: the workers may have much to do.
 * @param view where what it has made is read instead
 */
export async function answered<T>(
  stack: Stack,
  ask: () => Promise<Answer<T>>,
  view?: string,
): Promise<Answer<T>> {
  const first = await ask()
  if (first.status !== 202) return first
  const { headers } = first
  const location = headers.get('location') ?? ''
  const ended = async () => {
    const { body } = await stack.call('GET', location)
    return body['state'] !== 'pending' && body
  }
  const { state, status_code: status, result } = await eventually(`the end of ${location}`, ended, 60_000)
  // with the headers of the first: this is no repetition of the caller's
  if (view === undefined) {
    const last = await eventually(`the answer of ${location}`, async () => {
      const answer = await ask()
      return answer.status !== 202 && answer
    })
    return { ...last, headers }
  }
  // what is answered in time is answered after the pass that follows a command
  await settled(stack)
  const body = state === 'done' ? (await stack.call<T>('GET', view)).body : (result as T)
  return { status: Number(status), headers, body }
}

/** Waits for a fact, not for a time: asks until the answer is there. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined | false>,
  withinMs = 30_000,
): Promise<T> {
  const until = Date.now() + withinMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (Date.now() > until) throw new Error(`never happened: ${what}`)
    await pause(20)
  }
}

export interface Subscriber {
  account: string
  order: string
  session: string
}

/** A new account with an open checkout for a plan. */
export async function openCheckout(
  stack: Stack,
  plan = 'tier_2_20',
  interval = 'month',
): Promise<Subscriber> {
  const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
  const order = await stack.ask<{ id: string; checkout: { id: string } }>('POST', '/v1/subscriptions', {
    account,
    plan,
    interval,
    success_url: 'https://example.com/ok',
    cancel_url: 'https://example.com/no',
  })
  if (order.status !== 201) throw new Error(`no checkout: ${order.status} ${JSON.stringify(order.body)}`)
  return { account, order: order.body.id, session: order.body.checkout.id }
}

/** A new account that has subscribed and paid, once its first credits are there. */
export async function subscribe(
  stack: Stack,
  plan = 'tier_2_20',
  interval = 'month',
): Promise<Subscriber & { subscription: string }> {
  const subscriber = await openCheckout(stack, plan, interval)
  await stack.control(`checkout/${subscriber.session}/pay`, {})
  const session = await stack.stripe.checkout.sessions.retrieve(subscriber.session)
  const subscription = session.subscription as string
  await settled(stack)
  return { ...subscriber, subscription }
}

/** Everything that has come in has been worked off: the clock moves by nothing and waits until all is quiet. */
export async function settled(stack: Stack): Promise<void> {
  await stack.clock.advance(stack.clock.now())
}

export async function balanceOf(stack: Stack, account: string): Promise<string> {
  return (await stack.call<{ balance: string }>('GET', `/v1/accounts/${account}/balance`)).body.balance
}
