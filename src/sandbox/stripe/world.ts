// The simulated account during one step: the store, the step's business time, ids, deadlines and events. Every
// resource and the billing engine act through it; it knows nothing of HTTP.
import { missing } from './error.ts'
import { Deadlines } from './deadline.ts'
import { previousAttributes, snapshot } from './snapshot.ts'
import { idFor, Random } from './random.ts'
import { Store } from './store.ts'
import { API_VERSION, type Kind, type Kinds, type StoredEvent } from './wire.ts'

export interface WorldOptions {
  file?: string | undefined
  seed?: number | undefined
  afterRetries: 'cancel' | 'unpaid' | 'past_due'
}

export interface RequestMark {
  id: string | null
  idempotency_key: string | null
}

export interface Failed {
  keeps(error: unknown): boolean
  note?(error: unknown): void
}

const undone: Failed = { keeps: () => false }

export class World {
  readonly store: Store
  readonly deadlines: Deadlines
  readonly random: Random
  readonly options: WorldOptions
  /** Where the simulator answers, for the addresses of its own pages. */
  origin: () => string = () => 'http://127.0.0.1'
  /** For each event still to be delivered: its deliveries and their endpoints. */
  readonly undelivered = new Map<string, Map<string, string>>()
  /** Called for each change of a delivery. */
  onDelivery: (id: string, delivery: Kinds['_delivery'] | undefined) => void = () => {}
  /** Called with the events of a step just before it is committed. */
  onEvents: (events: StoredEvent[]) => void = () => {}
  /** Called after a step was committed. */
  onCommit: () => void = () => {}
  #at = 0
  #mark: RequestMark = { id: null, idempotency_key: null }
  #events: StoredEvent[] = []

  constructor(options: WorldOptions) {
    this.options = options
    this.store = new Store(options.file)
    this.deadlines = new Deadlines(this.store)
    this.store.onChange = (kind, id, object) => {
      if (kind === '_deadline') this.deadlines.follow(id, object as Kinds['_deadline'] | undefined)
      if (kind === '_delivery') this.#follow(id, object as Kinds['_delivery'] | undefined)
    }
    this.store.open()
    const generation = Number(this.store.get('_setting', 'generation')?.['value'] ?? 0) + 1
    this.random = new Random(options.seed, generation)
    this.#at = Number(this.store.get('_setting', 'frontier')?.['at'] ?? 0)
    this.store.put('_setting', 'generation', { value: generation })
    this.store.commit()
  }

  /** Business time of this step in unix seconds. It never goes back. */
  get at(): number {
    return Math.floor(this.#at / 1000)
  }

  get atMs(): number {
    return this.#at
  }

  /**
   * Runs one step at a business time and makes its effects lasting in one piece. What throws leaves nothing, unless
   * `failed` says that the effects stay (a declined card has been declined); it may also note the error.
   */
  step<T>(atMs: number, mark: RequestMark, act: () => T, failed: Failed = undone): T {
    this.#at = Math.max(this.#at, atMs)
    this.#mark = mark
    try {
      const result = act()
      this.#commit()
      return result
    } catch (error) {
      if (!failed.keeps(error)) {
        this.#events = []
        this.store.rollback()
      }
      failed.note?.(error)
      this.#commit()
      throw error
    }
  }

  /** What `act` would answer: it leaves nothing, and nobody is told. */
  imagine<T>(act: () => T): T {
    const events = this.#events
    this.#events = []
    try {
      return this.store.imagine(act)
    } finally {
      this.#events = events
    }
  }

  id(prefix: string): string {
    let id = idFor(this.random, prefix)
    while (this.store.has(id)) id = idFor(this.random, prefix)
    return id
  }

  /** The object, or Stripe's error: 404 for one named by the URL, 400 for one named by parameter `param`. */
  need<K extends Kind>(kind: K, id: string, param?: string): Kinds[K] {
    const found = this.store.get(kind, id)
    if (!found) throw missing(kind, id, param)
    return found
  }

  create<K extends Kind>(kind: K, object: Kinds[K] & { id: string }): Kinds[K] {
    this.store.put(kind, object.id, object)
    return object
  }

  /** Changes an object; with `event`, tells so with the attributes as they were, if any differ. */
  update<K extends Kind>(kind: K, id: string, patch: Partial<Kinds[K]>, event?: string): Kinds[K] {
    const before = this.need(kind, id)
    const after = { ...before, ...patch }
    this.store.put(kind, id, after)
    if (event) this.emitChange(event, before, after)
    return after
  }

  emitChange(type: string, before: unknown, after: unknown): void {
    const now = snapshot(this.store, after)
    const previous = previousAttributes(snapshot(this.store, before), now)
    if (previous) this.#record(type, { object: now, previous_attributes: previous })
  }

  emit(type: string, object: unknown): void {
    this.#record(type, { object: snapshot(this.store, object) })
  }

  #follow(id: string, delivery: Kinds['_delivery'] | undefined): void {
    this.onDelivery(id, delivery)
    if (!delivery) return
    const open = this.undelivered.get(delivery.event) ?? new Map<string, string>()
    if (delivery.state === 'pending') open.set(id, delivery.endpoint)
    else open.delete(id)
    if (open.size > 0) this.undelivered.set(delivery.event, open)
    else this.undelivered.delete(delivery.event)
  }

  #record(type: string, data: StoredEvent['data']): void {
    const event: StoredEvent = {
      id: this.id('evt'),
      object: 'event',
      api_version: API_VERSION,
      created: this.at,
      data,
      livemode: false,
      pending_webhooks: 0,
      request: { ...this.#mark },
      type,
    }
    this.store.put('event', event.id, event)
    this.#events.push(event)
  }

  #commit(): void {
    const events = this.#events
    this.#events = []
    if (events.length > 0) {
      this.store.put('_setting', 'frontier', { at: this.#at })
      this.onEvents(events)
    }
    this.store.commit()
    this.onCommit()
  }
}
