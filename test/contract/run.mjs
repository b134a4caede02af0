/**
 * `npm run test:contract`: the road of every call to Stripe in the sandbox; against Stripe's own mock, which Go installs
 * into the cache folder when there is Go; and in a test account, when STRIPE_SECRET_KEY is a test key.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const VERSION = 'v0.203.0'
const { STRIPE_SECRET_KEY: key = '', PERENNIAL_CACHE_DIR, XDG_CACHE_HOME } = process.env
if (/_live_/.test(key)) {
  console.error('STRIPE_SECRET_KEY is a live key: the contract is only tried in a test account')
  process.exit(1)
}

const env = { ...process.env }
const mock = await startMock()
if (mock === undefined) console.log('Go is not installed: nothing is asked of stripe-mock')
else env.CONTRACT_MOCK_URL = mock.url
if (/^[sr]k_test_/.test(key)) env.CONTRACT_STRIPE_KEY = key
else console.log('STRIPE_SECRET_KEY is no test key: nothing is asked of Stripe itself')

try {
  const mocha = spawn(process.execPath, ['node_modules/mocha/bin/mocha.js', 'test/contract/road.test.ts'], {
    stdio: 'inherit',
    env,
  })
  process.exitCode = (await once(mocha, 'exit'))[0] ?? 1
} finally {
  mock?.child.kill()
}

/** @returns undefined without Go */
async function startMock() {
  const folder = join(
    PERENNIAL_CACHE_DIR || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'perennial'),
    'stripe-mock',
  )
  const program = join(folder, VERSION, 'stripe-mock')
  if (!existsSync(program)) {
    if (spawnSync('go', ['version']).status !== 0) return undefined
    console.log(`installing stripe-mock ${VERSION}, about a minute`)
    mkdirSync(join(folder, VERSION), { recursive: true })
    const installed = spawnSync('go', ['install', `github.com/stripe/stripe-mock@${VERSION}`], {
      stdio: 'inherit',
      env: { ...process.env, GOBIN: join(folder, VERSION) },
    })
    if (installed.status !== 0) throw new Error('go could not install stripe-mock')
  }
  const [http, https] = [await freePort(), await freePort()]
  // both: the one that is left out would listen on every address
  const args = ['-http-addr', `127.0.0.1:${http}`, '-https-addr', `127.0.0.1:${https}`]
  const child = spawn(program, args, { stdio: 'ignore' })
  const url = `http://127.0.0.1:${http}`
  for (let tries = 0; tries < 100; tries += 1) {
    const there = await fetch(url).then(
      () => true,
      () => false,
    )
    if (there) return { child, url }
    await pause(100)
  }
  child.kill()
  throw new Error('stripe-mock did not start')
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}
