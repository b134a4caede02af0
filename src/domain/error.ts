/** Refusals: what the caller asked cannot be done, and a retry of the same request will not change that. */

/** Every refusal of the product, by its stable code. The API maps each to a status; nothing else may invent one. */
export type RefusalCode =
  | 'account_not_found'
  | 'approval_decided'
  | 'approval_expired'
  | 'approval_not_found'
  | 'approval_stale'
  | 'approver_is_requester'
  | 'balance_limit'
  | 'catalog_mismatch'
  | 'change_overtaken'
  | 'change_rate'
  | 'checkout_expired'
  | 'checkout_open'
  | 'command_not_found'
  | 'commitment_not_sold'
  | 'credits_invalid'
  | 'delivery_not_found'
  | 'delivery_sending'
  | 'endpoint_not_found'
  | 'endpoint_url_refused'
  | 'customer_not_found'
  | 'expiry_past'
  | 'external_id_taken'
  | 'grant_limit'
  | 'hold_closed'
  | 'hold_not_found'
  | 'idempotency_in_progress'
  | 'idempotency_key_reused'
  | 'instant_not_over'
  | 'insufficient_credits'
  | 'notice_not_found'
  | 'pack_not_found'
  | 'payment_method_missing'
  | 'payment_overdue'
  | 'pending_change_not_found'
  | 'plan_group_differs'
  | 'plan_is_free'
  | 'plan_not_found'
  | 'purchase_day_limit'
  | 'purchase_limit'
  | 'purchase_not_found'
  | 'purchase_rate'
  | 'reversal_too_large'
  | 'spend_not_found'
  | 'spend_reversed'
  | 'stripe_refused'
  | 'subscription_cancelling'
  | 'subscription_duplicate'
  | 'subscription_ended'
  | 'subscription_exists'
  | 'subscription_not_found'
  | 'subscription_not_started'
  | 'top_up_not_found'
  | 'subscription_paused'
  | 'subscription_trialing'

/** What was decided rests on facts that are not so any more: nothing is done, and they are read again. */
export class Stale extends Error {}

/** A business refusal. `detail` is for the person who reads it; `data` carries facts for programs. No personal data. */
export class Refusal extends Error {
  readonly code: RefusalCode
  readonly data: Record<string, unknown>

  constructor(code: RefusalCode, detail: string, data: Record<string, unknown> = {}) {
    super(detail)
    this.name = 'Refusal'
    this.code = code
    this.data = data
  }
}
