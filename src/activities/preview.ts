/** What commands would do: for every operation that a workflow carries out, the function that foresees it. Writes nothing. */
import type { Foresight } from '../domain/effect.ts'
import { isFree } from '../domain/id.ts'
import type { Pool } from '../store/connect.ts'
import type { ChangeGateway } from '../stripe/change.ts'
import type { Gateway } from '../stripe/gateway.ts'
import type { PaymentGateway } from '../stripe/payment.ts'
import type { PreviewInput } from '../workflows/message.ts'
import { foreseeDecision } from './approval.ts'
import {
  foreseeCancel,
  foreseeChange,
  foreseeResume,
  foreseeWithdrawal,
  type Seer,
} from './change-preview.ts'
import { foreseeCheckout } from './checkout.ts'
import { foreseePortal } from './customer.ts'
import { foreseeCancelFree, foreseeEnrolment } from './free.ts'
import { foreseeTopUp } from './top-up-preview.ts'
import { translated } from './translate.ts'

export interface PreviewDeps {
  pool: Pool
  gateway: Gateway
  changes: ChangeGateway
  payments: PaymentGateway
  /** how a pass of a subscription's workflow observes */
  look: Seer['look']
}

/** Observes and decides as acting does, and says what the decision says. */
export type Foresee = (deps: PreviewDeps, asked: PreviewInput) => Promise<Foresight>

const FORESEE: Record<PreviewInput['operation'], Foresee> = {
  open: (deps, asked) => (isFree(asked.subject) ? foreseeEnrolment : foreseeCheckout)(deps, asked),
  cancel: (deps, asked) => (isFree(asked.subject) ? foreseeCancelFree : foreseeCancel)(deps, asked),
  approve: foreseeDecision,
  reject: foreseeDecision,
  change: foreseeChange,
  portal: foreseePortal,
  resume: foreseeResume,
  top_up: foreseeTopUp,
  withdraw: foreseeWithdrawal,
}

export type PreviewActivities = ReturnType<typeof createPreviewActivities>

export function createPreviewActivities(deps: PreviewDeps) {
  return translated({
    preview: (asked: PreviewInput): Promise<Foresight> => FORESEE[asked.operation](deps, asked),
  })
}
