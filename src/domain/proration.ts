/**
 * What the prorations of a paid invoice do to credits (law 7): their net, over all lines, buys credits of the plan that
 * was changed to, never more than that plan has; credits whose money is given back are taken from months to come, and
 * what those do not hold is owed. So going up and down mints nothing. Pure; runs inside the workflow.
 */
import { addMonths, type Instant, monthsBetween, msBetween } from './calendar.ts'
import { CREDIT_PLACES, Exact, formatCredits } from './credits.ts'
import { cutEvenly, type GivenBack, type Rest, takenOf } from './given-back.ts'
import { creditsForLine } from './grant.ts'
import { postingKey } from './id.ts'
import type { Bill, OurLine } from './period-grant.ts'
import { lapsesAt } from './renewal.ts'
import type { CutStep, GrantStep, PendingEntitlement, SettlementStep } from './subscription-facts.ts'

export interface ProrationSteps {
  grants: GrantStep[]
  entitlements: PendingEntitlement[]
  settlement: SettlementStep
  cuts: CutStep[]
}

/** The key under which the prorations of an invoice are settled; undefined when it has none. */
export function settlementKey({ invoice }: Bill, prorations: OurLine[]): string | undefined {
  const named = targetOf(prorations) ?? latestOf(prorations)
  return named === undefined ? undefined : postingKey.proration(invoice.id, named.terms.priceId)
}

/**
 * Decides the prorations of an invoice that are not settled yet.
 * @param beside the invoice's own periods: prorations that ride on a renewal are paid when their time is over, and
 *   live in the period that begins
 * @param months months to come, paid for before
 */
export function settleProrations(
  bill: Bill,
  prorations: OurLine[],
  beside: OurLine[],
  months: PendingEntitlement[],
  owed: GivenBack,
): ProrationSteps {
  const { invoice } = bill
  const key = settlementKey(bill, prorations) ?? postingKey.proration(invoice.id, 'none')
  const before = owed.left
  const counted = prorations.map((our) => ({ ...our, counted: countedOf(bill, our, beside) }))
  const worth = sumOf(counted.map(worthOf))
  const cuts = worth.isNegative() ? giveBack(prorations, worth.negated(), months, owed) : []
  const bought = worth.gt(0) ? buy(bill, counted, worth, beside, owed) : NOTHING
  const change = owed.left.minus(before)
  return { ...bought, cuts, settlement: { key, invoice: invoice.id, owed: formatCredits(change) } }
}

const NOTHING = { grants: [], entitlements: [] }

/** What a line billed, by its plan's rule for discounts; negative when it gives back. */
function netOf({ line, terms }: OurLine): Exact {
  return terms.discountRule === 'full' ? new Exact(line.amount) : new Exact(line.amount).minus(line.discount)
}

/** A line, with the money that it counts for. */
interface Counted extends OurLine {
  counted: Exact
}

/**
 * What a line counts for. Where discounts take no credits, its time at list price, because flexible billing tells
 * prorations after discounts; but never what is free, as in a trial.
 */
function countedOf(bill: Bill, our: OurLine, beside: OurLine[]): Exact {
  const net = netOf(our)
  const { line, terms } = our
  if (terms.discountRule !== 'full' || net.isZero()) return net
  const whole = wholeOf(bill, our, beside)
  const part = new Exact(msBetween(line.periodStart, line.periodEnd)).dividedBy(
    msBetween(whole.start, whole.end),
  )
  // whole minor units, as Stripe bills them: what a few seconds cost is nothing to both
  const list = new Exact(terms.unitAmount)
    .times(line.quantity ?? 0)
    .times(Exact.min(part, 1))
    .toDecimalPlaces(0, Exact.ROUND_HALF_UP)
  return net.isNegative() ? Exact.min(net, list.negated()) : Exact.max(net, list)
}

/** The credits that a line's money buys, or had bought, at the line's own price. Over a chain of changes they cancel. */
function worthOf({ counted, terms }: Counted): Exact {
  const { credits, unitAmount, interval } = terms
  return counted
    .times(credits)
    .times(interval === 'year' ? 12 : 1)
    .dividedBy(unitAmount)
}

function sumOf(amounts: Exact[]): Exact {
  return amounts.reduce((sum, amount) => sum.plus(amount), new Exact(0))
}

/** The price that was changed to: the last line that bills anything. Told by the invoice alone, whatever came later. */
function targetOf(prorations: OurLine[]): OurLine | undefined {
  return latestOf(prorations.filter((our) => netOf(our).gt(0)))
}

function latestOf(lines: OurLine[]): OurLine | undefined {
  return lines.toSorted(
    (a, b) =>
      Number(a.line.periodStart < b.line.periodStart) - Number(a.line.periodStart > b.line.periodStart) ||
      netOf(b).abs().comparedTo(netOf(a).abs()) ||
      (a.line.id < b.line.id ? -1 : 1),
  )[0]
}

/** What is given back takes months to come, each by the same part; what they do not hold is owed. Rounded up. */
function giveBack(
  prorations: OurLine[],
  worth: Exact,
  months: PendingEntitlement[],
  owed: GivenBack,
): CutStep[] {
  const credits = worth.toDecimalPlaces(CREDIT_PLACES, Exact.ROUND_UP)
  const since = prorations.map(({ line }) => line.periodStart).toSorted()[0] ?? ''
  const ahead = months.filter((month) => month.dueAt > since)
  const amounts = ahead.map((month) => month.amount)
  const left = cutEvenly(amounts, credits)
  const cut = sumOf(ahead.map((month, index) => new Exact(month.amount).minus(left[index] ?? '0')))
  owed.add(Exact.max(credits.minus(cut), 0))
  return ahead.map((month, index) => ({ key: month.key, amount: left[index] ?? '0' }))
}

