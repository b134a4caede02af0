/**
 * `npm run demo`: a story against the running stack, through the public HTTP API and Stripe's protocol only. It ends
 * with a table of what happened and the proof that the books balance; it fails when one of them is not as it must be.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Stripe from 'stripe'
import { readConfig } from '../config.ts'
import { Exact } from '../domain/credits.ts'

const config = readConfig()
const api = `http://127.0.0.1:${config.port}`
const sandbox = `http://127.0.0.1:${config.stripeSandboxPort}`
const apiKey = config.apiKey ?? readKey()
const stripe = new Stripe('sk_test_demo', {
  host: '127.0.0.1',
  port: config.stripeSandboxPort,
  protocol: 'http',
})
const story: { day: string; what: string; balance: string }[] = []

interface Posting {
  kind: string
  amount: string
  balance_after: string
  source: Record<string, string>
}

const account = (await call<{ id: string }>('POST', '/v1/accounts', { metadata: { from: 'demo' } })).body.id
await tell(`account ${account}`)

const order = await call<{ id: string; checkout: { id: string; url: string } }>('POST', '/v1/subscriptions', {
  account,
  plan: 'tier_2_20',
  interval: 'month',
  success_url: 'https://example.com/thanks?session={CHECKOUT_SESSION_ID}',
  cancel_url: 'https://example.com/pricing',
})
await tell(`hosted checkout ${order.body.checkout.id} of Starter, $20 a month`)
await control(`checkout/${order.body.checkout.id}/pay`, { payment_method: 'pm_card_visa' })
const session = await stripe.checkout.sessions.retrieve(order.body.checkout.id)
const subscription = session.subscription as string
await until('the first credits', async () => (await balance()) === '20')
await tell(`paid; ${subscription} granted 20`)

const spendKey = randomUUID()
const first = await spend('3.25', spendKey)
await tell(`spent 3.25 on chat (${String(first.body['id'])})`)
const replay = await spend('3.25', spendKey)
check(
  'a replay answers as first given',
  replay.body.id === first.body.id && replay.headers.get('idempotent-replayed') === 'true',
)
await tell('the same request again: the same answer, nothing spent')
const refused = await spend('1000', randomUUID())
check('an overdraft is refused', refused.status === 402 && refused.body['code'] === 'insufficient_credits')
await tell('1000 asked for: 402 insufficient_credits')

await control('webhooks', { double: true, reorder: true })
for (let renewal = 1; renewal <= 3; renewal++) {
  const lost = renewal === 2
  if (lost) await control('webhooks', { drop: { types: ['invoice.paid'], count: 1 } })
  const before = await stripe.subscriptions.retrieve(subscription)
  // an hour for the draft and some more
  const end = (before.items.data[0]?.current_period_end ?? 0) + 2 * 3600
  await control('clock/advance', { to: end })
  await until(
    `renewal ${renewal}`,
    async () => (await postings()).filter(({ kind }) => kind === 'grant').length === renewal + 1,
  )
  await tell(
    `renewal ${renewal}: webhooks twice and out of order${lost ? ', invoice.paid never' : ''}; the rest lapsed, 20 granted`,
  )
  await spend(String(renewal), randomUUID())
  await tell(`spent ${renewal}`)
}
await control('webhooks', { double: false, reorder: false, drop: false })

print()
await prove()
process.stdout.write(
  `\nThe life of it in the Temporal UI: http://127.0.0.1:${config.temporalUiPort}/namespaces/${config.temporalNamespace}/workflows/${subscription}\n`,
)

async function prove(): Promise<void> {
  const entries = (await postings()).reverse()
  const now = (
    await call<{ balance: string; debt: string; lots: { remaining: string }[] }>(
      'GET',
      `/v1/accounts/${account}/balance`,
    )
  ).body
  const sum = entries.reduce((total, { amount }) => total.plus(amount), new Exact(0))
  const lots = now.lots.reduce((total, { remaining }) => total.plus(remaining), new Exact(0)).minus(now.debt)
  let running = new Exact(0)
  const chained = entries.every(({ amount, balance_after }) => {
    running = running.plus(amount)
    return running.eq(balance_after)
  })
  const { customer } = await stripe.subscriptions.retrieve(subscription)
  const oracle = await control<{ paid: { invoice: string; amount: number }[] }>(
    `oracle/${customer as string}`,
  )
  const granted = entries.filter(({ kind }) => kind === 'grant').map(({ source }) => source['invoice'])
  process.stdout.write('\nThe books:\n')
  check(`Σ of ${entries.length} postings = balance (${sum.toFixed()} = ${now.balance})`, sum.eq(now.balance))
  check(
    `what the lots hold less the debt = balance (${lots.toFixed()} = ${now.balance})`,
    lots.eq(now.balance),
  )
  check('each posting continues the balance of the one before', chained)
  check(
    `Stripe was paid ${oracle.paid.length} invoices, and each granted once`,
    oracle.paid.length === granted.length &&
      oracle.paid.every(({ invoice }) => granted.filter((id) => id === invoice).length === 1),
  )
}

function check(fact: string, holds: boolean): void {
  process.stdout.write(`  ${holds ? '✔' : '✘'} ${fact}\n`)
  if (!holds) process.exitCode = 1
}

function print(): void {
  const width = Math.max(...story.map(({ what }) => what.length))
  process.stdout.write(`\n${'date'.padEnd(10)}  ${'what happened'.padEnd(width)}  ${'balance'.padStart(8)}\n`)
  process.stdout.write(`${'─'.repeat(10)}  ${'─'.repeat(width)}  ${'─'.repeat(8)}\n`)
  for (const { day, what, balance: left } of story) {
    process.stdout.write(`${day}  ${what.padEnd(width)}  ${left.padStart(8)}\n`)
  }
}

async function tell(what: string): Promise<void> {
  const clock = await control<{ now: string }>('clock')
  story.push({ day: clock.now.slice(0, 10), what, balance: await balance() })
  process.stdout.write(`· ${what}\n`)
}

function spend(amount: string, key: string) {
  return call('POST', `/v1/accounts/${account}/spend`, { amount, feature: 'chat' }, key)
}

async function balance(): Promise<string> {
  return (await call<{ balance: string }>('GET', `/v1/accounts/${account}/balance`)).body.balance
}

async function postings(): Promise<Posting[]> {
  return (await call<{ data: Posting[] }>('GET', `/v1/accounts/${account}/ledger?limit=100`)).body.data
}

async function call<T = Record<string, unknown>>(
  method: string,
  path: string,
  body?: unknown,
  key: string = randomUUID(),
) {
  const answer = await fetch(api + path, {
    method,
    headers: {
      authorization: `Bearer ${apiKey}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'idempotency-key': key }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const json = (await answer.json()) as T
  if (answer.status >= 400 && answer.status !== 402) {
    throw new Error(`${method} ${path} answered ${answer.status}: ${JSON.stringify(json)}`)
  }
  return { status: answer.status, headers: answer.headers, body: json }
}

async function control<T = Record<string, unknown>>(path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`${sandbox}/_sandbox/${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`the sandbox answered ${answer.status} to ${path}: ${text}`)
  return JSON.parse(text) as T
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`${what} did not come within half a minute`)
    await pause(100)
  }
}

function readKey(): string {
  try {
    return readFileSync(join(config.dataDir, 'api-key'), 'utf8').trim()
  } catch {
    process.stderr.write('no API key: start the stack first, with npm start, in this folder\n')
    return process.exit(1)
  }
}
