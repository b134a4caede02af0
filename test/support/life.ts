/** What Stripe bills an account for a chain of changes, as far as credits can tell; and the decisions that follow. */
import assert from 'node:assert/strict'
import { addMonths, addMs, type Instant, monthsBetween, msBetween } from '../../src/domain/calendar.ts'
import { Exact } from '../../src/domain/credits.ts'
import type { InvoiceFacts, LineFacts, PendingEntitlement } from '../../src/domain/subscription-facts.ts'
import {
  amounts,
  decide,
  type Interval,
  invoice,
  type Key,
  line,
  PLANS,
  START,
  subscription,
  sum,
  TERMS,
  YEAR,
} from './proration.ts'

/** How a subscription ends: now, with what is left given back or not; or at the end of its period. */
export type End = 'prorated' | 'now' | 'planned'

export type Currency = 'usd' | 'eur'

interface Bought {
  plan: Key
  interval: Interval
  quantity: number
}

/** A stretch of time that was billed and not given back since. */
interface Debit extends Bought {
  /** after the coupon, in minor units */
  net: number
  start: Instant
  end: Instant
}

/** An account with one subscription at a time, in Stripe's flexible billing mode: a credit gives back what was debited. */
export class Life {
  readonly granted: string[] = []
  /** what was paid less what was given back, and the most that it ever was: in each currency, for so are balances */
  #paid: Record<Currency, number> = { usd: 0, eur: 0 }
  #mostPaid: Record<Currency, number> = { usd: 0, eur: 0 }
  #currency: Currency = 'usd'
  #owed = new Exact(0)
  /** months to come of the subscription that is there, and of those that ended */
  #pending: PendingEntitlement[] = []
  #elder: PendingEntitlement[] = []
  #known: string[] = []
  #bought: Bought = { plan: 'a', interval: 'month', quantity: 1 }
  #coupon: number
  #terms: typeof TERMS
  #debits: Debit[] = []
  #riding: LineFacts[] = []
  #anchor = START
  #start = START
  #end = START
  #now = START
  #number = 0
  #subscription = 0

  /** @param coupon percent off what is billed; @param rule what the plans count, law 7 */
  constructor({
    coupon = 0,
    rule = 'proportional',
  }: { coupon?: number; rule?: 'full' | 'proportional' } = {}) {
    this.#coupon = coupon
    const terms = Object.values(TERMS).flatMap((each) =>
      (['usd', 'eur'] as const).map((currency) => {
        const priceId = `${each.priceId}_${currency}`
        return [priceId, { ...each, priceId, currency, discountRule: rule }]
      }),
    )
    this.#terms = Object.fromEntries(terms)
    this.#begin('subscription_create')
  }

  /** what was paid less what was given back, in minor units that are worth the same */
  get paid(): number {
    return this.#paid.usd + this.#paid.eur
  }

  /** the money that was paid in: what a balance of one currency still holds pays for nothing in another */
  get mostPaid(): number {
    return this.#mostPaid.usd + this.#mostPaid.eur
  }

