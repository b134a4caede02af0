/**
 * A wallet without locks, SQL or postings: the oracle of the property test. It knows what is left of what, never when
 * something was written down.
 */
import { Exact } from '../../src/domain/credits.ts'

interface Lot {
  order: number
  left: Exact
  expiresAt: number | null
  priority: number
  /** of a recurring lot: a later one succeeds an earlier one */
  period: number | null
  /** what it repaid of a debt when it came, less what came back of that */
  repaid: Exact
}

interface Draw {
  lot: Lot
  amount: Exact
}

interface ModelHold {
  amount: Exact
  parts: Draw[]
  state: 'open' | 'captured' | 'released' | 'lapsed'
  endsAt: number
}

interface ModelSpend {
  /** how many lots there were before it */
  after: number
  amount: Exact
  owed: Exact
  draws: Draw[]
  reversed: Exact
}

/** What was answered: the balance after it; or why not. */
export type Answer = { balance: string } | { refused: string }

const ZERO = new Exact(0)
const sum = (parts: { amount: Exact }[]) => parts.reduce((all, { amount }) => all.plus(amount), ZERO)
const FAR = Number.MAX_SAFE_INTEGER

export class ModelWallet {
  now = 0
  debt = ZERO
  readonly holds: ModelHold[] = []
  readonly spends: ModelSpend[] = []
  readonly #lots: Lot[] = []
  readonly #answers = new Map<string, { content: string; answer: Answer }>()

  balance(): Exact {
    this.#due()
    return this.#lots.reduce((all, { left }) => all.plus(left), ZERO).minus(this.debt)
  }

  held(): Exact {
    this.#due()
    return sum(this.holds.flatMap(({ parts }) => parts))
  }

  available(): Exact {
    return Exact.max(0, this.balance().minus(this.held()))
  }

  /** What is left of each lot, those that are empty left out. */
  lots(): string[] {
    this.#due()
    return this.#lots
      .filter(({ left }) => left.gt(0))
      .map(({ left }) => left.toFixed())
      .sort()
  }

