/** What the product is measured against: as many activities, timers and continued runs as a renewal, and no work. */
import { condition, continueAsNew, proxyActivities, setHandler, sleep } from '@temporalio/workflow'
import { wakeSignal } from '../../src/workflows/message.ts'

/** What one renewal was seen to do, besides continuing as new once. */
export interface Shape {
  activities: number
  timers: number
}

// time-outs and retries as in src/workflows/proxy.ts: they cost timers of the server
const { nothing } = proxyActivities<{ nothing: () => Promise<void> }>({
  startToCloseTimeout: '60 seconds',
  heartbeatTimeout: '10 seconds',
  scheduleToCloseTimeout: '10 minutes',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '30 seconds' },
})

const GATHER_MS = 500
const LONGEST_WAIT_MS = 30 * 24 * 3_600_000

/** One cycle for each wake: gather, act, continue as new, wait. */
export async function baseline(shape: Shape): Promise<void> {
  let woken = false
  setHandler(wakeSignal, () => {
    woken = true
  })
  await condition(() => woken, LONGEST_WAIT_MS)
  await sleep(GATHER_MS)
  // one timer waits for the wake, one gathers
  for (let timer = 2; timer < shape.timers; timer += 1) await sleep(1)
  for (let activity = 0; activity < shape.activities; activity += 1) await nothing()
  await continueAsNew<typeof baseline>(shape)
}
