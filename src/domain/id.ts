/**
 * Every id and key (law 2): made from what is billed, never from a clock, a random number or a Temporal run.
 * Two roads to the same fact reach the same key because there is only this file to get it from.
 */

/** An id of ours: a prefix that tells the kind and 32 hexadecimal digits of a UUID minted by the caller. */
export function idFrom(
  prefix: 'acc' | 'ord' | 'cmd' | 'key' | 'free' | 'we' | 'apr' | 'top',
  uuid: string,
): string {
  return `${prefix}_${uuid.replaceAll('-', '')}`
}

/** Keys of postings, unique per account. */
export const postingKey = {
  /** The grant of one paid invoice line. */
  invoiceLine: (line: string) => `invoice_line:${line}`,
  /** One month of a paid year: 0 to 11. */
  entitlement: (line: string, index: number) => `invoice_line:${line}:${index}`,
  /** The net of all prorations of one paid invoice, for the price that it changed to. */
  proration: (invoice: string, price: string) => `proration:${invoice}:${price}`,
  /** One month of it, when that price is a year's. */
  prorationMonth: (invoice: string, price: string, index: number) => `proration:${invoice}:${price}:${index}`,
  /** One month of a free plan: counted from the account's first enrolment in the group, so each is granted once. */
  freeMonth: (group: string, index: number) => `free:${group}:${index}`,
  /** What was paid for an order of packs. */
  purchase: (order: string) => `purchase:${order}`,
  /** What an automatic top-up was paid with. */
  topUp: (payment: string) => `top_up:${payment}`,
  /** A spend under the caller's Idempotency-Key. */
  spend: (callerKey: string) => `spend:${callerKey}`,
  /** A capture of whichever hold, under the caller's Idempotency-Key. */
  capture: (callerKey: string) => `capture:${callerKey}`,
  /** A spend given back, under the caller's Idempotency-Key. */
  reversal: (callerKey: string) => `reversal:${callerKey}`,
  /** A goodwill or promotion grant under the caller's Idempotency-Key. */
  grant: (callerKey: string) => `grant:${callerKey}`,
  /** A correction that two persons wanted: an approval is carried out once. */
  adjustment: (approval: string) => `adjustment:${approval}`,
} as const

/** Keys of what is asked for: the same thing waits for one decision, whoever asks and however often. */
export const approvalKey = {
  /** A correction under the caller's Idempotency-Key. */
  adjustment: (account: string, callerKey: string) => `adjustment:${account}:${callerKey}`,
  /** A payment that came when its order was over. */
  latePayment: (payment: string) => `late_payment:${payment}`,
  /**
   * A live subscription beside the primary of its plan group; after an answer that came undone, another time.
   * @param undone the approval that was carried out
   */
  duplicateSubscription: (subscription: string, primary: string, undone?: string) =>
    ['duplicate_subscription', subscription, primary, ...(undone === undefined ? [] : [undone])].join(':'),
} as const

/** Keys of holds, which post nothing; unique per account, too. */
export const holdKey = {
  place: (callerKey: string) => `hold:${callerKey}`,
  release: (callerKey: string) => `release:${callerKey}`,
} as const

/** Keys of notices, unique per account: made from what they tell, so that a fact is told once. */
export const noticeKey = {
  /** Credits that came: the key of their posting. */
  granted: (posting: string) => `credits_granted:${posting}`,
  purchased: (order: string) => `purchase_completed:${order}`,
  abandoned: (order: string) => `purchase_abandoned:${order}`,
  purchaseFailed: (order: string) => `purchase_failed:${order}`,
  /** One failed attempt to collect an invoice, as Stripe counts them. */
  paymentFailed: (invoice: string, attempt: string) => `payment_failed:${invoice}:${attempt}`,
  /** An invoice or a payment intent that waits for its customer. */
  actionRequired: (payment: string) => `payment_action_required:${payment}`,
  /** One reminder of an invoice that is not paid: the first is 0. */
  paymentReminder: (invoice: string, index: number) => `payment_reminder:${invoice}:${index}`,
  paymentRecovered: (invoice: string) => `payment_recovered:${invoice}`,
  /**
   * What changed about a subscription. Its changes are counted here, because the same may be done, undone and done again
   * in one period: no id or date of Stripe's tells the second time from the first.
   */
  news: (kind: string, subscription: string, ordinal: number) => `${kind}:${subscription}:${ordinal}`,
  /** A free plan is to end at an instant, for good. */
  cancelling: (subscription: string, endsAt: string) => `subscription_cancelling:${subscription}:${endsAt}`,
  ended: (subscription: string) => `subscription_ended:${subscription}`,
  topUp: (payment: string, became: 'completed' | 'declined') => `top_up:${payment}:${became}`,
  /** Automatic top-up stopped; after a person has set it going again, another time. */
  topUpStopped: (cause: string) => `top_up_stopped:${cause}`,
  /** The balance fell below the threshold with this posting. */
  balanceLow: (posting: string) => `balance_low:${posting}`,
  approval: (approval: string, became: 'requested' | 'decided') => `approval:${approval}:${became}`,
  adjusted: (posting: string) => `adjustment_made:${posting}`,
} as const

