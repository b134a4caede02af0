/** A role of the product in a process of its own, so that a test can kill it where it stands. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Stack } from './stack.ts'

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

/** As long as a container has to end by itself. */
const STOP_WITHIN_MS = 30_000

export interface Role {
  /** asks it to end and resolves once it has, as a deployment does; rejects when it has to be killed */
  stop(): Promise<void>
  /** `kill -9`: no chance to say goodbye; resolves once it is gone */
  kill(): Promise<void>
  /** what it wrote so far */
  output(): string
}

/**
 * Starts `main.ts <role>` against the stack's parts and resolves once it says that it is ready.
 * @param other instead of the stack's own: a database through a proxy, say
 */
export async function startRole(
  stack: Pick<Stack, 'config' | 'deps' | 'database'> & { sandbox: Pick<Stack['sandbox'], 'url'> },
  role: 'api' | 'worker',
  other: { databaseUrl?: string; port?: number; env?: Record<string, string> } = {},
): Promise<Role> {
  const { config, deps } = stack
  const child: ChildProcess = spawn(process.execPath, ['--import', 'tsx', MAIN, role], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      PORT: String(other.port ?? config.port),
      DATABASE_URL: other.databaseUrl ?? stack.database.serviceUrl,
      TEMPORAL_ADDRESS: config.temporalAddress,
      TEMPORAL_TASK_QUEUE: config.taskQueue,
      STRIPE_SECRET_KEY: deps.stripe.apiKey,
      STRIPE_WEBHOOK_SECRET: deps.stripe.webhookSecrets.join(','),
      STRIPE_API_URL: stack.sandbox.url,
      ...other.env,
    },
  })
  let written = ''
  await new Promise<void>((resolve, reject) => {
    const read = (chunk: Buffer) => {
      written += chunk.toString()
      if (written.includes('"msg":"ready"')) resolve()
    }
    child.stdout?.on('data', read)
    child.stderr?.on('data', read)
    child.once('exit', (code) => reject(new Error(`the ${role} ended with ${code}:\n${written}`)))
  })
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
  return {
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const insist = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS)
      await end('SIGTERM')
      clearTimeout(insist)
      if (child.signalCode === 'SIGKILL') throw new Error(`the ${role} did not end when asked:\n${written}`)
    },
    kill: () => end('SIGKILL'),
    output: () => written,
  }
}
