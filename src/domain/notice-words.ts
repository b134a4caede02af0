/** The words of each notice's e-mail: plain sentences about what happened, and at most one link. */
import type { Instant } from './calendar.ts'
import type { MoneyFacts, NoticeData, NoticeKind, PlanChangeFacts } from './notice.ts'

export interface Words {
  subject: string
  /** a paragraph each, plain text */
  lines: string[]
  /** where the reader can do something about it */
  action?: { label: string; url: string } | undefined
}

/** Every kind has words, also those that are not e-mailed: operators read them, too. */
const WORDS: { readonly [Kind in NoticeKind]: (data: NoticeData[Kind]) => Words } = {
  credits_granted: ({ amount, balance, expiresAt }) => ({
    subject: `${amount} credits were added`,
    lines: [
      `${amount} credits were added to your account. You now have ${balance}.`,
      ...(expiresAt === null ? [] : [`Use them before ${dateText(expiresAt)}.`]),
    ],
  }),
  purchase_completed: ({ packName, quantity, posting, credits, balance, ...money }) => ({
    subject: `Your purchase of ${packName}`,
    lines: [
      `Thank you. You paid ${moneyText(money)} for ${timesText(quantity, packName)}.`,
      ...(posting === null
        ? []
        : [`${credits} credits were added to your account. You now have ${balance}.`]),
    ],
  }),
  purchase_abandoned: ({ pack }) => ({
    subject: 'A purchase was not finished',
    lines: [`The checkout of ${pack} ended without a payment.`],
  }),
  purchase_failed: ({ packName, quantity, ...money }) => ({
    subject: `Your purchase of ${packName} failed`,
    lines: [
      `Your payment of ${moneyText(money)} for ${timesText(quantity, packName)} did not arrive, so no credits were added.`,
    ],
  }),
  payment_failed: ({ nextAttemptAt, graceEndsAt, payUrl, ...money }) => ({
    subject: 'Your payment failed',
    lines: [
      `We could not collect ${moneyText(money)} for your plan.`,
      nextAttemptAt === null
        ? 'We will not try again by ourselves.'
        : `We will try again on ${dateText(nextAttemptAt)}.`,
      ...(graceEndsAt === null ? [] : [`Your credits can be used until ${dateText(graceEndsAt)}.`]),
    ],
    action: linked('Pay now', payUrl),
  }),
  payment_action_required: ({ payUrl, ...money }) => ({
    subject: 'Your payment needs your confirmation',
    lines: [`Your bank asks you to confirm a payment of ${moneyText(money)}.`],
    action: linked('Confirm the payment', payUrl),
  }),
  payment_reminder: ({ nextAttemptAt, payUrl, ...money }) => ({
    subject: 'A payment is still to be made',
    lines: [
      `${moneyText(money)} for your plan are still to be paid. No credits are added until they are.`,
      ...(nextAttemptAt === null ? [] : [`We will try again on ${dateText(nextAttemptAt)}.`]),
    ],
    action: linked('Pay now', payUrl),
  }),
  payment_recovered: (money) => ({
    subject: 'Your payment arrived',
    // it may come when the plan has ended, or while more is owed
    lines: [`We received ${moneyText(money)}. Thank you.`],
  }),
  plan_changed: ({ credits, ...change }) => ({
    subject: `Your plan is now ${change.toName}`,
    lines: [
      `Your plan was changed from ${change.fromName} to ${planText(change)}.`,
      ...(credits === null ? [] : [`${credits} credits were added to your account.`]),
    ],
  }),
  plan_change_scheduled: (change) => ({
    subject: `Your plan changes to ${change.toName}`,
    lines: [
      `On ${dateText(change.effectiveAt)} your plan changes from ${change.fromName} to ${planText(change)}.`,
      'Until then nothing changes.',
    ],
  }),
  plan_change_withdrawn: ({ fromName, toName }) => ({
    subject: `Your plan stays ${fromName}`,
    lines: [`The change to ${toName} was withdrawn. Your plan stays ${fromName}.`],
  }),
  subscription_cancelling: ({ endsAt }) => ({
    subject: `Your plan ends on ${dateText(endsAt)}`,
    lines: [`Your plan was cancelled and ends on ${dateText(endsAt)}. Until then nothing changes.`],
  }),
  subscription_resumed: () => ({
    subject: 'Your plan goes on',
    lines: ['Your plan was to end. It goes on.'],
  }),
  subscription_ended: ({ endedAt }) => ({
    subject: 'Your plan has ended',
    lines: [`Your plan ended on ${dateText(endedAt)}. Nothing more will be charged for it.`],
  }),
  subscription_paused: ({ resumesAt }) => ({
    subject: 'Your plan is paused',
    lines: [
      'Your plan is paused. While it is, nothing is charged and no credits are added.',
      ...(resumesAt === null ? [] : [`It goes on from ${dateText(resumesAt)}.`]),
    ],
  }),
  subscription_unpaused: () => ({
    subject: 'Your plan goes on',
    lines: ['Your plan is no longer paused. It goes on.'],
  }),
  top_up_completed: ({ credits, balance, ...money }) => ({
    subject: `${credits} credits were added by automatic top-up`,
    lines: [
      `Your balance was low, so ${credits} credits were bought for ${moneyText(money)}.`,
      `You now have ${balance}.`,
    ],
  }),
  top_up_declined: ({ nextAttemptAt, updateUrl, ...money }) => ({
    subject: 'Your automatic top-up was declined',
    lines: [
      `Your card was declined for ${moneyText(money)}.`,
      ...(nextAttemptAt === null ? [] : [`We will try again on ${dateText(nextAttemptAt)}.`]),
    ],
    action: linked('Change your card', updateUrl),
  }),
  top_up_stopped: ({ reason, updateUrl }) => ({
    subject: 'Your automatic top-up has stopped',
    lines: [STOPPED[reason]],
    action: linked('Change your card', updateUrl),
  }),
  balance_low: ({ available, threshold }) => ({
    subject: 'You are running low on credits',
    lines: [`You have ${available} credits left, which is less than ${threshold}.`],
  }),
  approval_requested: ({ approval, approvalKind, expiresAt }) => ({
    subject: `An approval is asked for: ${approvalKind}`,
    lines: [
      `${approval} waits for a second person.`,
      ...(expiresAt === null ? [] : [`It lapses on ${dateText(expiresAt)}.`]),
    ],
  }),
  approval_decided: ({ approval, approvalKind, decision }) => ({
    subject: `An approval was decided: ${approvalKind}`,
    lines: [`${approval}: ${decision}.`],
  }),
  adjustment_made: ({ amount, balance }) => ({
    subject: 'Your credits were adjusted',
    lines: [`Your credits were adjusted by ${amount}. You now have ${balance}.`],
  }),
}