/**
 * What was paid for the rest of a period buys credits of the target: the part of them that the net is of its price
 * (law 7), never more than all of them, nor than the lines are worth; less what is owed.
 */
function buy(bill: Bill, prorations: Counted[], worth: Exact, beside: OurLine[], owed: GivenBack) {
  const target = targetOf(prorations)
  const net = sumOf(prorations.map(({ counted }) => counted))
  if (target === undefined) return NOTHING
  const { terms, line } = target
  const month = creditsForLine({
    credits: terms.credits,
    quantity: line.quantity ?? 0,
    unitAmount: terms.unitAmount,
    amount: net.toFixed(),
    discount: '0',
    rule: 'full',
  })
  const span = spanOf(bill, target, beside)
  return terms.interval === 'month'
    ? { ...NOTHING, grants: monthGrant(bill, target, span, Exact.min(month, worth), owed) }
    : { ...NOTHING, entitlements: monthsOf(bill, target, span, Exact.min(month.times(12), worth), owed) }
}

function sourceOf({ subscription, invoice }: Bill, { terms }: OurLine, rest: Rest) {
  const price = terms.lookupKey
  return { subscription: subscription.id, invoice: invoice.id, price, ...takenOf(rest) }
}

function monthGrant(bill: Bill, target: OurLine, span: Span, credits: Exact, owed: GivenBack): GrantStep[] {
  const { invoice } = bill
  const { terms } = target
  const [rest] = owed.takeFrom([credits.toDecimalPlaces(CREDIT_PLACES, Exact.ROUND_DOWN)])
  if (rest === undefined || rest.amount.isZero()) return []
  return [
    {
      key: postingKey.proration(invoice.id, terms.priceId),
      amount: formatCredits(rest.amount),
      periodStart: span.start,
      expiresAt: lapsesAt(terms, span.end),
      carry: null,
      payment: invoice.payment,
      reason: 'plan_change',
      source: sourceOf(bill, target, rest),
    },
  ]
}

/** The months that are left of a prorated year, each with its part, beside what was written for them before. */
function monthsOf(
  bill: Bill,
  target: OurLine,
  span: Span,
  credits: Exact,
  owed: GivenBack,
): PendingEntitlement[] {
  const { invoice, subscription } = bill
  const { terms, line } = target
  const most = new Exact(terms.credits).times(line.quantity ?? 0)
  const slices = slicesOf(subscription.anchor, span)
  const whole = sumOf(slices.map(({ part }) => part))
  const rests = owed.takeFrom(
    slices.map(({ part }) =>
      Exact.min(credits.times(part).dividedBy(whole), most).toDecimalPlaces(CREDIT_PLACES, Exact.ROUND_DOWN),
    ),
  )
  return slices.flatMap(({ start, end }, index) => {
    const rest = rests[index]
    if (rest === undefined || rest.amount.isZero()) return []
    return [
      {
        key: postingKey.prorationMonth(invoice.id, terms.priceId, index),
        amount: formatCredits(rest.amount),
        dueAt: start,
        periodEnd: end,
        expiresAt: lapsesAt(terms, end),
        carry: null,
        payment: invoice.payment,
        source: { ...sourceOf(bill, target, rest), month: String(index + 1) },
      },
    ]
  })
}

interface Span {
  start: Instant
  end: Instant
}

/** The period that a line is a part of: by the anchor, or by its own end where its invoice sets another anchor. */
function wholeOf({ subscription, invoice }: Bill, { line, terms }: OurLine, beside: OurLine[]): Span {
  const months = terms.interval === 'year' ? 12 : 1
  if (invoice.reason === 'subscription_update' && beside.length > 0) {
    return { start: addMonths(line.periodEnd, -months), end: line.periodEnd }
  }
  const { anchor } = subscription
  const index = Math.floor(monthOf(anchor, line.periodStart) / months) * months
  return { start: addMonths(anchor, index), end: addMonths(anchor, index + months) }
}

/** Which month of an anchor an instant is in. */
function monthOf(anchor: Instant, instant: Instant): number {
  const index = monthsBetween(anchor, instant)
  return addMonths(anchor, index) > instant ? index - 1 : index
}

/** Where bought credits live: in the time that was prorated, or, when it is over, in the period that begins. */
function spanOf({ subscription }: Bill, { line, terms }: OurLine, beside: OurLine[]): Span {
  const next = beside.find((our) => our.line.periodStart >= line.periodEnd)
  if (next === undefined) return { start: line.periodStart, end: line.periodEnd }
  const span = { start: next.line.periodStart, end: next.line.periodEnd }
  if (terms.interval === next.terms.interval || terms.interval === 'year') return span
  return slicesOf(subscription.anchor, span)[0] ?? span
}

/** The months of a span, by the anchor, with how much of a month each is. The first and the last may be parts. */
function slicesOf(anchor: Instant, span: Span): (Span & { part: Exact })[] {
  const slices: (Span & { part: Exact })[] = []
  let index = monthOf(anchor, span.start)
  for (let start = span.start; start < span.end; index += 1) {
    const next = addMonths(anchor, index + 1)
    const end = next < span.end ? next : span.end
    const part = new Exact(msBetween(start, end)).dividedBy(msBetween(addMonths(anchor, index), next))
    slices.push({ start, end, part })
    start = end
  }
  return slices
}
