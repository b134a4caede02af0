// The Stripe simulator: Stripe's own API on a loopback port, with a business clock that others may move. It imports
// nothing of the rest of the project, so that an error of ours cannot agree with itself.
import type { AddressInfo } from 'node:net'
import type { Answer } from './api.ts'
import { runUntil } from './engine.ts'
import { IdempotencyKeys } from './idempotency.ts'
import { pruneEvents } from './resource/event.ts'
import { makeServer } from './server.ts'
import { Webhooks } from './webhook.ts'
import { enqueue, pruneDeliveries } from './webhook-queue.ts'
import { World } from './world.ts'

export interface SandboxClock {
  /** Business time in unix ms. */
  now(): number
  advance(toMs: number): Promise<void>
}

export interface StripeSandboxOptions {
  /** 0 takes any free one; always on 127.0.0.1. */
  port: number
  /** Append-only JSONL journal; without it everything is in memory. */
  file?: string
  /** Business time in unix ms; by default the machine's, plus an offset that the standalone clock moves. */
  now?: () => number
  /** Moves everything when the control plane is asked to advance; by default the simulator moves itself. */
  clock?: SandboxClock
  seed?: number
  log?: (line: string) => void
  /** What happens when the last retry of a renewal failed. */
  afterRetries?: 'cancel' | 'unpaid' | 'past_due'
  /** The key the service will use: a live one stops the start. */
  secretKey?: string
}

export interface StripeSandbox {
  readonly port: number
  readonly url: string
  nextDeadline(): number | undefined
  advanceTo(ms: number): void
  deliverDue(): Promise<number>
  webhooksInFlight(): number
  /** how many deliveries were begun so far, each try of one */
  webhooksBegun(): number
  useClock(clock: SandboxClock): void
  /** Serves somebody else's pages at a path and below it; they are given the rest of the path. */
  mount(path: string, page: (rest: string) => Answer): void
  close(): Promise<void>
}

function refuseLive(options: StripeSandboxOptions): void {
  if (process.env['NODE_ENV'] === 'production')
    throw new Error('The Stripe sandbox does not run in production.')
  const texts = Object.values(options as unknown as Record<string, unknown>).filter(
    (v) => typeof v === 'string',
  )
  if (texts.some((text) => /(sk|rk)_live_/.test(text)))
    throw new Error('The Stripe sandbox refuses live keys.')
}

const DAY_MS = 86_400_000

export async function startStripeSandbox(options: StripeSandboxOptions): Promise<StripeSandbox> {
  refuseLive(options)
  const log = options.log ?? ((): void => {})
  const world = new World({
    file: options.file,
    seed: options.seed,
    afterRetries: options.afterRetries ?? 'cancel',
  })
  const offset = (): number => Number(world.store.get('_setting', 'clock')?.['offset'] ?? 0)
  const own = (): number => Date.now() + offset()
  let clock = options.clock
  const now = (): number => clock?.now() ?? options.now?.() ?? own()
  const webhooks = new Webhooks(world, now, () => catchUp(), log)
  world.onDelivery = (id, delivery) => webhooks.follow(id, delivery)
  world.onEvents = (events) => enqueue(world, events)
  world.onCommit = () => setImmediate(() => webhooks.pump())
  const keys = new IdempotencyKeys(world)
  let pruned = 0

  function advanceTo(ms: number): void {
    runUntil(world, ms)
    if (ms - pruned < DAY_MS) return
    pruned = ms
    world.step(ms, { id: null, idempotency_key: null }, () => {
      pruneEvents(world)
      pruneDeliveries(world)
      keys.prune(ms)
    })
  }

  function catchUp(): number {
    const ms = now()
    advanceTo(ms)
    return ms
  }

  function nextDeadline(): number | undefined {
    const [engine, delivery] = [world.deadlines.first()?.at, webhooks.nextDeadline()]
    return engine === undefined || delivery === undefined ? (engine ?? delivery) : Math.min(engine, delivery)
  }

  /** The standalone clock: deadline by deadline, each followed by the webhooks it caused. */
  async function advanceAlone(toMs: number): Promise<void> {
    const moveTo = (ms: number): void => {
      world.store.put('_setting', 'clock', { offset: ms - Date.now() })
      world.store.commit()
    }
    await webhooks.deliverDue()
    for (let next = nextDeadline(); next !== undefined && next <= toMs; next = nextDeadline()) {
      moveTo(Math.max(next, now()))
      advanceTo(next)
      await webhooks.deliverDue()
    }
    moveTo(Math.max(toMs, now()))
    catchUp()
    await webhooks.deliverDue()
  }

  let reopening: NodeJS.Timeout | undefined
  const pages = new Map<string, (rest: string) => Answer>()
  const server = makeServer({
    mounted(path) {
      for (const [at, page] of pages) {
        if (path === at || path.startsWith(`${at}/`)) return page(path.slice(at.length + 1))
      }
      return undefined
    },
    world,
    keys,
    now,
    catchUp,
    origin: () => sandbox.url,
    advance: (ms) => (clock ? clock.advance(ms) : advanceAlone(ms)),
    refuse(ms) {
      // the last one to ask decides when it opens: it listens once
      clearTimeout(reopening)
      server.close()
      server.closeAllConnections()
      reopening = setTimeout(() => server.listen(sandbox.port, '127.0.0.1'), ms)
    },
    inFlight: () => webhooks.inFlight(),
    pump: () => webhooks.pump(),
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', () => resolve())
  })
  const { port } = server.address() as AddressInfo
  const timer = setInterval(() => {
    try {
      catchUp()
      webhooks.pump()
    } catch (error) {
      log(`stripe sandbox: ${String(error)}`)
    }
  }, 1000)
  timer.unref()

  const sandbox: StripeSandbox = {
    port,
    url: `http://127.0.0.1:${port}`,
    nextDeadline,
    advanceTo,
    deliverDue: () => webhooks.deliverDue(),
    webhooksInFlight: () => webhooks.inFlight(),
    webhooksBegun: () => webhooks.begun(),
    mount: (path, page) => pages.set(path, page),
    useClock: (given) => {
      clock = given
    },
    close: async () => {
      clearInterval(timer)
      clearTimeout(reopening)
      await webhooks.close()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
      world.store.close()
    },
  }
  world.origin = () => sandbox.url
  webhooks.pump()
  return sandbox
}
