/** What the paid lines of a subscription's own periods bring: a month's credits, or the twelve months of a year. */
import { addMonths, monthsBetween } from './calendar.ts'
import { Exact, formatCredits } from './credits.ts'
import { type GivenBack, type Rest, takenOf } from './given-back.ts'
import { creditsForLine } from './grant.ts'
import { postingKey } from './id.ts'
import { type KeptTerms, type PriceTerms, readTerms } from './plan.ts'
import { carriedOver, lapsesAt, EVERYTHING } from './renewal.ts'
import type {
  GrantStep,
  InvoiceFacts,
  LineFacts,
  PendingEntitlement,
  SettlementStep,
  SubscriptionFacts,
} from './subscription-facts.ts'

/** A paid invoice of a subscription. */
export interface Bill {
  subscription: SubscriptionFacts
  invoice: InvoiceFacts
}

/** A line whose price is in the catalogue, with the terms that it was sold under. */
export interface OurLine {
  line: LineFacts
  terms: PriceTerms
}

/** The lines of an invoice that are ours, and why a person must look at others. */
export interface ReadLines {
  periods: OurLine[]
  prorations: OurLine[]
  /** of periods; each is granted for itself */
  wrong: string[]
  /** of prorations, which are settled together or not at all */
  wrongProrations: string[]
}

export function readLines(invoice: InvoiceFacts, terms: Record<string, KeptTerms>): ReadLines {
  const read: ReadLines = { periods: [], prorations: [], wrong: [], wrongProrations: [] }
  for (const line of invoice.lines) {
    const verdict = readLine(invoice, line, terms)
    if (verdict === undefined) continue
    if (typeof verdict === 'string') (line.proration ? read.wrongProrations : read.wrong).push(verdict)
    else (line.proration ? read.prorations : read.periods).push({ line, terms: verdict })
  }
  return read
}

/** The terms a line is granted under; a reason for a person to look; or undefined: nothing of ours. */
function readLine(
  invoice: InvoiceFacts,
  line: LineFacts,
  terms: Record<string, KeptTerms>,
): PriceTerms | string | undefined {
  if (line.priceId === null) return undefined
  const found = terms[line.priceId]
  if (found === undefined) return 'unknown_price'
  if (found.currency !== invoice.currency) return 'currency_mismatch'
  if (line.quantity === null) return 'quantity_missing'
  return readTerms(found)
}

/** What a paid period brings, and what of it makes good what is owed. */
export interface PeriodSteps {
  grants: GrantStep[]
  entitlements: PendingEntitlement[]
  settlements: SettlementStep[]
}

/**
 * Decides a line of a period that is not known yet.
 * @param keepsBefore whether the credits of the period before live on: their rest was given back in the same invoice,
 *   and is made good by these
 */
export function periodSteps(bill: Bill, our: OurLine, owed: GivenBack, keepsBefore: boolean): PeriodSteps {
  const none = { grants: [], entitlements: [], settlements: [] }
  const { invoice } = bill
  const { line, terms } = our
  const amount = amountOf(our)
  if (amount.isZero()) return none
  const carry = keepsBefore ? EVERYTHING : carriedOver(terms.renewal, line.quantity ?? 0)
  const before = owed.left
  const months = terms.interval === 'month' ? [amount] : Array.from({ length: 12 }, () => amount)
  const rests = owed.takeFrom(months)
  const made = before.minus(owed.left)
  const settlements = made.isZero()
    ? []
    : [
        {
          key: postingKey.invoiceLine(line.id),
          invoice: invoice.id,
          owed: formatCredits(made.negated()),
        },
      ]
  if (terms.interval === 'month') {
    return { ...none, settlements, grants: rests.flatMap((rest) => monthStep(bill, our, rest, carry)) }
  }
  return { ...none, settlements, entitlements: yearSteps(bill, our, rests, carry) }
}

function amountOf({ line, terms }: OurLine): Exact {
  return creditsForLine({
    credits: terms.credits,
    quantity: line.quantity ?? 0,
    unitAmount: terms.unitAmount,
    amount: line.amount,
    discount: line.discount,
    rule: terms.discountRule,
  })
}

function sourceOf({ subscription, invoice }: Bill, { line, terms }: OurLine, rest: Rest) {
  const price = terms.lookupKey
  return { subscription: subscription.id, invoice: invoice.id, line: line.id, price, ...takenOf(rest) }
}

const REASON: Record<string, string> = {
  subscription_create: 'first_payment',
  subscription_update: 'plan_change',
}

function monthStep(bill: Bill, our: OurLine, rest: Rest, carry: string): GrantStep[] {
  const { invoice } = bill
  const { line, terms } = our
  if (rest.amount.isZero()) return []
  return [
    {
      key: postingKey.invoiceLine(line.id),
      amount: formatCredits(rest.amount),
      periodStart: line.periodStart,
      expiresAt: lapsesAt(terms, line.periodEnd),
      carry,
      payment: invoice.payment,
      reason: REASON[invoice.reason] ?? 'renewal',
      source: sourceOf(bill, our, rest),
    },
  ]
}

/** The twelve months of a paid year, dated from the subscription's anchor. */
function yearSteps(bill: Bill, our: OurLine, rests: Rest[], carry: string): PendingEntitlement[] {
  const { subscription, invoice } = bill
  const { line, terms } = our
  const first = monthsBetween(subscription.anchor, line.periodStart)
  return rests.flatMap((rest, index) => {
    if (rest.amount.isZero()) return []
    const periodEnd = index === 11 ? line.periodEnd : addMonths(subscription.anchor, first + index + 1)
    return [
      {
        key: postingKey.entitlement(line.id, index),
        amount: formatCredits(rest.amount),
        dueAt: index === 0 ? line.periodStart : addMonths(subscription.anchor, first + index),
        periodEnd,
        expiresAt: lapsesAt(terms, periodEnd),
        // what was carried into the first month goes when the second comes
        carry: index === 0 ? carry : carriedOver(terms.renewal, line.quantity ?? 0),
        payment: invoice.payment,
        source: { ...sourceOf(bill, our, rest), month: String(index + 1) },
      },
    ]
  })
}