const STOPPED: Record<NoticeData['top_up_stopped']['reason'], string> = {
  declines: 'Your card was declined several times, so we stopped buying credits automatically.',
  monthly_cap: 'This month’s limit is reached, so no more credits are bought automatically until next month.',
  no_payment_method: 'There is no card to charge, so we stopped buying credits automatically.',
  pack_not_on_sale: 'What was to be bought is no longer sold, so we stopped buying credits automatically.',
}

/** What a notice says, in words. */
export function wordsOf<Kind extends NoticeKind>(kind: Kind, data: NoticeData[Kind]): Words {
  return WORDS[kind](data)
}

/** A link is https, or the sandbox's own page on this machine. Anything else is left out, never shown as text. */
function linked(label: string, url: string | null): Words['action'] {
  if (url === null || !URL.canParse(url)) return undefined
  const { protocol, hostname } = new URL(url)
  return protocol === 'https:' || (protocol === 'http:' && hostname === '127.0.0.1')
    ? { label, url }
    : undefined
}

/** `3 January 2027`: the day in UTC, as the customer's invoice counts it. */
export function dateText(at: Instant): string {
  const date = new Date(at)
  const day = new Intl.DateTimeFormat('en-GB', {
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    timeZone: 'UTC',
  })
  return day.format(date)
}

/** Currencies without minor units, and those of three places. docs.stripe.com/currencies#minor-units */
const PLACES: Record<string, number> = Object.fromEntries([
  ...'bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf'.split(' ').map((one) => [one, 0]),
  ...'bhd jod kwd omr tnd'.split(' ').map((one) => [one, 3]),
])

/** `20.00 USD`: by moving the point in the text, for no JavaScript number is exact (law 12). */
export function moneyText({ amountMinor, currency }: MoneyFacts): string {
  const places = PLACES[currency] ?? 2
  const sign = amountMinor.startsWith('-') ? '-' : ''
  const digits = amountMinor.replace('-', '').padStart(places + 1, '0')
  const cut = digits.length - places
  const point = places === 0 ? '' : `.${digits.slice(cut)}`
  return `${sign}${digits.slice(0, cut)}${point} ${currency.toUpperCase()}`
}

function planText({ toName, interval, quantity }: PlanChangeFacts): string {
  return `${timesText(quantity, toName)}, billed every ${interval}`
}

function timesText(quantity: string, name: string): string {
  return quantity === '1' ? name : `${quantity} × ${name}`
}
