import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { asyncLocalStorage } from '@temporalio/activity'
import { translated } from '../../src/activities/translate.ts'

describe('an activity', () => {
  /** Runs an activity as a worker would, and counts how often it said that it is alive. */
  async function beatsOf(work: () => Promise<void>): Promise<number> {
    let beats = 0
    const context = { heartbeat: () => (beats += 1) }
    const { activity } = translated({ activity: work })
    await asyncLocalStorage.run(context as never, activity).catch(() => {})
    const told = beats
    await pause(2_500)
    assert.equal(beats, told, 'silent once it has ended')
    return beats
  }

  it('says every two seconds that it is alive, and is silent once it has ended', async () => {
    assert.ok((await beatsOf(() => pause(3_500))) >= 1)
  }).timeout(20_000)

  it('is silent also when it has failed', async () => {
    assert.equal(await beatsOf(() => Promise.reject(new Error('fails'))), 0)
  }).timeout(20_000)
})
