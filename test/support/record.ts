/**
 * `npm run record`: lives through one scenario of each shape on real parts and keeps the histories in
 * `test/fixtures/history`. Recorded histories are never changed: a new shape is a new file. `npm run record -- v2 free`
 * lives through those of free plans only.
 */
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'
import { createApiKey } from '../../src/store/api-key.ts'
import { DAY_MS } from './ledger.ts'
import { stopPostgres } from './postgres.ts'
import { eventually, openCheckout, type Stack, settled, startStack, subscribe } from './stack.ts'
import { stopTemporal } from './temporal.ts'

const FOLDER = new URL('../fixtures/history/', import.meta.url)
const [version, only] = process.argv.slice(2)
const SCENARIOS: Record<string, (stack: Stack) => Promise<void>> = {
  paid,
  free,
  changed,
  pack,
  topup,
  approvals,
}
if (version === undefined || !/^v\d+$/.test(version) || (only !== undefined && !(only in SCENARIOS)))
  throw new Error(`usage: npm run record -- v2 [${Object.keys(SCENARIOS).join(' | ')}]`)

/** A sticky task queue is named after the process and its host. */
const isProcess = (value: unknown) => typeof value === 'string' && /^\d+@/.test(value)

/** Every run of a workflow, oldest first, without what tells of this machine. */
async function record(stack: Stack, workflowId: string, scenario: string): Promise<void> {
  const runs = await eventually('visibility', async () => {
    const found: { runId: string; startTime: Date }[] = []
    for await (const run of stack.temporal.workflow.list({ query: `WorkflowId = '${workflowId}'` }))
      found.push(run)
    return found.length > 0 && found.sort((a, b) => a.startTime.getTime() - b.startTime.getTime())
  })
  let number = 0
  for (const { runId } of runs) {
    const history = await stack.temporal.workflow.getHandle(workflowId, runId).fetchHistory()
    const json = JSON.parse(historyToJSON(history), (key, value: unknown) =>
      key === 'identity' || isProcess(value) ? 'recorded' : key === 'stackTrace' ? '' : value,
    )
    const file = new URL(`${scenario}-${version}-${++number}.json`, FOLDER)
    if (existsSync(file))
      throw new Error(`${file.pathname} is there already: recorded histories stay as they are`)
    writeFileSync(file, `${JSON.stringify({ workflowId, history: json })}\n`)
  }
}

async function paid(stack: Stack): Promise<void> {
  const monthly = await subscribe(stack)
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  await stack.call('POST', `/v1/subscriptions/${monthly.subscription}/cancel`, {})
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  await record(stack, monthly.subscription, 'subscription-renewed-and-cancelled')
  await record(stack, `checkout/${monthly.order}`, 'checkout-paid')

  const yearly = await subscribe(stack, 'tier_2_20', 'year')
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  await stack.stripe.subscriptions.cancel(yearly.subscription)
  await settled(stack)
  await record(stack, yearly.subscription, 'subscription-yearly-ended')

  const abandoned = await openCheckout(stack)
  await stack.clock.advance(stack.clock.now() + DAY_MS)
  await record(stack, `checkout/${abandoned.order}`, 'checkout-abandoned')

  const troubled = await subscribe(stack, 'tier_6_50')
  await stack.database.owner.query(
    `update catalog_price set terms = jsonb_set(terms, '{credits}', '"many"') where plan = 'tier_6_50'`,
  )
  await stack.clock.jump(stack.clock.now() + 33 * DAY_MS)
  await stack.sandbox.deliverDue()
  await eventually('it asks for a person', async () => {
    const { rowCount } = await stack.database.pool.query(`select 1 from alert where subject = $1`, [
      troubled.subscription,
    ])
    return (rowCount ?? 0) > 0
  })
  await record(stack, troubled.subscription, 'subscription-needs-attention')
}

async function free(stack: Stack): Promise<void> {
  const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
  const { body } = await stack.call<{ id: string }>('POST', '/v1/subscriptions', { account, plan: 'free' })
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  const { account: buyer, subscription } = await subscribe(stack)
  const beside = await stack.call<{ id: string }>('POST', '/v1/subscriptions', {
    account: buyer,
    plan: 'free',
  })
  await stack.stripe.subscriptions.cancel(subscription)
  await settled(stack)
  await record(stack, beside.body.id, 'free-beside-paid')
  await stack.call('POST', `/v1/subscriptions/${body.id}/cancel`, {})
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  await record(stack, body.id, 'free-renewed-and-cancelled')
}

async function changed(stack: Stack): Promise<void> {
  const { account, subscription } = await subscribe(stack)
  const change = (body: object) => stack.call('POST', `/v1/subscriptions/${subscription}/change`, body)
  await change({ plan: 'tier_6_50' })
  await settled(stack)
  await change({ plan: 'tier_2_20' })
  await stack.call('DELETE', `/v1/subscriptions/${subscription}/pending_change`)
  await change({ plan: 'tier_2_20' })
  await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
  await stack.call('POST', '/v1/portal_sessions', { account, return_url: 'https://example.com' })
  await record(stack, subscription, 'subscription-upgraded-and-downgraded')

  const failing = await subscribe(stack)
  const { customer } = await stack.stripe.subscriptions.retrieve(failing.subscription)
  const bad = await stack.stripe.paymentMethods.attach('pm_card_chargeCustomerFail', {
    customer: customer as string,
  })
  await stack.stripe.subscriptions.update(failing.subscription, { default_payment_method: bad.id })
  await stack.clock.advance(stack.clock.now() + 34 * DAY_MS)
  const open = (await stack.stripe.invoices.list({ subscription: failing.subscription, status: 'open' }))
    .data[0]
  await stack.control(`invoices/${open?.id}/pay`, {})
  await settled(stack)
  await record(stack, failing.subscription, 'subscription-dunned-and-recovered')
}

