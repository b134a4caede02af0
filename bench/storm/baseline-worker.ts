/** The baseline's worker, with the product's options. Counts the cycles that it has ended, in a file of one number. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker'
import { createLogger } from '../../src/log.ts'
import { installRuntime, WORKER_OPTIONS } from '../../src/main.ts'

const [address = '', taskQueue = '', counter = ''] = process.argv.slice(2)
const log = createLogger('info')
installRuntime(log)
const connection = await NativeConnection.connect({ address })
let ended = 0
const worker = await Worker.create({
  ...WORKER_OPTIONS,
  connection,
  taskQueue,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('./baseline-workflow.ts', import.meta.url)),
    logger: new DefaultLogger('WARN'),
  }),
  activities: {
    async nothing(last: boolean) {
      if (last) ended += 1
    },
  },
})
const running = worker.run()
const telling = setInterval(() => writeFileSync(counter, String(ended)), 100)
process.once('SIGTERM', () => worker.shutdown())
log.info('ready')
await running
clearInterval(telling)
await connection.close()
