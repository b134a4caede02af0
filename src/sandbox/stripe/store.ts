// Every object of the simulated account, by kind and id in order of creation. Objects are never mutated in place:
// a change puts a new one. A step can be undone until it is committed to the journal.
import { type Entry, Journal } from './journal.ts'
import type { Kind, Kinds } from './wire.ts'

type Bucket = Map<string, unknown>

export class Store {
  readonly #buckets = new Map<string, Bucket>()
  readonly #journal: Journal | undefined
  #before = new Map<string, { kind: string; id: string; old: unknown }>()
  /** Told of every put and delete, so that derived indexes follow, also when a step is undone. */
  onChange: (kind: string, id: string, object: unknown) => void = () => {}

  constructor(file?: string) {
    this.#journal = file === undefined ? undefined : new Journal(file)
  }

  open(): void {
    this.#journal?.replay(([kind, id, object]) => this.#set(kind, id, object))
    this.#journal?.compact(this.#entries())
  }

  get<K extends Kind>(kind: K, id: string): Kinds[K] | undefined {
    return this.#buckets.get(kind)?.get(id) as Kinds[K] | undefined
  }

  all<K extends Kind>(kind: K): Kinds[K][] {
    return Array.from(this.#bucket(kind).values()) as Kinds[K][]
  }

  has(id: string): boolean {
    for (const bucket of this.#buckets.values()) if (bucket.has(id)) return true
    return false
  }

  put<K extends Kind>(kind: K, id: string, object: Kinds[K]): void {
    this.#remember(kind, id)
    this.#set(kind, id, object)
  }

  delete(kind: Kind, id: string): void {
    this.#remember(kind, id)
    this.#set(kind, id, undefined)
  }

  /** Makes what happened since the last commit lasting, as one line. */
  commit(): void {
    if (this.#before.size === 0) return
    const entries = Array.from(this.#before.values(), ({ kind, id }): Entry => {
      const object = this.#buckets.get(kind)?.get(id)
      return object === undefined ? [kind, id] : [kind, id, object]
    })
    this.#before.clear()
    this.#journal?.append(entries)
  }

  /** Undoes what happened since the last commit. */
  rollback(): void {
    for (const { kind, id, old } of Array.from(this.#before.values()).reverse()) this.#set(kind, id, old)
    this.#before.clear()
  }

  /** Runs `act`, then undoes what it did and nothing else: what would happen. */
  imagine<T>(act: () => T): T {
    const outer = this.#before
    this.#before = new Map()
    try {
      return act()
    } finally {
      this.rollback()
      this.#before = outer
    }
  }

  close(): void {
    this.commit()
    this.#journal?.close()
  }

  #bucket(kind: string): Bucket {
    let bucket = this.#buckets.get(kind)
    if (!bucket) this.#buckets.set(kind, (bucket = new Map()))
    return bucket
  }

  #remember(kind: string, id: string): void {
    const key = `${kind}\n${id}`
    if (!this.#before.has(key)) this.#before.set(key, { kind, id, old: this.#bucket(kind).get(id) })
  }

  #set(kind: string, id: string, object: unknown): void {
    if (object === undefined) this.#bucket(kind).delete(id)
    else this.#bucket(kind).set(id, object)
    this.onChange(kind, id, object)
  }

  *#entries(): Iterable<Entry> {
    for (const [kind, bucket] of this.#buckets) {
      for (const [id, object] of bucket) yield [kind, id, object]
    }
  }
}
