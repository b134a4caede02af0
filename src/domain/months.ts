/** Months of paid years while a decision goes through invoices: those written before, those it adds, those it cuts. */
import type { CutStep, PendingEntitlement } from './subscription-facts.ts'

export class Months {
  #pending: PendingEntitlement[]
  #added: PendingEntitlement[] = []
  readonly #cuts = new Map<string, CutStep>()

  constructor(pending: PendingEntitlement[]) {
    this.#pending = pending
  }

  /** every month that holds something and is not granted yet */
  get all(): PendingEntitlement[] {
    return [...this.#pending, ...this.#added]
  }

  get added(): PendingEntitlement[] {
    return this.#added
  }

  /** of months that were written before; those that are added are smaller from the start */
  get cuts(): CutStep[] {
    return [...this.#cuts.values()]
  }

  add(months: PendingEntitlement[]): void {
    this.#added = [...this.#added, ...months]
  }

  cut(cuts: CutStep[]): void {
    const amounts = new Map(cuts.map((cut) => [cut.key, cut.amount]))
    const smaller = (months: PendingEntitlement[]) =>
      months
        .map((month) => ({ ...month, amount: amounts.get(month.key) ?? month.amount }))
        .filter((month) => month.amount !== '0')
    const before = new Set(this.#pending.map((month) => month.key))
    for (const cut of cuts) if (before.has(cut.key)) this.#cuts.set(cut.key, cut)
    this.#pending = smaller(this.#pending)
    this.#added = smaller(this.#added)
  }
}
