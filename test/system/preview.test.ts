import assert from 'node:assert/strict'
import { type Receiver, startReceiver } from '../support/outbox.ts'
import { commandsIn } from '../support/states.ts'
import { assertBooks } from '../support/ledger.ts'
import { foreseeAndDo } from '../support/foresee-and-do.ts'
import { type Freezer, freezer } from '../support/foreseen.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { startStripeProxy, type StripeProxy } from '../support/stripe-proxy.ts'

describe('?dry_run=true of every command', function () {
  this.timeout(240_000)
  let stack: Stack
  let proxy: StripeProxy
  let time: Freezer
  let receiver: Receiver
  const commands = commandsIn(() => ({ stack, receiver }))
  before(async () => {
    stack = await startStack({ worker: false })
    proxy = await startStripeProxy(stack.sandbox.url)
    stack.deps.stripe.sandboxUrl = proxy.url
    await stack.startWorker()
    time = await freezer(stack)
    receiver = await startReceiver()
  })
  after(async () => {
    await stack?.stop()
    await proxy?.close()
    await receiver?.close()
  })
  afterEach(() => assertBooks(stack.database))

  /** What is written as a command but is plain configuration: it does nothing that a preview could tell. */
  const EXEMPT: Record<string, string> = {}

  it('every command takes it and says that it answers a Preview, but plain configuration', async () => {
    const { body } = await stack.call<{ paths: Record<string, Record<string, Described>> }>(
      'GET',
      '/openapi.json',
    )
    const found = Object.entries(body.paths).flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => path.startsWith('/v1/') && method !== 'get')
        .map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
    )
    const names = found.map(({ name }) => name)
    assert.deepEqual(names.sort(), [...Object.keys(commands), ...Object.keys(EXEMPT)].sort())
    for (const { name, operation } of found) {
      if (name in EXEMPT) continue
      assert.ok(
        operation.parameters.some((each) => each.name === 'dry_run'),
        name,
      )
      assert.match(JSON.stringify(operation.responses['200']), /schemas\/Preview/, name)
    }
  })

  for (const [name, states] of Object.entries(commands)) {
    for (const [state, prepare] of Object.entries(states)) {
      it(`${name}, ${state}: changes nothing, and says what then happens`, async () => {
        const asked = await prepare()
        const ended = await foreseeAndDo({ stack, proxy, time }, name.split(' ')[0] ?? '', asked)
        assert.equal(ended, asked.refused ?? 'done')
      })
    }
  }
})

interface Described {
  parameters: { name: string }[]
  responses: Record<string, unknown>
}
