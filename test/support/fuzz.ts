/**
 * `npm run fuzz [-- seconds]`: schemathesis against the API on a real Postgres, by the API's own document. Ends with 1
 * when something was found, and with 2 when the fuzzer could not be installed. Everything it starts it ends.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { effectsOf } from '../../src/domain/effect.ts'
import { violations } from '../../src/ledger/invariant.ts'
import { finishCommand } from '../../src/store/command.ts'
import { type ApiUnderTest, fund, mirror, sell, startApi } from '../api/api-under-test.ts'
import { Workflows } from '../api/workflows.ts'
import { currentDocument } from './contract.ts'
import { stopPostgres } from './postgres.ts'

/** The version whose options and checks this file was written for. */
const FUZZER = 'schemathesis==4.32.5'
const INSTALL_MS = 300_000
/** How long the fuzzer repeats itself, and how much more its first phases may take. */
const DEFAULT_SECONDS = 120
const GRACE_SECONDS = 300

const seconds = Number(process.argv[2] ?? DEFAULT_SECONDS)
if (!Number.isInteger(seconds) || seconds < 1) throw new Error('usage: npm run fuzz -- 120 (seconds)')

const say = (text: string) => process.stdout.write(`${text}\n`)
const running = new Set<ReturnType<typeof spawn>>()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    for (const child of running) child.kill('SIGTERM')
  })

/** Runs a program to its end. @returns its exit code, or why there is none */
function run(program: string, args: string[], limitMs: number, cwd: string): Promise<number | string> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'], timeout: limitMs })
    running.add(child)
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => {
      running.delete(child)
      resolve(code ?? `ended by ${signal}`)
    })
  })
}

/** Makes a virtual environment with the fuzzer. @returns its program, or why there is none */
async function install(folder: string): Promise<{ program: string } | { why: string }> {
  const made = await run('python3', ['-m', 'venv', join(folder, 'venv')], INSTALL_MS, folder)
  if (made !== 0) return { why: `python3 -m venv: ${made}` }
  const pip = ['install', '--quiet', '--disable-pip-version-check', FUZZER]
  const installed = await run(join(folder, 'venv/bin/pip'), pip, INSTALL_MS, folder)
  if (installed !== 0) return { why: `pip install ${FUZZER}: ${installed}` }
  return { program: join(folder, 'venv/bin/schemathesis') }
}

/** What the workflows would do: a page for every order, a date for every cancellation. */
function answering(api: ApiUnderTest): Workflows['answer'] {
  return async (command, owner) => {
    if (!owner.startsWith('checkout/')) {
      return finishCommand(api.database.pool, command, { state: 'done', statusCode: 200, result: {} })
    }
    const order = owner.slice('checkout/'.length)
    const checkout = {
      id: `cs_${order}`,
      url: 'https://pay.example/1',
      expires_at: '2027-01-01T00:00:00.000Z',
    }
    await api.database.pool.query(
      `update checkout set state = 'open', session_id = $2, url = $3, expires_at = $4 where id = $1`,
      [order, checkout.id, checkout.url, checkout.expires_at],
    )
    return finishCommand(api.database.pool, command, { state: 'done', statusCode: 201, result: { checkout } })
  }
}

/** Things that exist, so that not every request ends at 404; by the name of the parameter that finds them. */
async function populate(api: ApiUnderTest): Promise<Record<string, string>> {
  const plan = 'tier_2_20'
  await sell(api.database, plan)
  const account: string = (await api.post('/v1/accounts', { external_id: 'fuzzed' })).body.id
  await fund(api.database, account, '1000000')
  await fund(api.database, account, '1000000')
  await mirror(api.database, { id: 'sub_fuzzed', account })
  await mirror(api.database, { id: 'sub_ended', account, status: 'canceled' })
  const other: string = (await api.post('/v1/accounts', {})).body.id
  const urls = { success_url: 'https://x.example/', cancel_url: 'https://x.example/' }
  const opened = await api.post('/v1/subscriptions', { account: other, plan, ...urls })
  const { rows } = await api.database.owner.query(`select id from command where operation = 'open'`)
  const buyer: string = (await api.post('/v1/accounts', {})).body.id
  return {
    account,
    buyer,
    plan,
    '/v1/subscriptions': opened.body.id,
    '/v1/commands': rows[0].id,
    cancel: 'sub_fuzzed',
  }
}

type Schema = Record<string, unknown>

interface Body {
  example?: Schema
  examples?: Record<string, { value: Schema }>
  schema: Shape & { oneOf?: Shape[]; anyOf?: Shape[] }
}

interface Shape {
  properties?: Record<string, Schema>
}

interface Parameter {
  in: string
  name: string
  example?: unknown
  schema: unknown
}

/** What no schema can say, of fields of bodies: that a time is to come, and where a webhook may go. */
const GOOD: Record<string, Schema> = {
  expires_at: { type: 'string', enum: ['2099-12-31T00:00:00.000Z', '2500-02-28T23:59:59.999+14:00'] },
  url: {
    type: 'string',
    enum: ['https://product.example/perennial', 'https://hooks.example.com:8443/a?b=c'],
  },
}

