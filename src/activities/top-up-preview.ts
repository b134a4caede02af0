/** What setting an automatic top-up going does at once, when credits are low already. Writes nothing. */
import type { Foresight, PlannedCall } from '../domain/effect.ts'
import { toppedUp } from '../domain/id.ts'
import type { PlannedNotice } from '../domain/notice.ts'
import {
  chargeCall,
  type ChargeFacts,
  decideTopUp,
  type TopUpObservation,
  wantsCharge,
} from '../domain/top-up.ts'
import { lockWallet } from '../ledger/lookup.ts'
import { rehearse } from '../ledger/rehearsal.ts'
import { type Client, type Pool, undone } from '../store/connect.ts'
import { enableTopUp } from '../store/top-up.ts'
import { type AttemptRow, keepTopUp, readTopUpFacts } from '../store/top-up-state.ts'
import type { PaymentGateway } from '../stripe/payment.ts'
import type { PreviewInput } from '../workflows/message.ts'
import { claim, look } from './top-up.ts'
import { carryOut, countsOf } from './top-up-outcome.ts'

interface Seer {
  pool: Pool
  payments: PaymentGateway
}

/**
 * The steps of the run that is woken, until it would rest, done in a transaction that is rolled back: every charge that
 * it asks for is taken to succeed.
 */
export async function foreseeTopUp(deps: Seer, { subject, input }: PreviewInput): Promise<Foresight> {
  const { pool } = deps
  const account = toppedUp(subject) ?? ''
  const enabled = async (client: Client) => {
    const { pack = '', threshold = '0', monthly_max_minor: monthlyMaxMinor = '0', currency = null } = input
    // no page is opened here, so nobody needs to come back from one
    await enableTopUp(client, account, { pack, threshold, monthlyMaxMinor, currency, returnUrl: '' })
  }
  let { attempt, charge } = await look(deps, account)
  const method = await methodOf(deps, account, enabled)
  const stripe: PlannedCall[] = []
  const made: string[] = []
  const foresight = await rehearse(pool, {
    account,
    refusalLeaves: 'nothing',
    async act(client) {
      await lockWallet(client, account)
      await enabled(client)
      for (;;) {
        const facts = await readTopUpFacts(client, account)
        if (facts === undefined) return []
        const { customer: _, returnUrl: __, ...known } = facts
        const seen: TopUpObservation = {
          ...known,
          attempt,
          charge,
          ...(method === undefined ? {} : { method }),
        }
        const plan = decideTopUp(seen)
        if (plan.step === 'charge' || plan.step === 'look_up') {
          if (plan.step === 'charge') attempt = (await claim(client, account, plan.method)) ?? null
          if (attempt === null) return []
          stripe.push(chargeCall(attempt))
          charge = paid(attempt, known.at)
          made.push(charge.id)
          continue
        }
        const deadline = await carryOut(client, seen, plan, null)
        await keepTopUp(client, account, known.settings.generation, { deadline, ...countsOf(plan) })
        if (plan.step === 'rest' || plan.step === 'cap' || plan.step === 'stop') return []
        attempt = null
        charge = null
      }
    },
  })
  const notices = foresight.effects.notices.map((notice) => unmade(notice, made))
  return { ...foresight, effects: { ...foresight.effects, stripe, notices } }
}

/** The card that was kept; undefined when there is nothing to charge. */
async function methodOf(
  { pool, payments }: Seer,
  account: string,
  enabled: (client: Client) => Promise<void>,
): Promise<string | null | undefined> {
  const facts = await undone(pool, async (client) => {
    await enabled(client)
    return await readTopUpFacts(client, account)
  })
  if (facts === undefined || !wantsCharge({ ...facts, attempt: null, charge: null })) return undefined
  return facts.customer === null ? null : await payments.keptMethod(facts.customer)
}

/** The payment of an attempt, as Stripe answers it when nothing is in the way; with an id that is nobody's. */
function paid({ account, ordinal, amountMinor, currency }: AttemptRow, at: string): ChargeFacts {
  const id = `pi_${account}_${`${ordinal}`.padStart(9, '0')}`
  return { id, status: 'succeeded', received: amountMinor, currency, paidAt: at, code: null }
}

function unmade(notice: PlannedNotice, made: string[]): PlannedNotice {
  if (notice.kind !== 'top_up_completed' || !made.includes(notice.data.payment ?? '')) return notice
  return { ...notice, data: { ...notice.data, payment: null } }
}