/** The posting that a spend's public id names, if it can name one: `posting_id` in SQL makes it. */
export function spendNamed(id: string): { account: string; seq: string } | undefined {
  const [, account, seq] = /^spd_([A-Za-z0-9]{1,64})_([1-9]\d{0,17})$/.exec(id) ?? []
  return account === undefined || seq === undefined ? undefined : { account: `acc_${account}`, seq }
}

/** Idempotency keys of Stripe calls: the thing to be made, so that a retry by anybody makes it once. */
export const stripeKey = {
  /** The key of a call that is asked for again, because what it was asked for under the keys before was not made. */
  generation: (key: string, generation: number) => (generation === 1 ? key : `${key}#${generation}`),
  /** The account's first customer, or the one that follows as many deleted ones. */
  customer: (account: string, ordinal: number) =>
    ordinal === 1 ? `perennial:customer:${account}` : `perennial:customer:${account}:${ordinal}`,
  checkout: (order: string) => `perennial:checkout:${order}`,
  product: (product: string) => `perennial:product:${product}`,
  price: (lookupKey: string) => `perennial:price:${lookupKey}`,
  mend: (object: string, field: 'active' | 'name' | 'lookup_key') => `perennial:mend:${object}:${field}`,
  /** One step of a command that changes a subscription. */
  step: (step: string, command: string) => `perennial:${step}:${command}`,
  /** A schedule that has nothing more to do, released. */
  letGo: (schedule: string) => `perennial:let_go:${schedule}`,
  /** The hosted page of an order, closed. */
  expire: (session: string) => `perennial:expire:${session}`,
  /** One attempt of an automatic top-up, as they are counted here before Stripe is asked. */
  topUp: (account: string, ordinal: number) => `perennial:top_up:${account}:${ordinal}`,
} as const

/** What a price is found by, here and in Stripe. The version is in it: new terms are a new price, the old one stays. */
export const lookupKey = {
  /** @param currency null: the catalogue's own */
  price: (
    plan: string,
    interval: 'month' | 'year',
    commitmentMonths: number | null,
    version: string,
    currency: string | null,
  ) =>
    [
      plan,
      interval,
      ...(commitmentMonths === null ? [] : [`commit${commitmentMonths}`]),
      ...(currency === null ? [] : [currency]),
      version,
    ].join('.'),
  pack: (pack: string, version: string, currency: string | null) =>
    ['pack', pack, ...(currency === null ? [] : [currency]), version].join('.'),
  /** Of a free plan, which is nowhere but here. */
  free: (plan: string, version: string) => `free.${plan}.${version}`,
} as const

/** Ids of products in Stripe: ours to give, so that a plan and a pack have one each. */
export const productId = {
  plan: (plan: string) => `prod_perennial_plan_${plan}`,
  pack: (pack: string) => `prod_perennial_pack_${pack}`,
} as const

/** Whether a product is a plan of ours. */
export function isPlanProduct(product: string): boolean {
  return product.startsWith(productId.plan(''))
}

/** Ids of workflows: paste them into the Temporal UI. A subscription's is Stripe's own, a free plan's is ours. */
export const workflowId = {
  subscription: (subscription: string) => subscription,
  checkout: (order: string) => `checkout/${order}`,
  topUp: (account: string) => `topup/${account}`,
  approval: (approval: string) => `approval/${approval}`,
  customer: (customer: string) => `customer/${customer}`,
  /** Another task queue is another installation in the same namespace: it has duties of its own. */
  duty: (name: string, taskQueue = 'perennial') =>
    taskQueue === 'perennial' ? `duty/${name}` : `duty/${name}@${taskQueue}`,
  /** Every preview is one of its own: two who ask at once may see two different moments. */
  preview: (uuid: string) => `preview/${uuid}`,
} as const

/** Whether an id, or the workflow of the same id, is a free plan's. */
export function isFree(id: string): boolean {
  return id.startsWith('free_')
}

/** The order that a checkout workflow's id names, if it is one. */
export function orderOf(owner: string): string | undefined {
  return owner.startsWith('checkout/') ? owner.slice('checkout/'.length) : undefined
}

/** The approval that an approval workflow's id names, if it is one. */
export function approvalOf(owner: string): string | undefined {
  return owner.startsWith('approval/') ? owner.slice('approval/'.length) : undefined
}

/** The order by which the customer pays himself what a top-up could not charge: one an attempt. */
export function orderOfTopUp(attempt: string): string {
  return attempt.replace(/^top_/, 'ord_')
}

/** The account that a top-up workflow's id names, if it is one. */
export function toppedUp(owner: string): string | undefined {
  return owner.startsWith('topup/') ? owner.slice('topup/'.length) : undefined
}

/** The customer in Stripe that a customer workflow's id names, if it is one. */
export function customerOf(owner: string): string | undefined {
  return owner.startsWith('customer/') ? owner.slice('customer/'.length) : undefined
}