/** Fills in what only this API here knows of a body's fields: values that are good, and names of things that exist. */
function inform({ properties = {} }: Shape, ids: Record<string, string>): void {
  const { account, currency, plan } = properties
  if (account !== undefined) account['examples'] = [ids['buyer']]
  if (plan !== undefined) plan['examples'] = [ids['plan']]
  if (currency !== undefined) currency['examples'] = ['usd']
  for (const [field, good] of Object.entries(GOOD)) if (field in properties) properties[field] = good
}

/**
 * The API's document with ids that exist for examples, and for each list the cursors that it gives: no schema can say
 * what a cursor of ours looks like, and any other is refused.
 */
async function document(api: ApiUnderTest, ids: Record<string, string>): Promise<unknown> {
  const whole = (await currentDocument()) as unknown as {
    paths: Record<
      string,
      Record<string, { parameters?: Parameter[]; requestBody?: { content: Record<string, Body> } }>
    >
  }
  for (const [path, operations] of Object.entries(whole.paths)) {
    for (const { parameters = [], requestBody } of Object.values(operations)) {
      for (const { example, examples = {}, schema } of Object.values(requestBody?.content ?? {})) {
        for (const one of [example, ...Object.values(examples).map(({ value }) => value)])
          if (one?.['account'] !== undefined) one['account'] = ids['buyer']
        for (const shape of schema.oneOf ?? schema.anyOf ?? [schema]) inform(shape, ids)
      }
      for (const [index, parameter] of [...parameters.entries()].reverse()) {
        if (parameter.in === 'path' || parameter.name === 'account') {
          parameter.example =
            ids[parameter.name] ?? ids[path.endsWith('/cancel') ? 'cancel' : path.replace(/\/\{.*/, '')]
        }
        if (parameter.name === 'cursor') {
          const url = path.replace('{account}', ids['account'] ?? '')
          const needsAccount = parameters.some(({ name }) => name === 'account')
          const { body } = await api.get(`${url}?limit=1${needsAccount ? `&account=${ids['account']}` : ''}`)
          // a list with too little in it gives none
          if (typeof body.next_cursor === 'string') {
            parameter.schema = { type: 'string', enum: [body.next_cursor] }
          } else parameters.splice(index, 1)
        }
      }
    }
  }
  return whole
}

const configuration = (url: string, key: string) => `
base-url = ${JSON.stringify(url)}
max-time = ${seconds}
continue-on-failure = true

[auth.openapi.key]
bearer = ${JSON.stringify(key)}

# what valid data may be answered, beside success: who, what is there, what it costs and whether it is still so
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 402, 403, 404, 409]

# a cursor belongs to the list of one account: with another account it is refused
[[operations]]
include-path = ["/v1/accounts/{account}/ledger", "/v1/subscriptions"]
include-method = "GET"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 402, 403, 404, 409]

# a subscription may have no change pending, and an account no top-up
[[operations]]
include-path = ["/v1/subscriptions/{id}/pending_change", "/v1/accounts/{account}/top_up"]
checks.ensure_resource_availability.enabled = false

# nobody but Stripe can sign what Stripe sends
[[operations]]
include-path = "/webhooks/stripe"
checks.positive_data_acceptance.enabled = false
`

/** How often each route answered what: whether the fuzzer got anywhere. */
function answered(lines: string[]): string[] {
  const times = new Map<string, number>()
  for (const line of lines) {
    const { msg, method, route, status, code } = JSON.parse(line) as Record<string, string>
    if (msg !== 'request' || route === undefined) continue
    const what = `${method} ${route} ${status} ${code ?? ''}`
    times.set(what, (times.get(what) ?? 0) + 1)
  }
  return [...times]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, many]) => `${String(many).padStart(6)}  ${what}`)
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'perennial-fuzz-'))
  let api: ApiUnderTest | undefined
  try {
    const installed = await install(folder)
    if ('why' in installed) {
      say(`the fuzzer could not be installed, so nothing was tried: ${installed.why}`)
      return 2
    }
    const workflows = new Workflows()
    api = await startApi({ reach: workflows.reach })
    workflows.answer = answering(api)
    workflows.foresee = async () => ({
      at: new Date().toISOString(),
      refusal: null,
      effects: effectsOf({}),
      balance: null,
    })
    const ids = await populate(api)
    api.lines.length = 0
    const url = await api.app.listen({ port: 0, host: '127.0.0.1' })
    writeFileSync(join(folder, 'openapi.json'), JSON.stringify(await document(api, ids)))
    writeFileSync(join(folder, 'fuzz.toml'), configuration(url, api.key))
    const args = ['--config-file', 'fuzz.toml', 'run', 'openapi.json']
    const found = await run(installed.program, args, (seconds + GRACE_SECONDS) * 1_000, folder)
    const requests = api.lines.filter((line) => line.includes('"msg":"request"')).length
    const failures = api.lines.filter((line) => line.includes('"msg":"request failed"'))
    const broken = await violations(api.database.owner)
    for (const line of answered(api.lines)) say(line)
    for (const line of failures.slice(0, 5)) say(line)
    for (const violation of broken) say(JSON.stringify(violation))
    say(
      `${requests} requests, ${failures.length} failures of ours, ${broken.length} broken invariants; schemathesis ended with ${found}`,
    )
    return found === 0 && failures.length === 0 && broken.length === 0 && requests > 0 ? 0 : 1
  } finally {
    await api?.close()
    await stopPostgres()
    rmSync(folder, { recursive: true, force: true })
  }
}

process.exitCode = await main()
