/**
 * Credits whose money Stripe has given back by a proration after they had been granted. They stay where they are; the
 * next grants of the account's subscriptions are smaller by them, so that going up and down mints nothing.
 */
import { CREDIT_PLACES, Exact, formatCredits } from './credits.ts'

/** What is owed, while a decision goes through paid invoices in their order. */
export class GivenBack {
  #left: Exact

  constructor(left: string) {
    this.#left = new Exact(left)
  }

  get left(): Exact {
    return this.#left
  }

  add(credits: Exact): void {
    this.#left = this.#left.plus(credits)
  }

  /** Takes what is owed from these amounts, the first of them first: what is left of each, and what was taken. */
  takeFrom(amounts: Exact[]): Rest[] {
    return amounts.map((amount) => {
      const taken = Exact.min(this.#left, amount)
      this.#left = this.#left.minus(taken)
      return { amount: amount.minus(taken), taken }
    })
  }
}

/** What is left of a grant when it has made good what it can. */
export interface Rest {
  amount: Exact
  taken: Exact
}

/** For the source of a grant, so that whoever reads it knows why it is smaller. */
export function takenOf({ taken }: Rest): Record<string, string> {
  return taken.isZero() ? {} : { given_back: formatCredits(taken) }
}

/** Makes months smaller by so many credits in all, each by the same part; what is left is rounded down. */
export function cutEvenly(amounts: string[], by: Exact): string[] {
  const total = amounts.reduce((sum, amount) => sum.plus(amount), new Exact(0))
  if (by.gte(total)) return amounts.map(() => '0')
  return amounts.map((amount) =>
    formatCredits(
      new Exact(amount)
        .times(total.minus(by))
        .dividedBy(total)
        .toDecimalPlaces(CREDIT_PLACES, Exact.ROUND_DOWN),
    ),
  )
}
