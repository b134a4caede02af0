/** A short run for a customer in Stripe: was it deleted, and Stripe's own page for it. It keeps nothing. */
import { continueAsNew, workflowInfo } from '@temporalio/workflow'
import { decideCustomer } from '../domain/customer.ts'
import { customerOf } from '../domain/id.ts'
import { live, type Pass } from './entity.ts'
import { ATTRIBUTE, type EntityInput, portalUpdate } from './message.ts'
import { customerActivities } from './proxy.ts'

const { observeCustomer, applyCustomer, openPortal } = customerActivities

export async function customer(input: EntityInput): Promise<void> {
  const id = customerOf(workflowInfo().workflowId) ?? ''
  await live({
    pass: () => pass(id),
    commands: [{ update: portalUpdate, run: (command) => openPortal({ customer: id, command }) }],
    rest: input.rest,
    renew: (rest) => continueAsNew<typeof customer>({ schemaVersion: 1, rest }),
  })
}

async function pass(id: string): Promise<Pass> {
  const { at, observation, events } = await observeCustomer({ customer: id })
  const plan = decideCustomer(observation)
  await applyCustomer({ customer: id, plan, events })
  const { account } = observation
  const details = plan.untie
    ? `${id} was deleted in Stripe. ${account ?? ''} keeps its credits; its next order makes a new customer.`
    : 'Nothing to do.'
  const attributes = account === null ? [] : [{ key: ATTRIBUTE.account, value: account }]
  return { at, deadline: null, over: true, turn: null, attention: null, details, attributes }
}
