/** How to reach the workflow that owns a thing, from outside: wake it, or have it carry out a command. */
import {
  type Client,
  ScheduleOverlapPolicy,
  WithStartWorkflowOperation,
  WorkflowUpdateFailedError,
} from '@temporalio/client'
import { ApplicationFailure, type Workflow } from '@temporalio/common'
import type { Foresight } from '../domain/effect.ts'
import { approvalOf, customerOf, isFree, orderOf, toppedUp, workflowId } from '../domain/id.ts'
import {
  COMMAND_FAILED,
  type CommandAnswer,
  type CommandMessage,
  type DutyInput,
  type PreviewInput,
  type Wake,
  WORKFLOW,
  wakeSignal,
} from './message.ts'

/** What is needed to reach workflows. */
export interface Reach {
  client: Client
  taskQueue: string
}

/** How long a call to Temporal may take, in milliseconds. The SDK's own default is to wait for ever. */
const WAKE_TIMEOUT_MS = 2_000

function typeOf(owner: string): string {
  if (isFree(owner)) return WORKFLOW.free
  if (toppedUp(owner) !== undefined) return WORKFLOW.topUp
  if (approvalOf(owner) !== undefined) return WORKFLOW.approval
  if (customerOf(owner) !== undefined) return WORKFLOW.customer
  return orderOf(owner) === undefined ? WORKFLOW.subscription : WORKFLOW.checkout
}

function start(owner: string, taskQueue: string) {
  return {
    type: typeOf(owner),
    options: {
      workflowId: owner,
      taskQueue,
      args: [{ schemaVersion: 1 as const }],
      // Every run rehydrates from Postgres and Stripe, so starting a closed or forgotten one again is safe.
      workflowIdReusePolicy: 'ALLOW_DUPLICATE' as const,
      workflowIdConflictPolicy: 'USE_EXISTING' as const,
      staticSummary: owner,
    },
  }
}

/**
 * Wakes the owner, starting it when it does not run. Durable when it returns, whether or not a worker lives.
 * @throws when Temporal does not answer within two seconds
 */
export async function wakeOwner({ client, taskQueue }: Reach, owner: string, wake: Wake): Promise<void> {
  const { type, options } = start(owner, taskQueue)
  await client.connection.withDeadline(Date.now() + WAKE_TIMEOUT_MS, () =>
    client.workflow.signalWithStart(type, { ...options, signal: wakeSignal, signalArgs: [wake] }),
  )
}

/** Starts the owner when it does not run. One that runs does not notice. */
export async function adoptOwner({ client, taskQueue }: Reach, owner: string): Promise<void> {
  const { type, options } = start(owner, taskQueue)
  await client.connection.withDeadline(Date.now() + WAKE_TIMEOUT_MS, () =>
    client.workflow.start(type, options),
  )
}

/**
 * Has the owner carry out a command and waits for its answer. The command id is the update's id, so a retry of this
 * call joins the first; the command's row decides, so a run that forgot the update does it no second time.
 * @param command with what tells this try `again` from those before it: a run that gave a command up remembers that as the
 *   answer to its id, and would never try again
 * @param waitMs how long to wait for the answer
 * @returns undefined when no answer came in time: the row stays pending and a sweeper sends it again
 * @throws when the command was given up, or Temporal refused for another reason
 */
export async function sendCommand(
  { client, taskQueue }: Reach,
  command: { id: string; owner: string; operation: string; again?: string | undefined },
  waitMs: number,
): Promise<CommandAnswer | undefined> {
  const until = Date.now() + waitMs
  let updateId = command.id
  while (Date.now() < until) {
    const { type, options } = start(command.owner, taskQueue)
    try {
      return await client.connection.withDeadline(until, () =>
        client.workflow.executeUpdateWithStart<Workflow, CommandAnswer, [CommandMessage]>(command.operation, {
          updateId,
          args: [{ command: command.id }],
          startWorkflowOperation: new WithStartWorkflowOperation(type, options),
        }),
      )
    } catch (error) {
      if (updateId === command.id && command.again !== undefined && isGivenUp(error)) {
        updateId = `${command.id}#${command.again}`
        continue
      }
      if (!isPassing(error)) throw error
    }
    // a closing run refuses updates for a moment (continue-as-new); the next try finds the next run
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return undefined
}

/**
 * Asks what a command would do. A workflow of its own looks it up: the owner is not disturbed, and nothing is kept.
 * @param uuid a fresh one
 * @throws when no answer came in time
 */
export async function askPreview(
  { client, taskQueue }: Reach,
  uuid: string,
  asked: PreviewInput,
  waitMs: number,
): Promise<Foresight> {
  return await client.connection.withDeadline(Date.now() + waitMs, () =>
    client.workflow.execute<(input: PreviewInput) => Promise<Foresight>>(WORKFLOW.preview, {
      workflowId: workflowId.preview(uuid),
      taskQueue,
      args: [asked],
      workflowExecutionTimeout: waitMs,
      staticSummary: `${asked.operation} ${asked.subject}`,
    }),
  )
}

function isGivenUp(error: unknown): boolean {
  if (!(error instanceof WorkflowUpdateFailedError)) return false
  return error.cause instanceof ApplicationFailure && error.cause.type === COMMAND_FAILED
}

const PASSING_GRPC = new Set([1, 4, 8, 9, 10, 14]) // cancelled, deadline, exhausted, precondition, aborted, unavailable

function isPassing(error: unknown): boolean {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'number' && PASSING_GRPC.has(at.code)) return true
    if (at.name === 'WorkflowUpdateRPCTimeoutOrCancelledError' || at.name === 'WorkflowNotFoundError')
      return true
    if ('type' in at && at.type === 'AcceptedUpdateCompletedWorkflow') return true
  }
  return false
}

/**
 * Has a duty run soon, beside its schedule: now, or when the run ends that is under way, for that one may have looked
 * already. However often it is asked for meanwhile, one run follows; two are never under way at once.
 */
export async function runDuty({ client, taskQueue }: Reach, duty: DutyInput['duty']): Promise<void> {
  // without a policy, a trigger begins a run beside the one that is under way, whatever the schedule's own policy is
  await client.schedule.getHandle(workflowId.duty(duty, taskQueue)).trigger(ScheduleOverlapPolicy.BUFFER_ONE)
}
