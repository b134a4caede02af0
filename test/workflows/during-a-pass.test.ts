import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { WorkflowUpdateFailedError } from '@temporalio/client'
import { ApplicationFailure } from '@temporalio/common'
import { finishCommand, insertCommand, readCommand } from '../../src/store/command.ts'
import { transaction } from '../../src/store/connect.ts'
import { sendCommand, wakeOwner } from '../../src/workflows/owner.ts'
import { runOf } from '../support/duty.ts'
import { assertBooks, DAY_MS } from '../support/ledger.ts'
import { eventually, type Stack, startStack, subscribe } from '../support/stack.ts'

describe('a workflow that is in the middle of a pass, and one that is at rest', function () {
  this.timeout(120_000)
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack?.stop())
  beforeEach(() => stack.control('webhooks', { drop: false }))
  afterEach(() => assertBooks(stack.database))

  const handleOf = (id: string) => stack.temporal.workflow.getHandle(id)
  const wake = (id: string) =>
    wakeOwner({ client: stack.temporal, taskQueue: stack.config.taskQueue }, id, { reason: 'test' })
  const mirrorOf = async (id: string) =>
    (
      await stack.database.pool.query<{ observed_at: Date; cancel_at: Date | null }>(
        'select observed_at, cancel_at from subscription where id = $1',
        [id],
      )
    ).rows[0]

  /** A subscriber whose workflow waits: no wake of its beginning is still on its way. */
  async function atRest(): Promise<{ account: string; subscription: string }> {
    const subscriber = await subscribe(stack)
    await stack.control('webhooks', { drop: {} })
    for (let before = -1; ; ) {
      const { historyLength } = await handleOf(subscriber.subscription).describe()
      if (historyLength === before) return subscriber
      before = historyLength
      await pause(1_500)
    }
  }

  /** Does something while a pass has observed and cannot apply, because somebody else has the wallet. */
  async function duringPass(account: string, subscription: string, work: () => Promise<void>): Promise<void> {
    const client = await stack.database.owner.connect()
    try {
      await client.query('begin')
      await client.query('select 1 from wallet where account_id = $1 for update', [account])
      await wake(subscription)
      await eventually('the pass waits for the wallet', async () => {
        const { rowCount } = await stack.database.owner.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rowCount === 1
      })
      await work()
    } finally {
      await client.query('rollback')
      client.release()
    }
  }

  it('a wake that comes after the observation is a reason to look again', async () => {
    const { account, subscription } = await atRest()
    await duringPass(account, subscription, async () => {
      await stack.stripe.subscriptions.update(subscription, { cancel_at_period_end: true })
      await wake(subscription)
    })
    await eventually('it looked again', async () => (await mirrorOf(subscription))?.cancel_at !== null)
  })

  it('what another subscription of its account leaves owed before a payment is applied: it looks again', async () => {
    const { account, subscription } = await atRest()
    const { items } = await stack.stripe.subscriptions.retrieve(subscription)
    await stack.stripe.subscriptions.update(subscription, {
      items: [{ id: items.data[0]?.id ?? '', quantity: 2 }],
      proration_behavior: 'always_invoice',
    })
    await duringPass(account, subscription, async () => {
      await stack.database.owner.query(
        `insert into settlement (key, account_id, subscription_id, invoice_id, owed)
         values ('proration:in_other:p', $1, 'sub_other', 'in_other', 5)`,
        [account],
      )
    })
    const granted = await eventually('it granted', async () => {
      const { rows } = await stack.database.owner.query<{ amount: string; given_back: string | null }>(
        `select amount::text, source ->> 'given_back' as given_back from posting
          where account_id = $1 and reason_code = 'plan_change'`,
        [account],
      )
      return rows[0]
    })
    assert.equal(granted.given_back, '5')
    assert.match(granted.amount, /^1[45]\./)
  })

  it('a command that comes while the period turns is carried out before the run ends', async () => {
    const { account, subscription } = await atRest()
    await stack.clock.jump(stack.clock.now() + 32 * DAY_MS)
    let answer: Promise<unknown> = Promise.resolve()
    await duringPass(account, subscription, async () => {
      const update = await handleOf(subscription).startUpdate('cancel', {
        args: [{ command: 'cmd_nobody' }],
        waitForStage: 'ACCEPTED',
      })
      answer = update.result()
      answer.catch(() => {})
    })
    // refused by its own row, not lost with the run that had taken it
    await assert.rejects(answer, failure('CommandFailed'))
  })

  it('a command that is done, and not seen yet, is answered after a pass, by a run that never had it, too', async () => {
    const { account, subscription } = await atRest()
    const { pool } = stack.database
    const path = `/v1/subscriptions/${subscription}`
    const { body: before } = await stack.call('GET', path)
    // as it stands between the end of the command and the pass: done in Stripe, and not in our rows
    const command = {
      id: 'cmd_donebefore',
      scope: account,
      operation: 'cancel',
      key: 'again',
      content: { subscription: before['id'] },
      owner: subscription,
      input: { subscription: before['id'] as string },
    } as const
    await transaction(pool, (client) => insertCommand(client, command))
    await stack.stripe.subscriptions.update(subscription, { cancel_at_period_end: true })
    await finishCommand(pool, command.id, { state: 'done', statusCode: 200, result: {} })
    assert.equal(before['cancel_at'], null)
    const answer = await stack.ask('POST', `${path}/cancel`, {}, command.key)
    assert.deepEqual([answer.status, answer.body['cancel_at']], [200, before['current_period_end']])
  })

  it('a command that was given up is carried out by the same run when a sweep sends it again, and its key is answered', async () => {
    const { account, subscription } = await atRest()
    const path = `/v1/subscriptions/${subscription}`
    const { body: before } = await stack.call('GET', path)
    const reach = { client: stack.temporal, taskQueue: stack.config.taskQueue }
    const command = { id: 'cmd_givenup', owner: subscription, operation: 'cancel' } as const
    const givenUp = failure('CommandFailed')
    // there is no such row yet
    await assert.rejects(sendCommand(reach, command, 30_000), givenUp)
    await transaction(stack.database.pool, (client) =>
      insertCommand(client, {
        ...command,
        scope: account,
        key: 'given-up',
        content: { subscription: before['id'] },
        input: { subscription: before['id'] as string },
      }),
    )
    await assert.rejects(sendCommand(reach, command, 30_000), givenUp, 'the run remembers')
    await stack.database.owner.query('update command set next_attempt_at = clock_timestamp() where id = $1', [
      command.id,
    ])
    await runOf(stack, 'sweep')
    await eventually('it was done', async () => {
      const row = await readCommand(stack.database.pool, command.id)
      return row?.answer?.state === 'done'
    })
    const told = await stack.ask('POST', `${path}/cancel`, {}, 'given-up')
    assert.deepEqual([told.status, told.body['cancel_at']], [200, before['current_period_end']])
  })

  it('a signal that this version does not know wakes it', async () => {
    const { subscription } = await atRest()
    const before = (await mirrorOf(subscription))?.observed_at
    await handleOf(subscription).signal('a_message_of_the_future', { what: 'ever' })
    await eventually('it looked', async () => {
      const now = (await mirrorOf(subscription))?.observed_at
      return now !== undefined && before !== undefined && now > before
    })
  })

  it('an update of the wrong shape is turned away at the door', async () => {
    const { subscription } = await atRest()
    const update = handleOf(subscription).executeUpdate('cancel', { args: [{ command: 'not one of ours' }] })
    await assert.rejects(update, failure('InvalidCommand'))
  })

  it('every activity is missed within ten seconds when its worker dies', async () => {
    const { subscription } = await atRest()
    const { events } = await handleOf(subscription).fetchHistory()
    const scheduled = (events ?? []).flatMap((event) => event.activityTaskScheduledEventAttributes ?? [])
    assert.ok(scheduled.length > 0)
    for (const { activityType, heartbeatTimeout } of scheduled) {
      const seconds = Number(heartbeatTimeout?.seconds ?? 0)
      assert.ok(seconds > 0 && seconds <= 10, `${activityType?.name}: ${seconds}`)
    }
  })
})

function failure(type: string): (error: unknown) => boolean {
  return (error) =>
    error instanceof WorkflowUpdateFailedError &&
    error.cause instanceof ApplicationFailure &&
    error.cause.type === type
}