  /** everything that is granted, or will be some day */
  get promised(): Exact {
    return sum([...this.granted, ...amounts(this.#pending), ...amounts(this.#elder)])
  }

  /** Another coupon for what is billed from now on. */
  discount(percent: number): void {
    this.#coupon = percent
  }

  /** Another plan, interval or number of seats at a part of what is left of the period. */
  change(part: number, plan: Key, interval: Interval, quantity: number, riding: boolean): void {
    this.#pass(part)
    const credits = this.#giveBack()
    const switched = interval !== this.#bought.interval
    this.#bought = { plan, interval, quantity }
    if (switched) {
      this.#begin('subscription_update', credits)
      return
    }
    const lines = [...credits, this.#debit(this.#now, true)]
    if (riding) this.#riding.push(...lines)
    else this.#pay('subscription_update', lines)
  }

  renew(): void {
    const start = this.#end
    this.#now = start
    this.#start = start
    this.#debits = []
    const months = monthsBetween(this.#anchor, start)
    this.#end = addMonths(this.#anchor, months + (this.#bought.interval === 'year' ? 12 : 1))
    this.#pay('subscription_cycle', [this.#debit(start, false)])
  }

  /** It stands still, what is left is given back, and it goes on at once: with a period of its own, or with the rest. */
  pause(part: number, anew: boolean): void {
    this.#pass(part)
    this.#pay('subscription_update', this.#giveBack())
    if (anew) this.#begin('subscription_update')
    else this.#pay('subscription_update', [this.#debit(this.#now, true)])
  }

  /** The subscription ends, and the account orders another one, in the same currency or another. */
  startOver(part: number, end: End, bought: Bought, currency: Currency = this.#currency): void {
    if (end === 'planned') this.#now = this.#end
    else this.#pass(part)
    // what rides is billed at the end that was planned, and dropped where it ends now without a bill
    if (end === 'now') this.#riding = []
    const credits = end === 'prorated' ? this.#giveBack() : []
    if (this.#riding.length + credits.length > 0) this.#pay('subscription_cycle', credits)
    this.#elder.push(...this.#pending.splice(0))
    this.#subscription += 1
    this.#bought = bought
    this.#currency = currency
    this.#begin('subscription_create')
  }

  #pass(part: number): void {
    this.#now = addMs(this.#now, Math.floor(part * msBetween(this.#now, this.#end)))
  }

  #begin(reason: string, credits: LineFacts[] = []): void {
    this.#anchor = this.#now
    this.#start = this.#now
    this.#end = addMonths(this.#now, this.#bought.interval === 'year' ? 12 : 1)
    this.#debits = []
    this.#pay(reason, [...credits, this.#debit(this.#now, false)])
  }

  /** Bills from an instant to the end of the period: a period of its own, or the rest of one. */
  #debit(start: Instant, proration: boolean): LineFacts {
    const { plan, interval, quantity } = this.#bought
    const list = PLANS[plan][1] * (interval === 'year' ? YEAR : 1) * quantity
    const part = msBetween(start, this.#end) / msBetween(this.#start, this.#end)
    const gross = Math.round(list * part)
    const off = Math.round((gross * this.#coupon) / 100)
    this.#debits.push({ ...this.#bought, net: gross - off, start, end: this.#end })
    return proration
      ? this.#line(this.#bought, { amount: String(gross - off), periodStart: start, periodEnd: this.#end })
      : this.#line(this.#bought, {
          amount: String(gross),
          discount: String(off),
          proration: false,
          periodStart: start,
          periodEnd: this.#end,
        })
  }

  /** A line for each debit, of what is left of it; its amount is what was really billed, without discounts of its own. */
  #giveBack(): LineFacts[] {
    return this.#debits.splice(0).map(({ net, start, end, ...bought }) => {
      const left = msBetween(this.#now, end) / msBetween(start, end)
      const amount = String(-Math.round(net * left))
      return this.#line(bought, { amount, periodStart: this.#now, periodEnd: end })
    })
  }

  #line({ plan, interval, quantity }: Bought, change: Partial<LineFacts>): LineFacts {
    const priceId = `price_${plan}_${interval}_${this.#currency}`
    return line(`il_${(this.#number += 1)}`, plan, 0, { ...change, priceId, quantity })
  }

  #pay(reason: string, lines: LineFacts[]): void {
    const all = [...this.#riding.splice(0), ...lines]
    const net = all.reduce((total, { amount, discount }) => total + Number(amount) - Number(discount), 0)
    const currency = this.#currency
    this.#paid[currency] += net
    this.#mostPaid[currency] = Math.max(this.#mostPaid[currency], this.#paid[currency])
    this.#observe([invoice(`in_${(this.#number += 1)}`, all, { reason, currency, paidAt: this.#now })])
    this.#observe([])
  }

  #observe(invoices: InvoiceFacts[]): void {
    const plan = decide(invoices, {
      at: this.#now,
      subscription: { ...subscription, id: `sub_${this.#subscription}`, anchor: this.#anchor },
      terms: this.#terms,
      known: this.#known,
      pending: this.#pending,
      owed: this.#owed.toFixed(),
    })
    const keys = (steps: { key: string }[]) => steps.map(({ key }) => key)
    const isGranted = new Set(keys(plan.grants))
    this.#known.push(...keys(plan.entitlements), ...keys(plan.grants), ...keys(plan.settlements))
    const cuts = new Map(plan.cuts.map(({ key, amount }) => [key, amount]))
    this.#pending = [
      ...this.#pending.map((month) => ({ ...month, amount: cuts.get(month.key) ?? month.amount })),
      ...plan.entitlements,
    ].filter(({ key, amount }) => !isGranted.has(key) && amount !== '0')
    this.granted.push(...amounts(plan.grants))
    this.#owed = this.#owed.plus(sum(plan.settlements.map(({ owed }) => owed)))
    assert.ok(this.#owed.gte(0), 'nobody makes good more than was given back')
  }
}