  grant(
    amount: string,
    more: {
      expiresAt: number | null
      priority: number
      recurring?: { period: number; carry: string | null }
    },
  ) {
    this.#due()
    if (more.recurring !== undefined) this.#succeed(more.expiresAt, more.recurring)
    const repaid = Exact.min(this.debt, amount)
    this.debt = this.debt.minus(repaid)
    this.#lots.push({
      order: this.#lots.length,
      left: new Exact(amount).minus(repaid),
      expiresAt: more.expiresAt,
      priority: more.priority,
      period: more.recurring?.period ?? null,
      repaid,
    })
  }

  spend(key: string, amount: string, overdraft: boolean): Answer {
    return this.#once(`spend ${key}`, `${amount} ${overdraft}`, () => {
      this.#due()
      if (!overdraft && this.available().lt(amount)) return { refused: 'insufficient_credits' }
      this.#use(new Exact(amount), [])
      return { balance: this.balance().toFixed() }
    })
  }

  /** A correction that takes away: like a spend, and none that could be given back. */
  debit(amount: string, overdraft: boolean): Answer {
    this.#due()
    if (!overdraft && this.available().lt(amount)) return { refused: 'insufficient_credits' }
    this.#take(new Exact(amount), [])
    return { balance: this.balance().toFixed() }
  }

  hold(amount: string, endsAt: number): Answer {
    if (this.available().lt(amount)) return { refused: 'insufficient_credits' }
    this.holds.push({
      amount: new Exact(amount),
      parts: this.#burn(new Exact(amount)),
      state: 'open',
      endsAt,
    })
    return { balance: this.balance().toFixed() }
  }

  capture(key: string, place: number, amount: string, final: boolean, overdraft: boolean): Answer {
    const hold = this.holds[place]
    if (hold === undefined) throw new Error('no such hold')
    return this.#once(`capture ${key}`, `${place} ${amount} ${final} ${overdraft}`, () => {
      this.#due()
      if (hold.state === 'captured' || hold.state === 'released') return { refused: 'hold_closed' }
      const own = Exact.min(amount, sum(hold.parts))
      const rest = new Exact(amount).minus(own)
      if (!overdraft && this.available().lt(rest)) return { refused: 'insufficient_credits' }
      this.#use(rest, take(hold.parts, own))
      const balance = this.#raw().toFixed() // before what is freed lapses
      if (final) this.#end(hold, 'captured')
      return { balance }
    })
  }

  release(place: number): Answer {
    this.#due()
    const hold = this.holds[place]
    if (hold === undefined) throw new Error('no such hold')
    if (hold.state === 'captured' || hold.state === 'released') return { refused: 'hold_closed' }
    this.#end(hold, 'released')
    return { balance: this.balance().toFixed() }
  }

  /** @param amount null: all that is left */
  reverse(key: string, place: number, amount: string | null): Answer {
    const spend = this.spends[place]
    if (spend === undefined) throw new Error('no such spend')
    return this.#once(`reverse ${key}`, `${place} ${amount}`, () => {
      this.#due()
      const left = spend.amount.minus(spend.reversed)
      if (left.eq(0)) return { refused: 'spend_reversed' }
      let back = amount === null ? left : new Exact(amount)
      if (back.gt(left)) return { refused: 'reversal_too_large' }
      spend.reversed = spend.reversed.plus(back)
      const owed = Exact.min(spend.owed, back)
      spend.owed = spend.owed.minus(owed)
      back = back.minus(owed)
      const repays = Exact.min(owed, this.debt)
      this.debt = this.debt.minus(repays)
      let repaid = owed.minus(repays)
      const [before, since] = [this.#lots.slice(0, spend.after), this.#lots.slice(spend.after)]
      for (const lot of [...since, ...before]) {
        const part = Exact.min(lot.repaid, repaid)
        lot.repaid = lot.repaid.minus(part)
        lot.left = lot.left.plus(part)
        repaid = repaid.minus(part)
      }
      if (repaid.gt(0)) throw new Error('nobody repaid the debt')
      for (const { lot, amount: given } of take(spend.draws.reverse(), back)) lot.left = lot.left.plus(given)
      spend.draws.reverse()
      return { balance: this.balance().toFixed() }
    })
  }

  #once(key: string, content: string, act: () => Answer): Answer {
    const before = this.#answers.get(key)
    if (before !== undefined) {
      return before.content === content ? before.answer : { refused: 'idempotency_key_reused' }
    }
    const answer = act()
    if ('balance' in answer) this.#answers.set(key, { content, answer })
    return answer
  }

  #use(rest: Exact, own: Draw[]): void {
    this.spends.push(this.#take(rest, own))
  }

  /** Takes what holds gave for it, then what is free, then what is not there. */
  #take(rest: Exact, own: Draw[]): ModelSpend {
    for (const { lot, amount: taken } of own) lot.left = lot.left.minus(taken)
    const free = this.#burn(rest)
    for (const { lot, amount: taken } of free) lot.left = lot.left.minus(taken)
    const draws = [...own, ...free]
    const amount = sum(own).plus(rest)
    const owed = amount.minus(sum(draws))
    this.debt = this.debt.plus(owed)
    return { after: this.#lots.length, amount, owed, draws, reversed: ZERO }
  }

  #free(lot: Lot): Exact {
    return lot.left.minus(sum(this.holds.flatMap(({ parts }) => parts).filter((part) => part.lot === lot)))
  }

  #burn(amount: Exact): Draw[] {
    const free = [...this.#lots]
      .sort(
        (a, b) => (a.expiresAt ?? FAR) - (b.expiresAt ?? FAR) || a.priority - b.priority || a.order - b.order,
      )
      .map((lot) => ({ lot, amount: this.#free(lot) }))
    return take(free, amount)
  }

  #succeed(expiresAt: number | null, { period, carry }: { period: number; carry: string | null }): void {
    // beside its period's lot, not instead of it
    if (carry === null) return
    let room = new Exact(carry)
    const before = this.#lots.filter(
      (lot) =>
        lot.period !== null && lot.period < period && lot.expiresAt !== null && lot.expiresAt > this.now,
    )
    for (const lot of before.sort((a, b) => (b.period ?? 0) - (a.period ?? 0) || b.order - a.order)) {
      const free = this.#free(lot)
      const kept = Exact.min(free, room)
      const aside = Exact.min(lot.left.minus(free), room.minus(kept))
      room = room.isFinite() ? room.minus(kept).minus(aside) : room
      lot.left = lot.left.minus(free).plus(kept)
      const lives = kept.plus(aside).gt(0) || !room.isFinite()
      if (!lives) lot.expiresAt = this.now
      else if (lot.expiresAt !== null && expiresAt !== null)
        lot.expiresAt = Math.max(lot.expiresAt, expiresAt)
      else lot.expiresAt = null
    }
  }

  #end(hold: ModelHold, state: ModelHold['state']): void {
    hold.state = state
    hold.parts = []
    this.#due()
  }

  #raw(): Exact {
    return this.#lots.reduce((all, { left }) => all.plus(left), ZERO).minus(this.debt)
  }

  /** Holds past their deadline free what they hold; then nothing free outlives its expiry. */
  #due(): void {
    for (const hold of this.holds) {
      if (hold.state === 'open' && hold.endsAt <= this.now) {
        hold.state = 'lapsed'
        hold.parts = []
      }
    }
    for (const lot of this.#lots) {
      if (lot.expiresAt !== null && lot.expiresAt <= this.now) lot.left = lot.left.minus(this.#free(lot))
    }
  }
}

/** Takes an amount off the front of some parts, as far as they go, and answers what it took of which. */
function take(parts: Draw[], amount: Exact): Draw[] {
  const taken: Draw[] = []
  let left = amount
  for (const part of parts) {
    const one = Exact.min(part.amount, left)
    if (one.lte(0)) continue
    part.amount = part.amount.minus(one)
    left = left.minus(one)
    taken.push({ lot: part.lot, amount: one })
  }
  return taken
}
