import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { atRest, runOf } from '../support/duty.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, openCheckout, type Stack, startStack, subscribe } from '../support/stack.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- a catalogue file, in any shape
type File = any

describe('subscribers keep the version they bought', function () {
  this.timeout(180_000)
  const folder = mkdtempSync(join(tmpdir(), 'perennial-catalog-'))
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(async () => {
    await stack?.stop()
    rmSync(folder, { recursive: true })
  })
  afterEach(() => assertBooks(stack.database))

  /** Starts the worker again with another catalogue file. */
  async function sell(version: string, change: (file: File) => void): Promise<void> {
    const file = JSON.parse(readFileSync(new URL('../../catalog.json', import.meta.url), 'utf8'))
    change(file)
    stack.config.catalogFile = join(folder, `${version}.json`)
    writeFileSync(stack.config.catalogFile, JSON.stringify({ ...file, version }))
    await stack.stopWorker()
    await stack.startWorker()
  }

  const grants = async (account: string) =>
    (
      await stack.database.pool.query<{ amount: string; price: string }>(
        `select trim_scale(amount)::text as amount, source ->> 'price' as price
           from posting where account_id = $1 and kind = 'grant' order by seq`,
        [account],
      )
    ).rows
  const order = (account: string, plan: string, interval = 'month') =>
    stack.ask('POST', '/v1/subscriptions', {
      account,
      plan,
      interval,
      success_url: 'https://example.com/ok',
      cancel_url: 'https://example.com/no',
    })
  const newAccount = async () => (await stack.call<{ id: string }>('POST', '/v1/accounts', {})).body.id

  it('whoever bought v1 renews with v1’s credits after v2 went on sale; whoever buys then gets v2’s', async () => {
    const monthly = await subscribe(stack, 'tier_2_20')
    const yearly = await subscribe(stack, 'tier_2_20', 'year')
    const waiting = await openCheckout(stack, 'tier_2_20')
    await sell('v2', (file) => (file.plans[1].credits = '25'))
    const { body } = await stack.call<{ version: string; data: { id: string; credits: string }[] }>(
      'GET',
      '/v1/catalog',
    )
    assert.equal(body.version, 'v2')
    assert.equal(body.data.find(({ id }) => id === 'tier_2_20')?.credits, '25')

    // a page that was opened before is paid at the price that it showed
    await stack.control(`checkout/${waiting.session}/pay`, {})
    const late = await subscribe(stack, 'tier_2_20')
    await stack.clock.advance(stack.clock.now() + 33 * DAY_MS)
    const v1 = { amount: '20', price: 'tier_2_20.month.v1' }
    assert.deepEqual(await grants(monthly.account), [v1, v1])
    assert.deepEqual(await grants(waiting.account), [v1, v1])
    const v1Year = { amount: '20', price: 'tier_2_20.year.v1' }
    assert.deepEqual(await grants(yearly.account), [v1Year, v1Year])
    const v2 = { amount: '25', price: 'tier_2_20.month.v2' }
    assert.deepEqual(await grants(late.account), [v2, v2])
    assert.equal(await balanceOf(stack, monthly.account), '20')
  })

  it('refuses a checkout of a pack, of a free plan, and of what is sold with a commitment only', async () => {
    const account = await newAccount()
    for (const plan of ['credits_10', 'pack.credits_10.v1', 'nothing']) {
      const { status, body } = await order(account, plan)
      assert.deepEqual([plan, status, body['code']], [plan, 404, 'plan_not_found'])
    }
    const free = await order(account, 'free')
    assert.deepEqual([free.status, free.body['code']], [400, 'request_invalid'])
    await sell('v3', (file) => {
      file.plans[1].prices.splice(0, 2)
      delete file.plans[1].trial
    })
    const bound = await order(account, 'tier_2_20')
    assert.deepEqual([bound.status, bound.body['code']], [404, 'plan_not_found'])
    assert.equal((await order(account, 'tier_6_50')).status, 201)
  })

  it('the duty drift is on a schedule, and tells what somebody changed in Stripe', async () => {
    const [price] = (await stack.stripe.prices.list({ lookup_keys: ['tier_6_50.month.v3'] })).data
    assert.ok(price)
    const schedule = stack.temporal.schedule.getHandle(`duty/drift@${stack.config.taskQueue}`)
    const described = await schedule.describe()
    assert.deepEqual(
      described.spec.intervals?.map(({ every }) => every),
      [3_600_000],
    )
    const open = async () =>
      (
        await stack.database.pool.query<{ subject: string }>(
          `select subject from alert where kind = 'catalog_drift' and resolved_at is null`,
        )
      ).rows.map(({ subject }) => subject)
    await atRest(stack, 'drift')
    await stack.stripe.prices.update(price.id, { active: false })
    await runOf(stack, 'drift')
    assert.deepEqual(await open(), ['tier_6_50.month.v3'])
    await stack.stripe.prices.update(price.id, { active: true })
    await runOf(stack, 'drift')
    assert.deepEqual(await open(), [])
  })
})
