/**
 * `npm run test:contract`: the road of every call to Stripe in the sandbox; against Stripe's own mock, which Go installs
 * into the cache folder when there is Go; and in a test account, when STRIPE_SECRET_KEY is a test key.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { loadConfig } from '../../src/config.ts'
import { type ServerProcess, startServer, waitUntilReady } from '../../src/sandbox/child.ts'
import { freePort } from '../../src/sandbox/ports.ts'

const VERSION = 'v0.203.0'

async function main(): Promise<void> {
  const { STRIPE_SECRET_KEY: key = '', PERENNIAL_CACHE_DIR, XDG_CACHE_HOME } = process.env
  if (key.includes('_live_'))
    throw new Error('STRIPE_SECRET_KEY is a live key: the contract is only tried in a test account')
  const { cacheDir } = loadConfig({ PERENNIAL_CACHE_DIR, XDG_CACHE_HOME })
  const env = { ...process.env }
  const mock = await startMock(join(cacheDir, 'stripe-mock', VERSION))
  if (mock === undefined) console.log('Go is not installed: nothing is asked of stripe-mock')
  else env['CONTRACT_MOCK_URL'] = mock.url
  if (/^[sr]k_test_/.test(key)) env['CONTRACT_STRIPE_KEY'] = key
  else console.log('STRIPE_SECRET_KEY is no test key: nothing is asked of Stripe itself')
  try {
    const args = ['node_modules/mocha/bin/mocha.js', 'test/contract/road.test.ts']
    const mocha = spawn(process.execPath, args, { stdio: 'inherit', env })
    const [code] = (await once(mocha, 'exit')) as [number | null]
    process.exitCode = code ?? 1
  } finally {
    await mock?.server.stop()
  }
}

/** @returns undefined without Go */
async function startMock(folder: string): Promise<{ server: ServerProcess; url: string } | undefined> {
  const program = join(folder, 'stripe-mock')
  if (!existsSync(program)) {
    if (spawnSync('go', ['version']).status !== 0) return undefined
    console.log(`installing stripe-mock ${VERSION}, about a minute`)
    mkdirSync(folder, { recursive: true })
    const installed = spawnSync('go', ['install', `github.com/stripe/stripe-mock@${VERSION}`], {
      stdio: 'inherit',
      env: { ...process.env, GOBIN: folder },
    })
    if (installed.status !== 0) throw new Error('go could not install stripe-mock')
  }
  const [http, https] = [await freePort(), await freePort()]
  const server = await startServer({
    command: program,
    // both: the one that is left out would listen on every address
    args: ['-http-addr', `127.0.0.1:${http}`, '-https-addr', `127.0.0.1:${https}`],
    logFile: join(folder, 'stripe-mock.log'),
    stopSignal: 'SIGTERM',
    graceMs: 5_000,
  })
  const url = `http://127.0.0.1:${http}`
  await waitUntilReady(server, 'stripe-mock', 10_000, () =>
    fetch(url).then(
      () => true,
      () => false,
    ),
  )
  return { server, url }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
