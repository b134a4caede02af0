import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js'
import { Worker } from '@temporalio/worker'
import { workflowBundle } from '../support/temporal.ts'

const FOLDER = new URL('../fixtures/history/', import.meta.url)

describe('recorded histories', function () {
  this.timeout(60_000)
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'))

  it('are there, of every workflow that keeps a state', () => {
    const kinds = new Set(files.map((file) => file.split('-')[0]))
    assert.deepEqual(kinds, new Set(['approval', 'checkout', 'free', 'subscription', 'topup']))
  })

  it('replay with today’s code, so that a deploy breaks no running subscription', async () => {
    const recorded = files.map((file) => {
      const { workflowId, history } = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'))
      return { workflowId, history: historyFromJSON(history) }
    })
    const replayed: string[] = []
    const results = Worker.runReplayHistories({ workflowBundle: await workflowBundle() }, recorded)
    for await (const { workflowId, error } of results) {
      assert.equal(error, undefined, `${workflowId}: ${error?.message}`)
      replayed.push(workflowId)
    }
    assert.equal(replayed.length, files.length)
  })

  it('do not replay with other code: the check can fail', async () => {
    const file = files.find((name) => name.startsWith('subscription-renewed'))
    assert.ok(file)
    const { workflowId, history } = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8'))
    // as if today's code called another activity where the old code observed
    const changed = JSON.parse(JSON.stringify(history).replaceAll('"observeSubscription"', '"lookElsewhere"'))
    const results = Worker.runReplayHistories({ workflowBundle: await workflowBundle() }, [
      { workflowId, history: historyFromJSON(changed) },
    ])
    for await (const { error } of results) assert.ok(error)
  })
})
