/**
 * What Prometheus is told, of an API and of a worker alike: what this process did, and what the whole fleet's rows say.
 * Labels are routes, kinds and outcomes: few, and never anything of a person (law 13).
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Fleet } from './store/fleet.ts'

/** How long a reading of the fleet is good for: several who scrape cost one look at the database. */
const FRESH_MS = 2_000

export interface Metrics {
  contentType: string
  /**
   * Everything, as text. The fleet's part is left out while the database does not answer; the process's own is not.
   * @param readFleet asked for the fleet's part, at most every two seconds
   */
  render(readFleet: () => Promise<Fleet>): Promise<string>
  /** One request that was answered. */
  request(about: { method: string; route: string; status: number; seconds: number }): void
  /** One call of Stripe, or one that was not let through. */
  stripeCall(about: { endpoint: string; outcome: string; seconds: number }): void
}

/** One a process, whatever it does. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  const requests = new Histogram({
    name: 'perennial_http_request_duration_seconds',
    help: 'Requests that were answered, by method, route and status',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  })
  /** Found once: looking for them by their labels costs more than counting. */
  const lines = new Map<string, ReturnType<typeof requests.labels>>()
  const calls = new Histogram({
    name: 'perennial_stripe_call_duration_seconds',
    help: 'Calls to Stripe that were sent, by endpoint and outcome: answered, refused, rate_limited, outage',
    labelNames: ['endpoint', 'outcome'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20],
    registers,
  })
  const held = new Counter({
    name: 'perennial_stripe_calls_held_total',
    help: 'Calls to Stripe that were not sent: the circuit is open (unavailable), or a rate limit is used up (busy)',
    labelNames: ['endpoint', 'outcome'],
    registers,
  })
  const up = new Gauge({
    name: 'perennial_database_up',
    help: '1: the database answered this scrape',
    registers,
  })
  // apart, so that it can be left out: old numbers would look like new ones
  const ofFleet = new Registry()
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `perennial_${name}`, help, labelNames, registers: [ofFleet] })
  const circuit = gauge('stripe_circuit', '1 for the state that the circuit to Stripe is in', ['state'])
  const trips = gauge('stripe_circuit_trips', 'How often the circuit to Stripe opened, ever')
  const probe = gauge(
    'stripe_circuit_retry_seconds',
    'Until the next probe may go, or the one under way loses its lease; 0 while closed',
  )
  const backlog = gauge('inbox_backlog', 'Events that wait for a run of their owner')
  const backlogAge = gauge('inbox_oldest_seconds', 'How long the oldest of them has waited')
  const parked = gauge('inbox_parked', 'Events that a person must look at')
  const alerts = gauge('alerts_open', 'Alerts that a person must look at, by kind', ['kind'])
  const duties = gauge('duty_age_seconds', 'Since a duty last ended well', ['duty'])
  const commands = gauge('commands_pending', 'Commands that nobody has carried out yet')
  const commandAge = gauge('commands_oldest_seconds', 'How long the oldest of them has waited')
  const deliveries = gauge('deliveries_pending', 'Mails and webhooks that are still to be sent')
  const deliveryAge = gauge('deliveries_oldest_seconds', 'How long the oldest of them has waited')
  const doubtful = gauge('deliveries_in_doubt', 'Mails that may have arrived: a person decides')

  function show(fleet: Fleet): void {
    const { state, trips: opened, retryAt } = fleet.breaker
    for (const each of ['closed', 'open', 'half_open']) circuit.set({ state: each }, each === state ? 1 : 0)
    trips.set(Number(opened))
    probe.set(retryAt === null ? 0 : Math.max(0, (retryAt.getTime() - Date.now()) / 1_000))
    backlog.set(fleet.inboxBacklog)
    backlogAge.set(fleet.inboxOldest)
    parked.set(fleet.inboxParked)
    // a kind that has none any more is not there any more
    alerts.reset()
    for (const [kind, open] of Object.entries(fleet.alerts)) alerts.set({ kind }, open)
    for (const [duty, age] of Object.entries(fleet.dutyAges)) duties.set({ duty }, age)
    commands.set(fleet.commandsPending)
    commandAge.set(fleet.commandsOldest)
    deliveries.set(fleet.deliveriesPending)
    deliveryAge.set(fleet.deliveriesOldest)
    doubtful.set(fleet.deliveriesInDoubt)
  }
  let reading: { at: number; shown: Promise<boolean> } | undefined
  /** @returns whether the database answered */
  function readOnce(readFleet: () => Promise<Fleet>): Promise<boolean> {
    const now = performance.now()
    if (reading === undefined || now - reading.at > FRESH_MS) {
      const shown = readFleet().then(
        (fleet) => {
          show(fleet)
          return true
        },
        () => false,
      )
      reading = { at: now, shown }
    }
    return reading.shown
  }

  return {
    contentType: registry.contentType,
    async render(readFleet) {
      const answered = await readOnce(readFleet)
      up.set(answered ? 1 : 0)
      const texts = await Promise.all(
        [registry, ...(answered ? [ofFleet] : [])].map((each) => each.metrics()),
      )
      return texts.join('\n')
    },
    request({ method, route, status, seconds }) {
      const key = `${method} ${route} ${status}`
      let line = lines.get(key)
      if (line === undefined) lines.set(key, (line = requests.labels({ method, route, status })))
      line.observe(seconds)
    },
    stripeCall({ endpoint, outcome, seconds }) {
      if (outcome === 'unavailable' || outcome === 'busy') held.inc({ endpoint, outcome })
      else calls.observe({ endpoint, outcome }, seconds)
    },
  }
}

/** Serves `/metrics` and `/healthz` for a process that serves nothing else. */
export async function serveMetrics(
  render: () => Promise<string>,
  { port, host }: { port: number; host: string },
): Promise<{ port: number; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    const answer = (status: number, type: string, body: string) =>
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body)
    if (request.method !== 'GET') answer(405, 'text/plain', 'only GET\n')
    else if (request.url === '/healthz') answer(200, 'application/json', '{"status":"ok"}')
    else if (request.url === '/metrics')
      render().then(
        (text) => answer(200, Registry.PROMETHEUS_CONTENT_TYPE, text),
        () => answer(500, 'text/plain', 'metrics cannot be told\n'),
      )
    else answer(404, 'text/plain', 'there are /metrics and /healthz\n')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
