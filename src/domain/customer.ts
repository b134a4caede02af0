/** What became of a customer in Stripe, for the account that has it. Pure; runs inside the workflow. */

export interface CustomerObservation {
  /** Stripe's id */
  customer: string
  /** the account that it is tied to; null: none of ours has it, or it was noted before */
  account: string | null
  /** whether Stripe has it still */
  there: boolean
}

export interface CustomerPlan {
  /** the account loses its customer: its next order makes a new one */
  untie: boolean
}

/** Decides what is left to do. Credits stay: they were paid for, whoever deleted the customer. */
export function decideCustomer({ account, there }: CustomerObservation): CustomerPlan {
  return { untie: account !== null && !there }
}
