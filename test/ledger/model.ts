/** A wallet in thirty lines, without locks or SQL: the oracle of the property test. */
import { Exact } from '../../src/domain/credits.ts'

interface Lot {
  order: number
  remaining: Exact
  expiresAt: number | null
  priority: number
}

export class ModelWallet {
  lots: Lot[] = []
  debt = new Exact(0)
  now = 0
  private answers = new Map<string, { amount: string; balance: string }>()

  balance(): Exact {
    this.lapse()
    return this.lots.reduce((sum, lot) => sum.plus(lot.remaining), new Exact(0)).minus(this.debt)
  }

  available(): Exact {
    return Exact.max(0, this.balance())
  }

  grant(amount: string, expiresAt: number | null, priority: number): void {
    this.lapse()
    const repaid = Exact.min(this.debt, amount)
    this.debt = this.debt.minus(repaid)
    this.lots.push({
      order: this.lots.length,
      remaining: new Exact(amount).minus(repaid),
      expiresAt,
      priority,
    })
  }

  /** Undefined: refused. */
  spend(
    key: string,
    amount: string,
    overdraft: boolean,
  ): { amount: string; balance: string } | 'reused' | undefined {
    const before = this.answers.get(key)
    if (before !== undefined) return before.amount === `${amount}/${overdraft}` ? before : 'reused'
    if (!overdraft && new Exact(amount).gt(this.available())) return undefined
    this.lapse()
    let left = new Exact(amount)
    const far = Number.MAX_SAFE_INTEGER
    const burn = [...this.lots].sort(
      (a, b) => (a.expiresAt ?? far) - (b.expiresAt ?? far) || a.priority - b.priority || a.order - b.order,
    )
    for (const lot of burn) {
      const taken = Exact.min(lot.remaining, left)
      lot.remaining = lot.remaining.minus(taken)
      left = left.minus(taken)
    }
    this.debt = this.debt.plus(left)
    const answer = { amount: `${amount}/${overdraft}`, balance: this.balance().toFixed() }
    this.answers.set(key, answer)
    return answer
  }

  private lapse(): void {
    for (const lot of this.lots) {
      if (lot.expiresAt !== null && lot.expiresAt <= this.now) lot.remaining = new Exact(0)
    }
  }
}
