import assert from 'node:assert/strict'
import { startStripeSandbox } from '../../src/sandbox/stripe/index.ts'
import { callsOfGateways, type Step, walk } from './road.ts'

/** Set by `npm run test:contract`. */
const { CONTRACT_MOCK_URL, CONTRACT_STRIPE_KEY } = process.env

describe('the contract with Stripe', function () {
  this.timeout(300_000)

  const failed = (steps: Step[]) =>
    steps.filter(({ failure }) => failure !== undefined).map(({ call, failure }) => `${call}: ${failure}`)
  const namesOf = (steps: Step[]) => [...new Set(steps.map(({ call }) => call))].sort()

  it('the sandbox takes every call of our gateways', async () => {
    let ahead = 0
    const sandbox = await startStripeSandbox({ port: 0, seed: 1, now: () => Date.now() + ahead })
    try {
      const steps = await walk('sandbox', 'sk_test_contract', sandbox.url, async (ms) => (ahead += ms))
      assert.deepEqual(failed(steps), [])
      assert.deepEqual(namesOf(steps), callsOfGateways(), 'every call is on the road')
    } finally {
      await sandbox.close()
    }
  })

  if (CONTRACT_MOCK_URL !== undefined) {
    it('stripe-mock knows every parameter of every request', async () => {
      const steps = await walk('mock', 'sk_test_contract', CONTRACT_MOCK_URL)
      const asked = steps.filter(({ requests }) => requests.length > 0)
      assert.deepEqual(namesOf(asked), callsOfGateways(), 'each has asked')
      // its API is a release older than ours; nothing that we send is newer
      const refused = steps.flatMap(({ requests }) => requests).filter(({ status }) => status >= 400)
      assert.deepEqual(refused, [])
    })
  }

  if (CONTRACT_STRIPE_KEY !== undefined) {
    it('a test account of Stripe takes every call of our gateways', async () => {
      const steps = await walk('account', CONTRACT_STRIPE_KEY, undefined)
      assert.deepEqual(failed(steps), [])
      assert.deepEqual(namesOf(steps), callsOfGateways(), 'every call is on the road')
    })
  }
})
