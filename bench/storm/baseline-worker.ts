/** The baseline's worker, with the product's options. */
import { fileURLToPath } from 'node:url'
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker'
import { createLogger } from '../../src/log.ts'
import { installRuntime, WORKER_OPTIONS } from '../../src/main.ts'

const [address = '', taskQueue = ''] = process.argv.slice(2)
const log = createLogger('info')
installRuntime(log)
const connection = await NativeConnection.connect({ address })
const worker = await Worker.create({
  ...WORKER_OPTIONS,
  connection,
  taskQueue,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('./baseline-workflow.ts', import.meta.url)),
    logger: new DefaultLogger('WARN'),
  }),
  activities: {
    async nothing() {},
  },
})
const running = worker.run()
process.once('SIGTERM', () => worker.shutdown())
log.info('ready')
await running
await connection.close()
