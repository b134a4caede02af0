/** Lets the real server skip the waiting of one workflow: its own timer fires, nobody else's. */
import type { Client } from '@temporalio/client'

/** Moves the time of one workflow forward; its activities still run in the present. */
export async function fastForward(client: Client, id: string, ms: number): Promise<void> {
  await client.workflowService.updateWorkflowExecutionOptions({
    namespace: client.options.namespace,
    workflowExecution: { workflowId: id },
    workflowExecutionOptions: {
      timeSkippingConfig: {
        enabled: true,
        fastForwardConfig: {
          id: crypto.randomUUID(),
          duration: { seconds: Math.ceil(ms / 1000) as never, nanos: 0 },
        },
      },
    },
    updateMask: { paths: ['time_skipping_config'] },
  })
}
