import assert from 'node:assert/strict'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { balanceOf, eventually, settled, type Stack, startStack, subscribe, wake } from '../support/stack.ts'

describe('the workflow of a subscription', function () {
  this.timeout(120_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  afterEach(() => assertBooks(stack.database))

  const grants = async (account: string) =>
    (
      await stack.database.pool.query(`select 1 from posting where account_id = $1 and kind = 'grant'`, [
        account,
      ])
    ).rowCount
  const statusOf = async (id: string) => (await stack.temporal.workflow.getHandle(id).describe()).status.name

  it('refuses an update of the wrong shape and lives on', async () => {
    const { subscription } = await subscribe(stack)
    const handle = stack.temporal.workflow.getHandle(subscription)
    await assert.rejects(handle.executeUpdate('cancel', { args: [{ command: 'not one of ours' }] }))
    await assert.rejects(handle.executeUpdate('unheard_of', { args: [] }))
    assert.equal(await statusOf(subscription), 'RUNNING')
  })

  it('an update for a command that does not exist fails alone', async () => {
    const { subscription } = await subscribe(stack)
    const handle = stack.temporal.workflow.getHandle(subscription)
    await assert.rejects(handle.executeUpdate('cancel', { args: [{ command: 'cmd_nobody' }] }))
    assert.equal(await statusOf(subscription), 'RUNNING')
  })

  it('continues as new each period, under a rain of wakes, and misses nothing', async () => {
    const { account, subscription } = await subscribe(stack)
    const first = (await stack.temporal.workflow.getHandle(subscription).describe()).runId
    const renewal = stack.clock.advance(stack.clock.now() + 31 * DAY_MS + 2 * 3_600_000)
    await Promise.all([renewal, ...Array.from({ length: 40 }, () => wake(stack, subscription))])
    await settled(stack)
    await eventually('the next run', async () => {
      const { runId, status } = await stack.temporal.workflow.getHandle(subscription).describe()
      return runId !== first && status.name === 'RUNNING'
    })
    assert.equal(await grants(account), 2)
  })

  it('waits on after it was continued, looks at nothing twice, and shows what was seen', async () => {
    const { subscription } = await subscribe(stack)
    const handle = stack.temporal.workflow.getHandle(subscription)
    const first = (await handle.describe()).runId
    const historyOf = async () => (await handle.fetchHistory()).events ?? []
    const looks = async () =>
      (await historyOf()).filter((event) => event.activityTaskScheduledEventAttributes).length
    const { current_period_end: end } = (await stack.call('GET', `/v1/subscriptions/${subscription}`)).body
    // no wake but the clock's, so that nothing makes the next run look
    await stack.control('webhooks', { drop: {} })
    try {
      await stack.clock.advance(Date.parse(String(end)) + 30 * 60_000)
      const timer = await eventually('the next run waits', async () => {
        if ((await handle.describe()).runId === first) return undefined
        return (await historyOf()).find((event) => event.timerStartedEventAttributes)
      })
      assert.equal(await looks(), 0)
      // until the draft's hour is over
      const seconds = Number(timer.timerStartedEventAttributes?.startToFireTimeout?.seconds ?? 0)
      assert.ok(seconds > 0 && seconds <= 2 * 3_600, `${seconds}`)
      const metadata = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata')
      assert.match(metadata.currentDetails ?? '', /granted 20 credits/)
    } finally {
      await stack.control('webhooks', { drop: false })
    }
    await wake(stack, subscription)
    await eventually('it looks when it is woken', async () => (await looks()) > 0)
  })

  it('answers every command that races the turn of the period', async () => {
    const { account, subscription } = await subscribe(stack)
    const renewal = stack.clock.advance(stack.clock.now() + 31 * DAY_MS + 2 * 3_600_000)
    const cancels = Array.from({ length: 5 }, (_, n) =>
      stack.call('POST', `/v1/subscriptions/${subscription}/cancel`, {}, `during-renewal-${n}`),
    )
    await renewal
    for (const answer of await Promise.all(cancels)) assert.ok([200, 202, 409].includes(answer.status))
    await settled(stack)
    await eventually('no command is left', async () => {
      const { rowCount } = await stack.database.pool.query(
        `select 1 from command where scope = $1 and state = 'pending'`,
        [account],
      )
      return rowCount === 0
    })
    // cancelled before or after it was renewed: what was paid for is there, once
    const paid = (await stack.stripe.invoices.list({ subscription, status: 'paid' })).data.length
    assert.equal(await grants(account), paid)
    assert.equal(await balanceOf(stack, account), '20')
  })

  it('starts again from nothing when it is woken after its end, and ends again', async () => {
    const { account, subscription } = await subscribe(stack)
    await stack.stripe.subscriptions.cancel(subscription)
    await settled(stack)
    await eventually('it ended', async () => (await statusOf(subscription)) === 'COMPLETED')
    await wake(stack, subscription)
    await eventually('it ended again', async () => {
      let runs = 0
      for await (const run of stack.temporal.workflow.list({ query: `WorkflowId = '${subscription}'` })) {
        if (run.status.name === 'COMPLETED') runs += 1
      }
      return runs >= 2
    })
    assert.equal(await grants(account), 1)
  })

  it('shows what a support person asks for: attributes, summary, details', async () => {
    const { account, subscription } = await subscribe(stack)
    const seen = await eventually('the attributes', async () => {
      for await (const run of stack.temporal.workflow.list({
        query: `PerennialAccount = '${account}' and PerennialStatus = 'active'`,
      })) {
        return run
      }
      return undefined
    })
    assert.equal(seen.workflowId, subscription)
    const metadata = await stack.temporal.workflow
      .getHandle(subscription)
      .query<{ currentDetails?: string }>('__temporal_workflow_metadata')
    assert.match(metadata.currentDetails ?? '', /tier_2_20/)
    assert.match(metadata.currentDetails ?? '', new RegExp(account))
  })
})
