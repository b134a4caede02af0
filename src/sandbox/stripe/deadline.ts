// What the simulator will do by itself and when. Kept in the store (so it survives a restart), sorted in memory.
import type { Store } from './store.ts'
import type { Deadline } from './wire.ts'

export class Deadlines {
  readonly #store: Store
  readonly #sorted: (Deadline & { id: string })[] = []
  #order = 0

  constructor(store: Store) {
    this.#store = store
  }

  /** Follows the store, also through replay and undo. */
  follow(id: string, deadline: Deadline | undefined): void {
    const at = this.#sorted.findIndex((entry) => entry.id === id)
    if (at >= 0) this.#sorted.splice(at, 1)
    if (!deadline) return
    this.#order = Math.max(this.#order, deadline.order)
    this.#sorted.splice(this.#placeFor(deadline), 0, { ...deadline, id })
  }

  /** One deadline per purpose and target; a later call moves it. `at` in unix ms. */
  set(purpose: string, target: string, at: number): void {
    this.#store.put('_deadline', `${purpose}:${target}`, { purpose, target, at, order: this.#order + 1 })
  }

  clear(purpose: string, target: string): void {
    const id = `${purpose}:${target}`
    if (this.#store.get('_deadline', id)) this.#store.delete('_deadline', id)
  }

  first(): Deadline | undefined {
    return this.#sorted[0]
  }

  #placeFor({ at, order }: Deadline): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >> 1
      const entry = this.#sorted[middle]
      if (entry && (entry.at < at || (entry.at === at && entry.order < order))) low = middle + 1
      else high = middle
    }
    return low
  }
}
