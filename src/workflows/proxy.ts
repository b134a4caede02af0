/** Every time-out and retry policy of an activity. Workflows take their activities from here and nowhere else. */
import { proxyActivities } from '@temporalio/workflow'
import type { ApprovalActivities } from '../activities/approval.ts'
import type { CatchUpActivities } from '../activities/catch-up.ts'
import type { ChangeActivities } from '../activities/change.ts'
import type { CheckoutActivities } from '../activities/checkout.ts'
import type { CustomerActivities } from '../activities/customer.ts'
import type { DriftActivities } from '../activities/drift.ts'
import type { DutyActivities } from '../activities/duty.ts'
import type { FreeActivities } from '../activities/free.ts'
import type { NotifyActivities } from '../activities/notify.ts'
import type { PreviewActivities } from '../activities/preview.ts'
import type { PurchaseActivities } from '../activities/purchase.ts'
import type { TopUpActivities } from '../activities/top-up.ts'
import type { SubscriptionActivities } from '../activities/subscription.ts'

/** Every activity says every two seconds that it is alive: one whose worker died is started again this soon. */
const ALIVE = '10 seconds'

/**
 * Postgres and Stripe calls of an entity. What cannot be retried fails at once; everything else is tried for ten
 * minutes, after which the entity shows that it needs attention and tries again later.
 */
const entity = {
  startToCloseTimeout: '60 seconds',
  heartbeatTimeout: ALIVE,
  scheduleToCloseTimeout: '10 minutes',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
} as const

/** Telling a person must not fail: it is tried for as long as it takes. */
const telling = {
  startToCloseTimeout: '20 seconds',
  heartbeatTimeout: ALIVE,
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '1 minute' },
} as const

/** A duty is started again by its schedule, so it gives up early. A worker that dies is noticed by its silence. */
const batch = {
  startToCloseTimeout: '5 minutes',
  heartbeatTimeout: ALIVE,
  retry: { initialInterval: '1 second', maximumAttempts: 3 },
} as const

/** Somebody waits for the answer and can ask again. */
const asking = {
  startToCloseTimeout: '4 seconds',
  scheduleToCloseTimeout: '8 seconds',
  retry: { initialInterval: '200 milliseconds', maximumAttempts: 3 },
} as const

export const subscriptionActivities = proxyActivities<SubscriptionActivities>(entity)
export const approvalActivities = proxyActivities<ApprovalActivities>(entity)
export const changeActivities = proxyActivities<ChangeActivities>(entity)
export const checkoutActivities = proxyActivities<CheckoutActivities & PurchaseActivities>(entity)
export const topUpActivities = proxyActivities<TopUpActivities>(entity)
export const customerActivities = proxyActivities<CustomerActivities>(entity)
export const freeActivities = proxyActivities<FreeActivities>(entity)
export const attentionActivities = proxyActivities<Pick<SubscriptionActivities, 'raiseAttention'>>(telling)
export const dutyActivities = proxyActivities<
  DutyActivities & CatchUpActivities & DriftActivities & NotifyActivities
>(batch)
export const previewActivities = proxyActivities<PreviewActivities>(asking)
