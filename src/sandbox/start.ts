/**
 * `npm start`: the whole product on a bare machine. Owns the progress display, the addresses it prints, and the
 * order of stopping; what is started is in `stack.ts`.
 */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Listr } from 'listr2'
import { readConfig } from '../config.ts'
import { createLogger } from '../log.ts'
import { claimDataDir } from './data-dir.ts'
import { createStack, PARTS, type Stack } from './stack.ts'

/** npm passes a Ctrl-C on beside the terminal's own, so one press may arrive twice. */
const SAME_PRESS_MS = 1_000

/** A part that is being started when we are asked to stop gets this long to become something that can be stopped. */
const STARTING_GRACE_MS = 15_000

class Interrupted extends Error {}

const say = (text: string) => process.stdout.write(`${text}\n`)

async function main(): Promise<void> {
  const config = readConfig()
  const release = claimDataDir(config.dataDir)
  const log = createLogger(config.logLevel, join(config.dataDir, 'perennial.log'))
  const end = awaitEnd(log)
  const stack = createStack(config, log, (part) => end.because(new Error(`${part} ended by itself`)))
  const starting = bringUp(stack, () => end.requested())
  let failure: Error | undefined
  try {
    await Promise.race([starting, end.reason])
    say(welcome(stack))
    log.info({ api: stack.apiUrl }, 'everything is up')
    await end.reason
  } catch (error) {
    failure = error as Error
  }
  if (failure && !(failure instanceof Interrupted)) {
    log.error({ err: failure }, 'stopping after a failure')
    say(`\n${failure.message}${logHint(failure, stack)}`)
  }
  end.because(new Interrupted()) // what ends from here on was asked to
  await Promise.race([starting.catch(() => {}), pause(STARTING_GRACE_MS)])
  await takeDown(stack)
  release()
  process.exit(failure instanceof Interrupted ? 0 : 1)
}

/** Starts one part after the other until all are up, one fails, or `interrupted` says no more. */
async function bringUp(stack: Stack, interrupted: () => boolean): Promise<void> {
  let failure: Error | undefined
  const tasks = PARTS.map((part) => ({
    title: part.title,
    async task(_: unknown, task: { title: string }) {
      if (interrupted()) throw new Interrupted('not started')
      const begun = Date.now()
      const where = await part.start(stack).catch((error: Error) => {
        failure = error // told once, in full, after the display has ended
        throw new Error('see below')
      })
      task.title = `${part.title.padEnd(10)} ${where} (${((Date.now() - begun) / 1000).toFixed(1)} s)`
    },
  }))
  const display = new Listr(tasks, {
    registerSignalListeners: false,
    fallbackRenderer: 'simple',
    rendererOptions: { showErrorMessage: false },
  })
  await display.run().catch((error: Error) => {
    throw failure ?? error
  })
}

/** In reverse order of starting. A part that will not stop must not keep the others from it. */
async function takeDown(stack: Stack): Promise<void> {
  for (const started of stack.stops) {
    say(`stopping ${started.part}`)
    await started.stop().catch((error: unknown) => {
      stack.log.error({ err: error, part: started.part }, 'did not stop well')
    })
  }
  say('stopped')
}

/**
 * The one reason to end, whichever comes first: a signal, or a part that ended by itself. `reason` rejects with
 * it. A second press gives up waiting; the watchdog then stops the servers.
 */
function awaitEnd(log: Stack['log']) {
  let reject: (error: Error) => void = () => {}
  const reason = new Promise<never>((_, fail) => {
    reject = fail
  })
  reason.catch(() => {})
  let requested = false
  const because = (error: Error) => {
    requested = true
    reject(error)
  }
  let pressedAt = 0
  const onSignal = (signal: NodeJS.Signals) => {
    if (pressedAt > 0 && Date.now() - pressedAt > SAME_PRESS_MS) process.exit(130)
    if (pressedAt > 0) return
    pressedAt = Date.now()
    say(`\n${signal}: stopping; once more to stop at once`)
    log.info({ signal }, 'asked to stop')
    because(new Interrupted())
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  return { reason, because, requested: () => requested }
}

function welcome({ config, apiKey, apiUrl, temporalUiUrl, mailUrl, stripe }: Stack): string {
  const live = /^[sr]k_live_/.test(stripe.apiKey)
  const addresses = [
    ['API', apiUrl],
    ['its docs', `${apiUrl}/docs`],
    [
      'Temporal UI',
      temporalUiUrl &&
        `${temporalUiUrl}/namespaces/${config.temporalNamespace}/workflows?query=WorkflowType%3D%22subscription%22`,
    ],
    ['Stripe sandbox', stripe.sandboxUrl],
    ['mailbox', mailUrl],
    ['data and logs', config.dataDir],
  ]
  const lines = addresses
    .filter(([, where]) => where)
    .map(([what, where]) => `  ${what?.padEnd(15)} ${where}`)
  const curl = `curl ${apiUrl}/v1/catalog -H 'Authorization: Bearer ${live ? '$PERENNIAL_API_KEY' : apiKey}'`
  return `\nPerennial is up.\n${lines.join('\n')}\n\nTry it:\n  ${curl}\n\nCtrl-C stops everything; the data stays.`
}

/** Where to look further; not after a problem whose message says it all. */
function logHint(failure: Error, { config }: Stack): string {
  return failure.name === 'Error' ? `\nMore in ${join(config.dataDir, 'perennial.log')}` : ''
}

main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error))
  process.exit(1)
})
