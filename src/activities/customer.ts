/** What is done about customers in Stripe: one is made for an account when it first needs it, and followed when it is deleted. */
import { businessNow } from '../clock.ts'
import type { Instant } from '../domain/calendar.ts'
import type { CustomerObservation, CustomerPlan } from '../domain/customer.ts'
import { effectsOf, type Foresight, foresightOf } from '../domain/effect.ts'
import { customerOf as customerNamed, workflowId } from '../domain/id.ts'
import { raiseAlert, resolveAlert } from '../store/alert.ts'
import { recordAudit } from '../store/audit.ts'
import { finishCommand, readCommand } from '../store/command.ts'
import { type Pool, transaction } from '../store/connect.ts'
import { settle, unsettledFor } from '../store/inbox.ts'
import { customerTie, tieCustomer, tiedAccount, untieCustomer } from '../store/stripe-customer.ts'
import type { CollectionGateway } from '../stripe/collection.ts'
import { type Gateway, lacksCustomer } from '../stripe/gateway.ts'
import type { CommandAnswer, PreviewInput } from '../workflows/message.ts'
import { refusalOf, translated } from './translate.ts'

export interface CustomerDeps {
  pool: Pool
  gateway: Gateway
}

export interface CustomerActivityDeps extends CustomerDeps {
  collection: CollectionGateway
}

export interface CustomerSight {
  at: Instant
  observation: CustomerObservation
  /** events that were there before the observation */
  events: string[]
}

export type CustomerActivities = ReturnType<typeof createCustomerActivities>

export function createCustomerActivities({ pool, gateway, collection }: CustomerActivityDeps) {
  return translated({
    async observeCustomer({ customer }: { customer: string }): Promise<CustomerSight> {
      const events = (await unsettledFor(pool, workflowId.customer(customer))).map((event) => event.eventId)
      const at = await businessNow(pool)
      const account = (await tiedAccount(pool, customer)) ?? null
      const there = account === null || (await gateway.hasCustomer(customer))
      return { at, events, observation: { customer, account, there } }
    },

    async applyCustomer(input: { customer: string; plan: CustomerPlan; events: string[] }): Promise<void> {
      const { customer, plan, events } = input
      if (plan.untie) await noteDeleted(pool, customer)
      await transaction(pool, async (client) => {
        await settle(client, events)
        await resolveAlert(client, 'needs_attention', workflowId.customer(customer))
      })
    },

    /** Opens Stripe's own page for a customer, once a command. */
    async openPortal(input: { customer: string; command: string }): Promise<CommandAnswer> {
      const row = await readCommand(pool, input.command)
      if (row?.answer !== undefined) return row.answer
      const { return_url: returnUrl = '' } = row?.input ?? {}
      try {
        const url = await collection.openPortal(input.customer, returnUrl, input.command)
        return await finishCommand(pool, input.command, { state: 'done', statusCode: 201, result: { url } })
      } catch (error) {
        const result = refusalOf(error)
        if (result === undefined) throw error
        return await finishCommand(pool, input.command, { state: 'refused', statusCode: 502, result })
      }
    },
  })
}

/**
 * Does something that needs the account's customer in Stripe, and makes it first when there is none. One that turns out
 * to have been deleted is noted and followed by a new one.
 * @throws what `use` throws
 */
export async function withCustomer<T>(
  { pool, gateway }: CustomerDeps,
  account: string,
  person: { email: string | null; name: string | null },
  use: (customer: string) => Promise<T>,
): Promise<T> {
  const customer = await customerOf({ pool, gateway }, account, person)
  try {
    return await use(customer)
  } catch (error) {
    if (!lacksCustomer(error) || (await gateway.hasCustomer(customer))) throw error
    await noteDeleted(pool, customer)
    return await use(await customerOf({ pool, gateway }, account, person))
  }
}

async function customerOf(
  { pool, gateway }: CustomerDeps,
  account: string,
  person: { email: string | null; name: string | null },
): Promise<string> {
  const { customer, ordinal } = await customerTie(pool, account)
  if (customer !== null) return customer
  const made = await gateway.createCustomer(account, ordinal, person)
  return await tieCustomer(pool, account, { customer: made, ordinal })
}

/** Once: whoever finds it first tells a person, because somebody in Stripe meant something by it. */
async function noteDeleted(pool: Pool, customer: string): Promise<void> {
  await transaction(pool, async (client) => {
    const account = await untieCustomer(client, customer)
    if (account === undefined) return
    await recordAudit(client, {
      account,
      actor: 'stripe',
      action: 'customer',
      subject: customer,
      reasonCode: 'deleted',
      detail: {},
    })
    await raiseAlert(
      client,
      'customer_deleted',
      customer,
      `${account}'s customer was deleted in Stripe; its credits stay, its next order makes a new customer`,
    )
  })
}

/** What a command for Stripe's own page would do. Where the page leads back to is not told to previews. */
export async function foreseePortal(
  { pool }: Pick<CustomerDeps, 'pool'>,
  { subject }: PreviewInput,
): Promise<Foresight> {
  const params = { customer: customerNamed(subject) ?? '' }
  const stripe = [{ method: 'POST' as const, path: '/v1/billing_portal/sessions', params }]
  return foresightOf(await businessNow(pool), { effects: effectsOf({ stripe }) })
}
