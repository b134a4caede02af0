/** Stands in for Temporal where a test is about the API: carries out updates by a function, or is down. */
import type { Foresight } from '../../src/domain/effect.ts'
import type { CommandAnswer, PreviewInput } from '../../src/workflows/message.ts'
import type { Reach } from '../../src/workflows/owner.ts'

export class Workflows {
  /** every command that arrived */
  sent: { owner: string; operation: string; command: string }[] = []
  /** every owner that was woken */
  woken: string[] = []
  /** undefined: every call fails */
  answer: ((command: string, owner: string) => Promise<CommandAnswer>) | undefined

  /** what `preview` workflows answer */
  foresee: ((asked: PreviewInput) => Promise<Foresight>) | undefined

  readonly reach: Reach = {
    taskQueue: 'test',
    client: {
      connection: { withDeadline: (_at: number, work: () => Promise<unknown>) => work() },
      workflow: {
        executeUpdateWithStart: async (
          operation: string,
          options: { updateId: string; startWorkflowOperation: { options: { workflowId: string } } },
        ) => {
          const owner = options.startWorkflowOperation.options.workflowId
          this.sent.push({ owner, operation, command: options.updateId })
          if (this.answer === undefined) throw new Error('Temporal is down')
          return this.answer(options.updateId, owner)
        },
        execute: async (_type: string, { args: [asked] }: { args: [PreviewInput] }) => {
          if (this.foresee === undefined) throw new Error('Temporal is down')
          return this.foresee(asked)
        },
        start: async (_type: string, options: { workflowId: string }) => {
          if (this.answer === undefined) throw new Error('Temporal is down')
          this.woken.push(options.workflowId)
        },
        signalWithStart: async (_type: string, options: { workflowId: string }) => {
          if (this.answer === undefined) throw new Error('Temporal is down')
          this.woken.push(options.workflowId)
        },
      },
    } as never,
  }
}