interface Bought {
  id: string
  checkout: { id: string }
}

/** A new account's order of a pack. */
async function order(
  stack: Stack,
  account?: string,
): Promise<{ account: string; id: string; session: string }> {
  const buyer = account ?? (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
  const { body } = await stack.call<Bought>('POST', '/v1/purchases', {
    account: buyer,
    pack: 'credits_10',
    save_payment_method: true,
    success_url: 'https://example.com/ok',
    cancel_url: 'https://example.com/no',
  })
  return { account: buyer, id: body.id, session: body.checkout.id }
}

async function pack(stack: Stack): Promise<void> {
  const paid = await order(stack)
  await stack.control(`checkout/${paid.session}/pay`, {})
  await settled(stack)
  await record(stack, `checkout/${paid.id}`, 'checkout-pack-paid')

  const debited = await order(stack)
  await stack.control(`checkout/${debited.session}/pay`, { method: 'bank_debit' })
  await stack.clock.advance(stack.clock.now() + 8 * DAY_MS)
  await record(stack, `checkout/${debited.id}`, 'checkout-pack-processing')

  const late = await order(stack)
  await stack.control(`checkout/${late.session}/abandon`, {})
  await settled(stack)
  await stack.stripe.paymentIntents.create({
    amount: 1000,
    currency: 'usd',
    payment_method: 'pm_card_visa',
    confirm: true,
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: { perennial_account: late.account, perennial_order: late.id },
  })
  await settled(stack)
  await record(stack, `checkout/${late.id}`, 'checkout-pack-late')
}

async function topup(stack: Stack): Promise<void> {
  const { account, session } = await order(stack)
  await stack.control(`checkout/${session}/pay`, {})
  await settled(stack)
  const { customer } = await stack.stripe.checkout.sessions.retrieve(session)
  await stack.call('POST', `/v1/accounts/${account}/top_up`, {
    enabled: true,
    pack: 'credits_10',
    threshold: '5',
    monthly_max_minor: '10000',
    return_url: 'https://example.com/credits',
  })
  const spend = (amount: string) => stack.call('POST', `/v1/accounts/${account}/spend`, { amount })
  await spend('8')
  await settled(stack)
  const charge = async (card: string) => {
    const method = await stack.stripe.paymentMethods.attach(card, { customer: customer as string })
    const invoice_settings = { default_payment_method: method.id }
    await stack.stripe.customers.update(customer as string, { invoice_settings })
  }
  // the bank declines, then wants the customer, then declines a third time
  await charge('pm_card_chargeCustomerFail')
  await spend('8')
  await settled(stack)
  await charge('pm_card_authenticationRequired')
  await stack.clock.advance(stack.clock.now() + DAY_MS / 12)
  await charge('pm_card_chargeCustomerFail')
  await stack.clock.advance(stack.clock.now() + 2 * DAY_MS)
  await record(stack, `topup/${account}`, 'topup-declined-and-stopped')
}

async function approvals(stack: Stack): Promise<void> {
  const account = (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id
  const key = await createApiKey(stack.database.owner, { name: 'second', scopes: ['adjustments'] })
  /** Asked by another person than the stack's own. */
  const ask = async (direction: 'credit' | 'debit') => {
    const answer = await fetch(`${stack.apiUrl}/v1/adjustments`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${key}`,
        'content-type': 'application/json',
        'idempotency-key': randomUUID(),
      },
      body: JSON.stringify({ account, direction, amount: '5', reason_code: 'recorded' }),
    })
    const { id } = (await answer.json()) as { id: string }
    await eventually('it waits', async () => {
      const run = await stack.temporal.workflow
        .getHandle(`approval/${id}`)
        .describe()
        .catch(() => undefined)
      return run !== undefined && run.historyLength > 8
    })
    return id
  }
  const [approved, stale, rejected] = [await ask('credit'), await ask('debit'), await ask('debit')]
  await stack.call('POST', `/v1/approvals/${approved}/approve`, {})
  await stack.call('POST', `/v1/accounts/${account}/spend`, { amount: '1' })
  await stack.call('POST', `/v1/approvals/${stale}/approve`, {})
  await stack.call('POST', `/v1/approvals/${rejected}/reject`, { reason_code: 'recorded' })
  const expired = await ask('debit')
  await stack.clock.advance(stack.clock.now() + DAY_MS)
  await record(stack, `approval/${approved}`, 'approval-approved')
  await record(stack, `approval/${stale}`, 'approval-stale')
  await record(stack, `approval/${rejected}`, 'approval-rejected')
  await record(stack, `approval/${expired}`, 'approval-expired')
}

mkdirSync(FOLDER, { recursive: true })
const stack = await startStack()
try {
  for (const [name, scenario] of Object.entries(SCENARIOS))
    if (only === undefined || only === name) await scenario(stack)
} finally {
  await stack.stop()
  await stopTemporal()
  await stopPostgres()
}
